//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use espwire_virtnet::{MAX_MTU, MIN_MTU};

use crate::attach::Endpoint;
use crate::crossover::CrossoverConfig;
use crate::path::Wait;
use crate::port::{PortConfig, PortName};

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
}

/// What a NIC does with the frames of its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A plain cable.
    Off,
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
        if self.mode.len() > 2 {
            return Err("--mode takes one value, or two: those of ports a and b".to_owned());
        }
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(options: &str) -> Result<CrossoverConfig, String> {
        let words = ["espwire", "run"].into_iter().chain(options.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Some(Command::Run(args)) => args.crossover(),
            None => Err("no command".to_owned()),
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
