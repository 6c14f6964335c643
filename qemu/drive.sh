# shellcheck shell=bash
# A library to drive guests from a bash script. Source it:  . qemu/drive.sh
#
#   guest_start NAME SOCKET [option of qemu/vm...]   start a guest (does not wait)
#   guest_wait NAME                    wait for its READY line
#   guest NAME COMMAND                 run COMMAND in it: prints its output, returns its exit status
#   guest_bg NAME COMMAND              the same, without waiting; GUEST_BG is the pid to `wait` for
#   guest_reboot NAME                  boot it again in the same QEMU, wait for READY
#   guest_stop NAME                    power it off, wait for QEMU's end
#   guest_pid NAME                     the pid of its QEMU
#   process_start NAME COMMAND...      start any other program; output goes to $DRIVE_DIR/NAME.log
#   process_stop NAME [SIGNAL]         send SIGNAL (TERM), wait for its end, return its status
#   process_pid NAME
#   wait_until WHAT COMMAND...         wait until COMMAND succeeds
#   drive_end                          end everything; done at EXIT (call it if you set a trap of your own)
#
# COMMAND is a text for the guest's ash, of one line or more. It runs in a subshell with nothing on its
# input: `exit` is its status, `cd` and variables do not last, `program &` goes on in the background. A
# guest does one COMMAND at a time; the next one waits.
#
# Every wait gives up after DRIVE_DEADLINE seconds (120) with status 124, or at once with status 125 when
# the guest has died, and says on stderr how long it took, if that was over a second:
# `waited 3.2 s for guest a` (not with DRIVE_QUIET=1). A deadline for one call: DRIVE_DEADLINE=30 guest a 'ping …'.
# DRIVE_DIR holds NAME.log (the whole console) and NAME.err (QEMU's messages); default: a new folder
# under /tmp, which goes away at the end unless DRIVE_KEEP=1. Start guests from the script itself, not
# from a subshell: a guest dies with the shell that started it.

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
  exit 0
fi

drive_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DRIVE_DEADLINE=${DRIVE_DEADLINE:-120}
drive_own_dir=''
if [ -z "${DRIVE_DIR:-}" ]; then
  DRIVE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/espwire.XXXXXX")
  drive_own_dir=$DRIVE_DIR
fi
mkdir -p "$DRIVE_DIR"

declare -gA drive_pid=()    # guests and processes that are ours and not yet waited for
declare -gA drive_boots=()  # READY lines that a guest's console is to have
declare -gA drive_input=()  # file descriptors of the consoles' inputs
drive_serial=0             # numbers the commands
drive_main=$BASHPID

drive_say() { echo "drive: $*" >&2; }

# A pause without a process: nothing is ever written to this pipe.
mkfifo "$DRIVE_DIR/.never"
exec {drive_never}<>"$DRIVE_DIR/.never"
rm -f "$DRIVE_DIR/.never"
drive_pause() { read -r -t 0.05 -u "$drive_never" || true; }

drive_now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# wait_until WHAT COMMAND...: COMMAND returns 0 for yes, 125 for never, anything else for not yet.
wait_until() {
  local what=$1 from now rc tenths
  shift
  from=$(drive_now_us)
  while :; do
    rc=0
    "$@" || rc=$?
    now=$(drive_now_us)
    tenths=$(((now - from) / 100000))
    case $rc in
      0 | 125)
        [ "$tenths" -lt 10 ] || [ "${DRIVE_QUIET:-}" = 1 ] || drive_say "waited $((tenths / 10)).$((tenths % 10)) s for $what"
        return "$rc"
        ;;
    esac
    if [ "$tenths" -ge $((DRIVE_DEADLINE * 10)) ]; then
      drive_say "gave up on $what after $((tenths / 10)).$((tenths % 10)) s"
      return 124
    fi
    drive_pause
  done
}

drive_is_gone() { ! kill -0 "$1" 2>/dev/null; }

# Shows the end of what a guest said, when something is wrong with it.
drive_show() { # NAME
  local file
  for file in "$DRIVE_DIR/$1.err" "$DRIVE_DIR/$1.log"; do
    [ ! -s "$file" ] || tail -n 15 "$file" | sed "s/^/  [$1] /" >&2
  done
}

# --- processes ---

process_start() {
  local name=$1
  shift
  setpriv --pdeathsig KILL -- "$@" </dev/null >>"$DRIVE_DIR/$name.log" 2>&1 &
  drive_pid[$name]=$!
}

process_pid() { echo "${drive_pid[$1]}"; }

process_stop() {
  local name=$1 signal=${2:-TERM} pid=${drive_pid[$1]:-} rc=0
  [ -n "$pid" ] || { drive_say "nothing of the name $name runs"; return 125; }
  kill -s "$signal" "$pid" 2>/dev/null || true
  DRIVE_DEADLINE=20 wait_until "the end of $name" drive_is_gone "$pid" || kill -s KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || rc=$?
  unset "drive_pid[$name]"
  return "$rc"
}

# --- guests ---

guest_start() {
  local name=$1 socket=$2 fd
  shift 2
  rm -f "$DRIVE_DIR/$name.in"
  mkfifo "$DRIVE_DIR/$name.in"
  exec {fd}<>"$DRIVE_DIR/$name.in"
  "$drive_here/vm" --name "$name" --socket "$socket" --echo off --die-with-parent "$@" \
    <"$DRIVE_DIR/$name.in" >"$DRIVE_DIR/$name.log" 2>"$DRIVE_DIR/$name.err" &
  drive_pid[$name]=$!
  drive_input[$name]=$fd
  drive_boots[$name]=1
}

guest_pid() { process_pid "$1"; }

# 125 if the guest is no more, or its kernel has crashed.
drive_alive() { # NAME
  if [ -z "${drive_pid[$1]:-}" ] || drive_is_gone "${drive_pid[$1]}"; then
    drive_say "guest $1 has ended"
  elif grep -aq 'Kernel panic' "$DRIVE_DIR/$1.log"; then
    drive_say "the kernel of guest $1 has crashed"
  else
    return 0
  fi
  return 125
}

drive_has_booted() { # NAME
  [ "$(grep -ac "^GUEST READY name=$1 " "$DRIVE_DIR/$1.log")" -lt "${drive_boots[$1]}" ] || return 0
  drive_alive "$1" || return 125
  return 1
}

guest_wait() {
  local rc=0
  wait_until "guest $1" drive_has_booted "$1" || rc=$?
  [ "$rc" = 0 ] || drive_show "$1"
  return "$rc"
}

# Writes one line to the guest's console. Lines of other processes never get in between.
drive_type() { # NAME LINE...
  local name=$1
  shift
  (
    flock 9
    printf '%s\n' "$@" >&"${drive_input[$name]}"
  ) 9>"$DRIVE_DIR/$name.lock"
}

drive_has_answered() { # NAME ID OFFSET
  ! tail -c "+$3" "$DRIVE_DIR/$1.log" | grep -aq "^$2 end [0-9]*\$" || return 0
  drive_alive "$1" || return 125
  return 1
}

# What is sent holds the marks in two pieces, so that even an echo of it is no mark. The command goes as
# base64: no quoting, and no line that the console's 4095 octets would cut.
guest() {
  local name=$1 command=$2 id offset code rc=0 lines=() short
  drive_serial=$((drive_serial + 1))
  id=@$BASHPID.$drive_serial
  offset=$(($(stat -c %s "$DRIVE_DIR/$name.log") + 1))
  code=$(printf '%s' "$command" | base64 -w 0)
  lines=("_c=")
  while [ -n "$code" ]; do
    lines+=("_c=\${_c}${code:0:3000}")
    code=${code:3000}
  done
  lines+=("printf '\\n%s%s begin\\n' '@' '${id#@}'; (eval \"\$(echo \$_c | base64 -d)\") </dev/null; printf '\\n%s%s end %s\\n' '@' '${id#@}' \$?")
  drive_type "$name" "${lines[@]}"

  short=${command%%$'\n'*}
  [ ${#short} -le 40 ] || short=${short:0:40}…
  wait_until "guest $name: $short" drive_has_answered "$name" "$id" "$offset" || rc=$?
  # One line feed before the end mark is ours; so is the status behind it.
  tail -c "+$offset" "$DRIVE_DIR/$name.log" | awk -v id="$id" '
    $0 == id " end " $3 { if (held && last != "") printf "%s", last; exit }
    inside { if (held) print last; last = $0; held = 1 }
    $0 == id " begin" { inside = 1 }
  '
  if [ "$rc" != 0 ]; then
    drive_show "$name"
    return "$rc"
  fi
  return "$(tail -c "+$offset" "$DRIVE_DIR/$name.log" | sed -n "s/^$id end \([0-9]*\)\$/\1/p" | head -n 1)"
}

guest_bg() {
  guest "$@" &
  # Used by the caller.
  # shellcheck disable=SC2034
  GUEST_BG=$!
}

guest_reboot() {
  drive_boots[$1]=$((drive_boots[$1] + 1))
  drive_type "$1" 'reboot -f'
  guest_wait "$1"
}

guest_stop() {
  local name=$1 pid=${drive_pid[$1]:-} rc=0
  [ -n "$pid" ] || return 0
  drive_type "$name" 'poweroff -f'
  DRIVE_DEADLINE=20 wait_until "the end of guest $name" drive_is_gone "$pid" || kill -s KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || rc=$?
  unset "drive_pid[$name]"
  return "$rc"
}

# --- the end ---

drive_end() {
  local name
  [ "$BASHPID" = "$drive_main" ] || return 0
  for name in "${!drive_pid[@]}"; do kill -s TERM "${drive_pid[$name]}" 2>/dev/null || true; done
  for name in "${!drive_pid[@]}"; do
    DRIVE_DEADLINE=5 wait_until "the end of $name" drive_is_gone "${drive_pid[$name]}" ||
      kill -s KILL "${drive_pid[$name]}" 2>/dev/null || true
    wait "${drive_pid[$name]}" 2>/dev/null || true
    unset "drive_pid[$name]"
  done
  if [ -n "$drive_own_dir" ] && [ "${DRIVE_KEEP:-}" != 1 ]; then
    rm -rf "$drive_own_dir"
    drive_own_dir=''
  fi
}
trap drive_end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
