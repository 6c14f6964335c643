//! The command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use espwire_virtnet::{MAX_MTU, MIN_MTU};

use crate::attach::Endpoint;
use crate::crossover::{CrossoverConfig, NicConfig};
use crate::output::TraceFormat;
use crate::path::Wait;
use crate::port::{PortConfig, PortName};
use crate::trace::TraceConfig;
use crate::xfrm_file;

/// A virtual crossover cable between two VMs whose NICs speak IPsec.
#[derive(Debug, Parser)]
#[command(name = "espwire", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// Print what this backend can do as JSON (QEMU's conventions for backend programs) and exit
    #[arg(long)]
    pub print_capabilities: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the cable: two vhost-user-net backends, one per VM, cross-connected
    #[command(after_help = "SIGUSR1 prints the counters; SIGTERM and SIGINT end the cable and print them.")]
    Run(Box<RunArgs>),

    /// Inspect the ESP packets of a capture: verify, decrypt, encrypt again and compare each
    #[command(
        after_help = "Exit code: 0 if there was at least one ESP packet and every one found its SA, verified \
                            and was re-encrypted to the same octets; 1 if not; 2 if the capture or the SAs can't be \
                            read."
    )]
    Inspect(InspectArgs),

    /// List what `ip xfrm` text leaves behind, as `ip xfrm state list nokeys` and `ip xfrm policy` would
    #[command(
        override_usage = "espwire xfrm [OPTIONS] [state|policy] <FILE>...",
        after_help = "On stderr: which states Linux would not load, and which states and policies espwire can't use. \
                      Exit code: 0 if espwire can use all that is listed; 1 if not; 2 if a file can't be read."
    )]
    Xfrm(XfrmArgs),
}

/// What a NIC does with the frames of its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A plain cable.
    Off,
    /// Look into what the guest sends: verify, decrypt, encrypt again and compare each ESP packet (--xfrm).
    Inspect,
}

/// Options of `espwire run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Socket of port a
    #[arg(long, value_name = "PATH", required_unless_present = "fd", conflicts_with = "fd")]
    pub socket_path: Option<PathBuf>,

    /// Socket of port b
    #[arg(long, value_name = "PATH", required_unless_present = "peer_fd", conflicts_with = "peer_fd")]
    pub peer_socket_path: Option<PathBuf>,

    /// Connect to the sockets instead of listening: both, or that of one port
    #[arg(long, value_name = "a|b", num_args = 0..=1, require_equals = true, default_missing_value = "both")]
    pub client: Option<Client>,

    /// Descriptor of port a: a listening socket, or a connected one (the process ends when it closes)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    pub fd: Option<u32>,

    /// Descriptor of port b
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    pub peer_fd: Option<u32>,

    /// What the NICs do: one value for both ports, or those of a and b
    #[arg(long, value_name = "MODE[,MODE]", value_delimiter = ',', num_args = 1, default_value = "off")]
    pub mode: Vec<Mode>,

    /// SAs that the NICs know, as `ip xfrm` text: a script that adds states, or what `ip xfrm state` prints.
    /// For both ports, or with a: or b: in front for one; may be given several times
    #[arg(long, value_name = "[a:|b:]FILE", value_parser = clap::builder::OsStringValueParser::new().map(XfrmFile::parse))]
    pub xfrm: Vec<XfrmFile>,

    /// Explain each inspected packet on stdout
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "human")]
    pub trace: Option<TraceFormat>,

    /// Most packets that are explained in a second, for each port; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50, requires = "trace")]
    pub trace_limit: u32,

    /// Show the payload of inner packets from or to this port as text; may be given several times
    #[arg(long, value_name = "PORT", requires = "trace")]
    pub show_payload: Vec<u16>,

    /// How the data path waits for work
    #[arg(long, value_enum, default_value_t = Wait::Event)]
    pub wait: Wait,

    /// The same as --wait poll
    #[arg(long, conflicts_with = "wait")]
    pub poll: bool,

    /// CPUs to pin the data path's threads to, such as 2 or 2,4-5
    #[arg(long, value_name = "LIST", value_parser = parse_cpu_list)]
    pub cpu: Option<CpuList>,

    /// MTU that the guests are offered, in octets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(i64::from(MIN_MTU)..=i64::from(MAX_MTU)))]
    pub mtu: Option<u16>,

    /// Write the counters there as JSON, at SIGUSR1 and at the end
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,

    /// Name of this cable in records and logs
    #[arg(long, value_name = "NAME", default_value = "espwire")]
    pub name: String,
}

/// Options of `espwire inspect`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("shown").args(["trace", "json"])))]
pub struct InspectArgs {
    /// A pcap or pcapng file, or - for standard input
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,

    /// SAs as `ip xfrm` text: a script that adds states, or what `ip xfrm state` prints; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub xfrm: Vec<PathBuf>,

    /// Print JSON: a record for each ESP packet, and one that sums up
    #[arg(long)]
    pub json: bool,

    /// Don't take ESP packets without an SA for failures
    #[arg(long)]
    pub ignore_unknown: bool,

    /// Explain each ESP packet
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "human")]
    pub trace: Option<TraceFormat>,

    /// Show the payload of inner packets from or to this port as text, with --trace or --json; may be given several
    /// times
    #[arg(long, value_name = "PORT", requires = "shown")]
    pub show_payload: Vec<u16>,
}

/// Options of `espwire xfrm`.
#[derive(Debug, Args)]
pub struct XfrmArgs {
    /// Files of `ip xfrm` text, or - for standard input: scripts that add states and policies, or what `ip xfrm state`,
    /// `ip xfrm policy` and `ip xfrm monitor` print. After the word state or policy, these alone are listed
    #[arg(value_name = "FILE", required = true)]
    pub words: Vec<PathBuf>,

    /// Print more, as `ip -s xfrm` does: limits, flags, numbers
    #[arg(short, long)]
    pub statistics: bool,

    /// Print the keys: whoever sees them can read and forge the traffic
    #[arg(long)]
    pub show_keys: bool,
}

/// What `espwire xfrm` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// States, then policies.
    All,
    /// States.
    States,
    /// Policies.
    Policies,
}

impl XfrmArgs {
    /// What is listed, and of which files.
    ///
    /// # Errors
    ///
    /// A sentence: there are no files.
    pub fn listed(&self) -> Result<(Listed, &[PathBuf]), String> {
        let (listed, files) = match &self.words[..] {
            [word, files @ ..] if word.as_os_str() == "state" => (Listed::States, files),
            [word, files @ ..] if word.as_os_str() == "policy" => (Listed::Policies, files),
            files => (Listed::All, files),
        };
        if files.is_empty() {
            return Err("xfrm: no file to list: - is standard input".to_owned());
        }
        Ok((listed, files))
    }
}

/// A file of `ip xfrm` text, and whose NIC it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XfrmFile {
    /// `None`: both.
    pub port: Option<PortName>,
    /// The file.
    pub path: PathBuf,
}

impl XfrmFile {
    /// `a:FILE`, `b:FILE` or `FILE`.
    fn parse(text: OsString) -> Self {
        let (port, path) = match text.as_bytes() {
            [b'a', b':', path @ ..] => (Some(PortName::A), path),
            [b'b', b':', path @ ..] => (Some(PortName::B), path),
            path => (None, path),
        };
        Self { port, path: OsStr::from_bytes(path).into() }
    }
}

/// Which sockets are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Port a's.
    A,
    /// Port b's.
    B,
    /// Both.
    Both,
}

/// CPU numbers, in the order in which paths are pinned to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// The kernel's list format: numbers and ranges, separated by commas.
fn parse_cpu_list(text: &str) -> Result<CpuList, String> {
    const MAX_CPU: usize = rustix::thread::CpuSet::MAX_CPU;
    let number = |text: &str| match text.parse::<usize>() {
        Ok(cpu) if cpu < MAX_CPU => Ok(cpu),
        _ => Err(format!("{text:?} is not a CPU number below {MAX_CPU}")),
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("{part:?} runs backwards"));
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

impl RunArgs {
    /// The crossover that the options describe.
    ///
    /// # Errors
    ///
    /// A sentence about options that don't go together.
    pub fn crossover(&self) -> Result<CrossoverConfig, String> {
        let port = |name, path: &Option<PathBuf>, fd: Option<u32>| {
            let client = match (self.client, name) {
                (Some(Client::Both), _) | (Some(Client::A), PortName::A) | (Some(Client::B), PortName::B) => {
                    true
                }
                (None | Some(_), _) => false,
            };
            let endpoint = match (path, fd) {
                (Some(path), _) if client => Endpoint::Connect(path.clone()),
                (Some(path), _) => Endpoint::Listen(path.clone()),
                (None, Some(_)) if client => {
                    return Err(format!("port {name}: --client needs a socket path"));
                }
                (None, Some(number)) => Endpoint::Descriptor(number),
                (None, None) => {
                    return Err(format!("port {name} has neither a socket path nor a descriptor"));
                }
            };
            Ok((PortConfig { name, mtu: self.mtu }, endpoint))
        };
        Ok(CrossoverConfig {
            name: self.name.clone(),
            ports: [
                port(PortName::A, &self.socket_path, self.fd)?,
                port(PortName::B, &self.peer_socket_path, self.peer_fd)?,
            ],
            wait: if self.poll { Wait::Poll } else { self.wait },
            cpus: self.cpu.clone().map_or_else(Vec::new, |list| list.0),
            queue_pairs: 1,
            stats: self.stats.clone(),
            nics: self.nics()?,
            trace: self.trace.map(|format| TraceConfig {
                format,
                limit: self.trace_limit,
                show_payload: self.show_payload.clone(),
            }),
        })
    }

    /// What the NICs do, with the SAs read from their files.
    fn nics(&self) -> Result<[NicConfig; 2], String> {
        let modes = match self.mode[..] {
            [both] => [both; 2],
            [a, b] => [a, b],
            _ => return Err("--mode takes one value, or two: those of ports a and b".to_owned()),
        };
        if self.trace.is_some() && !modes.contains(&Mode::Inspect) {
            return Err("--trace explains inspected packets: it needs --mode inspect".to_owned());
        }
        let mut files = Vec::new();
        for file in &self.xfrm {
            let database = xfrm_file::read(&file.path).map_err(|error| error.to_string())?;
            files.push((file.port, Arc::new(database)));
        }
        let nic = |port: PortName| {
            let own: Vec<_> = files.iter().filter(|(of, _)| of.is_none_or(|of| of == port)).collect();
            match modes[port as usize] {
                Mode::Off if own.iter().any(|(of, _)| of.is_some()) => {
                    Err(format!("--xfrm {port}: has SAs for port {port}, which is in mode off"))
                }
                Mode::Off => Ok(NicConfig::Off),
                Mode::Inspect if own.is_empty() => {
                    Err(format!("port {port} is in mode inspect and has no SAs: give --xfrm"))
                }
                Mode::Inspect => {
                    let nic =
                        NicConfig::Inspect(own.iter().map(|(_, database)| Arc::clone(database)).collect());
                    nic.sad().map_err(|error| error.to_string())?;
                    Ok(nic)
                }
            }
        };
        if modes == [Mode::Off; 2] && !files.is_empty() {
            return Err("--xfrm gives SAs, which a plain cable has no use for: give --mode".to_owned());
        }
        Ok([nic(PortName::A)?, nic(PortName::B)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(options: &str) -> Result<CrossoverConfig, String> {
        let words = ["espwire", "run"].into_iter().chain(options.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Some(Command::Run(args)) => args.crossover(),
            _ => Err("no command to run".to_owned()),
        }
    }

    #[test]
    fn client_applies_to_both_ports_or_to_one() {
        let endpoints = |options: &str| {
            let config = run(&format!("--socket-path A --peer-socket-path B {options}")).unwrap();
            config.ports.map(|(_, endpoint)| endpoint)
        };
        let (listen, connect) = (|p: &str| Endpoint::Listen(p.into()), |p: &str| Endpoint::Connect(p.into()));
        assert_eq!(endpoints(""), [listen("A"), listen("B")]);
        assert_eq!(endpoints("--client"), [connect("A"), connect("B")]);
        assert_eq!(endpoints("--client=a"), [connect("A"), listen("B")]);
        assert_eq!(endpoints("--client=b --poll"), [listen("A"), connect("B")]);
    }

    #[test]
    fn a_port_has_a_path_or_a_descriptor() {
        let config = run("--fd 3 --peer-socket-path B").unwrap();
        assert_eq!(config.ports[0].1, Endpoint::Descriptor(3));
        for wrong in [
            "--socket-path A",
            "--socket-path A --fd 3 --peer-socket-path B",
            "--fd -1 --peer-fd 4",
            "--fd 3 --peer-fd 4 --client",
            "--socket-path A --peer-socket-path B --mode off,off,off",
            "--socket-path A --peer-socket-path B --mode on",
            "--socket-path A --peer-socket-path B --mtu 67",
            "--socket-path A --peer-socket-path B --wait poll --poll",
            "--socket-path A --peer-socket-path B --client=c",
        ] {
            assert!(run(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn waits_for_events_unless_told_otherwise() {
        let wait = |options: &str| run(&format!("--fd 3 --peer-fd 4 {options}")).unwrap().wait;
        assert_eq!(wait(""), Wait::Event);
        assert_eq!(wait("--poll"), Wait::Poll);
        assert_eq!(wait("--wait poll"), Wait::Poll);
    }

    #[test]
    fn cpu_lists_are_the_kernels() {
        assert_eq!(parse_cpu_list("2"), Ok(CpuList(vec![2])));
        assert_eq!(parse_cpu_list("3,0-2"), Ok(CpuList(vec![3, 0, 1, 2])));
        for wrong in ["", "a", "2-1", "1,", "-1", "1-", "99999"] {
            assert!(parse_cpu_list(wrong).is_err(), "{wrong:?}");
        }
    }
}
