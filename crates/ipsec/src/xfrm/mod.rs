//! SAs and policies as `ip xfrm` text: scripts of commands, and what the command prints.
//!
//! ```text
//! ip netns exec vm ip xfrm state add src 192.0.2.1/24 dst 192.0.2.2/24 proto esp spi 0x100 mode tunnel \
//!     aead 'rfc4106(gcm(aes))' 0x… 128                                        # a command: adds a state
//! src 192.0.2.1 dst 192.0.2.2                                                 # what `ip xfrm state` prints
//!         proto esp spi 0x00000100 reqid 0 mode tunnel
//!         replay-window 0 flag af-unspec
//!         aead rfc4106(gcm(aes)) 0x… 128
//!         anti-replay context: seq 0x0, oseq 0xc, bitmap 0x00000000
//! src 192.0.2.1/32 dst 192.0.2.2/32                                           # what `ip xfrm policy` prints
//!         dir out priority 0 ptype main
//!         tmpl src 192.0.2.1 dst 192.0.2.2
//!                 proto esp reqid 0 mode tunnel
//! ```
//!
//! The grammar is that of iproute2 6.1, with what later versions add (`dir`, `pcpu-num`, offload modes). Every word is
//! used, kept, or refused with its place; what is read and not kept stands at [`State`] and [`Policy`].
//!
//! | words | what they do |
//! |---|---|
//! | `add`, `update`, `delete`, `deleteall`, `flush` | act in order, as in the kernel |
//! | `list`, `get`, `count`, `getdefault`, no word | are checked and do nothing |
//! | `allocspi`; `set`, `setdefault` of policies; `help` | refused |
//! | what `ip xfrm monitor` prints | acts in order: `Updated`, `Deleted`, `Expired` with `hard 1`, `Flushed` |
//! | `dir fwd` | kept and printed, without effect: espwire forwards nothing between hosts |
//! | `replay-window` above 4096 | kept, to 65,536: [`State::loads_into_linux`] says that Linux refuses it |
//! | `aead 'rfc8750(gcm(aes))'`, `'rfc8750(ccm(aes))'`, `'rfc8750(chacha20,poly1305)'` | implicit IVs, which Linux has not |
//!
//! [`State::listing`], [`Policy::listing`] and [`Database::listing`] print what is kept in the same form again.
//! [`State::new`] makes a state without text.
//!
//! What it does not do: run a shell (variables, loops, pipes and redirections are refused by name), look up
//! devices, check algorithms and key lengths, or tell a state added twice from two: see [`State::same_sa`].

mod algorithm;
mod by_hand;
mod command;
mod error;
mod linux;
mod listing;
mod listing_policy;
mod listing_state;
mod monitor;
mod policy;
mod policy_words;
mod printed;
mod printed_policy;
mod printed_state;
mod replay_bitmap;
mod selector;
mod shell;
mod state;
mod state_filter;
mod state_words;
mod table;
mod value;
mod word;

use std::sync::Arc;

pub use algorithm::{Algorithm, Key, MAX_KEY_LEN};
pub use error::{Error, Reason};
pub use linux::NotLoadable;
pub use listing::{Keys, Listing};
pub use policy::{Action, Dir, Level, Policy, PolicyType, Prefix, Selector, Template};
pub use replay_bitmap::ReplayBitmap;
pub use state::{
    Encap, EncapKind, ExtraFlags, Flags, Limit, Limits, Mark, Mode, Offload, Proto, SaDirection,
    SequenceContext, State, Used,
};

use command::Reader;
use error::{Fault, Parsed};
use printed::Lines;
use shell::Scanner;
use table::Table;

/// The longest text that is read, in octets: 64 MiB, more than 100,000 printed states.
pub const MAX_LEN: usize = 64 << 20;

/// The largest anti-replay window that is read, in packets: that of
/// [`espwire_esp::MAX_WINDOW`]. Larger ones are refused with their place.
pub const MAX_REPLAY_WINDOW: u32 = espwire_esp::MAX_WINDOW;

/// The largest anti-replay window of Linux, in packets (XFRMA_REPLAY_ESN_MAX). See [`State::loads_into_linux`].
pub const MAX_LINUX_REPLAY_WINDOW: u32 = 4096;

/// The largest anti-replay window for which Linux has no ESN context, in packets.
const MAX_PLAIN_WINDOW: u32 = 32;

/// The most words of one command, or of one printed state or policy. The longest, a state with a replay window of
/// [`MAX_REPLAY_WINDOW`] packets printed as with `-s`, has about 2200.
const MAX_WORDS: usize = 4096;

/// Where something stands in a text, both from 1; column counts characters. [`Position::NONE`] is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in that line.
    pub column: u32,
}

/// What a text leaves behind: its states and policies in the order in which they were added.
#[derive(Debug, Default)]
pub struct Database {
    /// The states. The same state may be here twice, if it was added twice: see [`State::same_sa`].
    pub states: Vec<State>,
    /// The policies.
    pub policies: Vec<Policy>,
}

/// Reads `ip xfrm` text: scripts of commands, and what `ip xfrm state`, `ip xfrm policy` and `ip xfrm monitor` print, also
/// mixed in one text. `name` is what errors call the text (a file's path as the user gave it).
///
/// # Errors
///
/// The first thing in the text that can't be used, with its place. The time is near linear in the text's length,
/// and no text makes it panic.
pub fn parse(name: &str, text: &str) -> Result<Database, Error> {
    let name: Arc<str> = name.into();
    let mut reader =
        Reader { name: Arc::clone(&name), states: Table::new(), policies: Table::new(), after_key: false };
    read(&mut reader, text).map_err(|fault| fault.named(&name))?;
    Ok(Database { states: reader.states.into_vec(), policies: reader.policies.into_vec() })
}

fn read(reader: &mut Reader, text: &str) -> Parsed<()> {
    let mut scanner = Scanner::new(text);
    if text.len() > MAX_LEN {
        let reason = format!("the text is longer than {} MiB", MAX_LEN >> 20);
        return Err(Fault::limit(Position { line: 1, column: 1 }, reason));
    }
    loop {
        scanner.skip_empty();
        if scanner.is_at_end() {
            return Ok(());
        }
        let prefix = monitor::Prefix::take(&mut scanner);
        if scanner.is_at_printed() {
            let mut lines = Lines::take(&mut scanner)?;
            printed(reader, &mut lines, prefix.origin)?;
            reader.after_key = lines.end_in_key();
        } else if let Some(event) = monitor::Event::ahead(&scanner) {
            monitor::run(reader, &mut scanner, event, prefix.origin)?;
        } else if prefix.is_there {
            let reason = "after this prefix of `ip xfrm monitor`, what it prints is expected";
            return Err(Fault::unknown(scanner.position(), reason));
        } else {
            command::run(reader, &scanner.command()?)?;
        }
    }
}

/// Reads something printed: a state or a policy, by its second line.
fn printed(reader: &mut Reader, lines: &mut Lines<'_>, origin: Option<String>) -> Parsed<()> {
    if printed::is_policy(lines)? {
        let policy = printed_policy::policy(lines, &reader.name)?;
        reader.policies.push(Policy { origin, ..policy });
    } else {
        let state = printed_state::state(lines, &reader.name)?;
        reader.states.push(State { origin, ..state });
    }
    Ok(())
}
