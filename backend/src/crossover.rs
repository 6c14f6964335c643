//! The crossover: two ports, the paths between them, and the loop that ends them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use espwire_ipsec::xfrm::Database;
use espwire_ipsec::{Sa, Sad, SadError};
use espwire_vring::Signaller;
use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use vmm_sys_util::epoll::EventSet;

use crate::attach::{Attachment, BoundPath, Endpoint, EndpointError};
use crate::counters::{DirectionCounts, SaTotals};
use crate::nic::{Nic, SaTable};
use crate::output::{Output, TraceFormat};
use crate::path::{Path, PathShared, Wait};
use crate::port::{Pair, Port, PortConfig, wake_event};
use crate::record::CounterRecord;
use crate::trace::{TraceConfig, Tracer};

/// What a crossover is started with.
#[derive(Clone, Debug)]
pub struct CrossoverConfig {
    /// Name in records and logs.
    pub name: String,
    /// Ports a and b, each with where its frontends come from.
    pub ports: [(PortConfig, Endpoint); 2],
    /// How the paths wait.
    pub wait: Wait,
    /// CPUs to pin path threads to, path k to the k-th, round and round; empty: not pinned.
    pub cpus: Vec<usize>,
    /// Queue pairs of each port, at least 1; one path each.
    pub queue_pairs: usize,
    /// Where the counters go as JSON, at SIGUSR1 and at the end.
    pub stats: Option<PathBuf>,
    /// What the NICs of a and b do.
    pub nics: [NicConfig; 2],
    /// Whether and how inspected packets are explained on stdout.
    pub trace: Option<TraceConfig>,
}

/// What a port's NIC does with what its guest sends.
#[derive(Clone, Debug)]
pub enum NicConfig {
    /// Mode `off`: a plain cable.
    Off,
    /// Mode `inspect`, with the states of these texts for SAs.
    Inspect(Vec<Arc<Database>>),
}

impl NicConfig {
    /// The SAs for one path.
    pub(crate) fn sad(&self) -> Result<Option<Sad>, SadError> {
        match self {
            Self::Off => Ok(None),
            Self::Inspect(databases) => Sad::new(databases.iter().map(Arc::as_ref)).map(Some),
        }
    }
}

/// Why a crossover could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrossoverError {
    /// A port's endpoint can't be used.
    #[error("port {port}")]
    Endpoint {
        /// `a` or `b`.
        port: &'static str,
        /// Why.
        source: EndpointError,
    },
    /// A thread, an event descriptor or a signal could not be had.
    #[error("can't start {what}")]
    Start {
        /// What could not be started.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The SAs of a port can't be used.
    #[error(transparent)]
    Sad(#[from] SadError),
    /// An event loop failed.
    #[error("event loop")]
    Loop(#[from] event_manager::Error),
    /// A path's thread ended by itself: a defect.
    #[error("a data path ended unexpectedly")]
    PathEnded,
}

/// Runs a crossover until SIGTERM, SIGINT, or the hang-up of a connected descriptor. Then prints the
/// counters to stdout.
///
/// # Errors
///
/// [`CrossoverError`].
pub fn run(config: &CrossoverConfig) -> Result<(), CrossoverError> {
    let start = |what| move |source: io::Error| CrossoverError::Start { what, source };
    // The sockets are removed when this function ends; a port's thread may outlive it.
    let (attachment_a, _bound_a) = attach(config, 0)?;
    let (attachment_b, _bound_b) = attach(config, 1)?;
    tempfile::tempdir().map_err(start("a private folder in the temporary folder"))?;
    let (end_reader, end_writer) = UnixStream::pair().map_err(start("the main loop"))?;
    let (usr_reader, usr_writer) = UnixStream::pair().map_err(start("the main loop"))?;
    let clone = |writer: &UnixStream| writer.try_clone().map_err(start("the main loop"));
    // A second SIGTERM or SIGINT ends the process at once, whatever it is doing.
    let once = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&once))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&once)))
            .map_err(start("signal handling"))?;
    }
    for (signal, writer) in [(SIGTERM, &end_writer), (SIGINT, &end_writer), (SIGUSR1, &usr_writer)] {
        signal_hook::low_level::pipe::register(signal, clone(writer)?).map_err(start("signal handling"))?;
    }

    let mut wakes = Vec::new();
    for _ in 0..config.queue_pairs {
        wakes.push(wake_event().map_err(start("a data path"))?);
    }
    let ports = [0, 1].map(|i| {
        let pairs = wakes.iter().map(|wake| Arc::new(Pair::new(Arc::clone(wake)))).collect();
        Arc::new(Port::new(&config.ports[i].0, pairs))
    });
    let format = config.trace.as_ref().map_or(TraceFormat::Human, |trace| trace.format);
    let output = Output::start(format).map_err(start("output"))?;
    let mut crossover = Crossover { config, ports, paths: Vec::new(), output };
    for (index, wake) in wakes.into_iter().enumerate() {
        crossover.start_path(index, Arc::new(PathShared::new(wake)), clone(&end_writer)?)?;
    }
    for (attachment, port) in [attachment_a, attachment_b].into_iter().zip(&crossover.ports) {
        tracing::info!(port = %port.name, "{}", config.ports[port.name as usize].1);
        serve_port(attachment, Arc::clone(port), clone(&end_writer)?).map_err(start("a port"))?;
    }
    let ended = crossover.wait(end_reader, usr_reader);
    let stopped = crossover.stop();
    let counters = crossover.counters();
    crossover.save(&counters);
    // From here on stdout is waited for. The paths have gone, and with them all who trace.
    crossover.output.finish(counters);
    ended.and(stopped)
}

/// Port `index`'s attachment, and the socket that is to be removed at the end.
fn attach(
    config: &CrossoverConfig,
    index: usize,
) -> Result<(Arc<Attachment>, Option<BoundPath>), CrossoverError> {
    let (port, endpoint) = &config.ports[index];
    let (attachment, bound) = Attachment::new(endpoint)
        .map_err(|source| CrossoverError::Endpoint { port: port.name.as_str(), source })?;
    Ok((Arc::new(attachment), bound))
}

/// Serves a port's frontends on a thread of its own; tells `end` when there can't be another.
///
/// The thread is not waited for at the end: it may be inside a frontend's message.
fn serve_port(attachment: Arc<Attachment>, port: Arc<Port>, end: UnixStream) -> io::Result<()> {
    let name = format!("port-{}", port.name);
    let serve = move || {
        // Told also when the thread unwinds.
        let _told = TellOnDrop(end);
        attachment.serve(&port);
    };
    thread::Builder::new().name(name).spawn(serve).map(|_| ())
}

fn tell(mut writer: &UnixStream) {
    // Fails only when the main loop is gone, which is what it would bring about.
    let _ = writer.write_all(&[0]);
}

/// A path's thread, and what it shares.
struct RunningPath {
    shared: Arc<PathShared>,
    /// The SAs of ports in mode `inspect`.
    sas: [Option<Arc<SaTable>>; 2],
    /// `None` once it has been waited for.
    thread: Option<JoinHandle<Result<(), event_manager::Error>>>,
}

struct Crossover<'c> {
    config: &'c CrossoverConfig,
    ports: [Arc<Port>; 2],
    paths: Vec<RunningPath>,
    output: Output,
}

impl Crossover<'_> {
    fn start_path(
        &mut self,
        index: usize,
        shared: Arc<PathShared>,
        end: UnixStream,
    ) -> Result<(), CrossoverError> {
        let start = |source| CrossoverError::Start { what: "a data path", source };
        let signaller = Signaller::new().map_err(start)?;
        if let Some(reason) = signaller.fallback() {
            tracing::warn!(%reason, "no AIO: a frontend that fills its own call descriptor can stop this cable");
        }
        let mut nics = [None, None];
        for (at, nic) in nics.iter_mut().enumerate() {
            let tracer = Tracer::new(self.ports[at].name, self.config.trace.as_ref(), &self.output);
            *nic = self.config.nics[at].sad()?.map(|sad| Nic::new(sad, tracer));
        }
        let sas = [0, 1].map(|at| nics[at].as_ref().map(|nic| Arc::clone(nic.table())));
        let path = Path::new(&self.ports, index, Arc::clone(&shared), nics, self.config.wait, signaller)?;
        let cpu = (!self.config.cpus.is_empty()).then(|| self.config.cpus[index % self.config.cpus.len()]);
        let run = move || {
            let _told = TellOnDrop(end);
            path.run()
        };
        let spawn = || thread::Builder::new().name(format!("path-{index}")).spawn(run);
        let thread = match cpu {
            None => spawn(),
            Some(cpu) => pinned(cpu, spawn),
        };
        let thread = thread.map_err(start)?;
        self.paths.push(RunningPath { shared, sas, thread: Some(thread) });
        Ok(())
    }

    /// The main loop: until something says that it is over.
    fn wait(&self, end: UnixStream, usr: UnixStream) -> Result<(), CrossoverError> {
        let mut manager = EventManager::new()?;
        let id = manager.add_subscriber(MainEvents { end, usr, ended: false, asked: false });
        loop {
            manager.run()?;
            let events: &mut MainEvents = manager.subscriber_mut(id)?;
            if std::mem::take(&mut events.asked) {
                self.report();
            }
            if events.ended {
                return Ok(());
            }
        }
    }

    /// Stops all paths. A path that had stopped before it was told to is an error.
    fn stop(&mut self) -> Result<(), CrossoverError> {
        let mut result = Ok(());
        for path in &self.paths {
            if path.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                result = Err(CrossoverError::PathEnded);
            }
            path.shared.stop();
        }
        for path in &mut self.paths {
            match path.thread.take().map(JoinHandle::join) {
                None | Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => result = Err(error.into()),
                Some(Err(_)) => result = Err(CrossoverError::PathEnded),
            }
        }
        result
    }

    fn counters(&self) -> CounterRecord {
        let mut directions = [DirectionCounts::default(); 2];
        for path in &self.paths {
            for (sum, published) in directions.iter_mut().zip(&path.shared.counts) {
                *sum += published.read();
            }
        }
        let sas = [0, 1].map(|at| self.sas(at));
        CounterRecord::new(&self.config.name, [&self.ports[0], &self.ports[1]], directions, sas)
    }

    /// The SAs of port `at` with what all paths counted; `None` in mode `off`.
    fn sas(&self, at: usize) -> Option<Vec<(Sa, SaTotals)>> {
        let tables = || self.paths.iter().filter_map(|path| path.sas[at].as_ref());
        let sas = &tables().next()?.sas;
        let totals = |place: usize| {
            let mut sum = SaTotals::default();
            tables().for_each(|table| sum += table.counts[place].read());
            sum
        };
        Some(sas.iter().enumerate().map(|(place, sa)| (sa.clone(), totals(place))).collect())
    }

    /// Gives the counters: to the file of `--stats`, whole or not at all, then to stdout.
    fn report(&self) {
        let counters = self.counters();
        self.save(&counters);
        self.output.print(counters);
    }

    fn save(&self, counters: &CounterRecord) {
        if let Some(path) = &self.config.stats
            && let Err(error) = replace_file(path, &(counters.to_json() + "\n"))
        {
            tracing::error!(%error, path = %path.display(), "counters not written");
        }
    }
}

fn replace_file(path: &FilePath, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// Runs `spawn` pinned to `cpu`, which the thread that it starts inherits.
fn pinned<T>(cpu: usize, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    let spawned = spawn();
    sched_setaffinity(None, &before)?;
    spawned
}

struct TellOnDrop(UnixStream);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        tell(&self.0);
    }
}

/// What the main loop waits for.
struct MainEvents {
    end: UnixStream,
    usr: UnixStream,
    ended: bool,
    asked: bool,
}

impl MutEventSubscriber for MainEvents {
    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        let (mut stream, flag) = if events.fd() == self.end.as_raw_fd() {
            (&self.end, &mut self.ended)
        } else {
            (&self.usr, &mut self.asked)
        };
        // Several signals may have come: one answer serves all.
        let _ = stream.read(&mut [0; 64]);
        *flag = true;
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for stream in [&self.end, &self.usr] {
            if let Err(error) = ops.add(Events::new(stream, EventSet::IN)) {
                tracing::error!(%error, "the main loop can't hear signals");
            }
        }
    }
}
