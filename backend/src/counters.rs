//! What is counted, and how a path's counts are read while it runs.
//!
//! A path owns its counts as plain numbers and publishes them between bursts, when frames pause at the latest; a reader gets a snapshot in
//! which they belong together, so that frames in = frames out + drops holds in every reading.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use espwire_ipsec::{DropCounts, DropReason as EspDropReason, SaCounts};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame that a guest sent was not delivered. One counter each, per direction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
            /// The NIC's ESP processing refused it.
            Esp(EspDropReason),
        }

        impl DropReason {
            /// The cable's own reasons.
            const CABLE: &[Self] = &[$(Self::$variant,)*];

            /// The name in records and on screen: `snake_case`, never changed once published.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Esp(reason) => reason.name(),
                }
            }

            /// Its place in [`all`](Self::all).
            const fn index(self) -> usize {
                enum Place { $($variant,)* }
                match self {
                    $(Self::$variant => Place::$variant as usize,)*
                    Self::Esp(reason) => Self::CABLE.len() + reason as usize,
                }
            }
        }
    };
}

drop_reasons! {
    /// The other port has no frontend, or its receiving ring is not running.
    PeerDown = "peer_down",
    /// The other guest gave no RX buffer within the time that a frame may wait.
    NoRxBuffer = "no_rx_buffer",
    /// The frame is longer than the other guest's RX buffers.
    RxTooSmall = "rx_too_small",
    /// The descriptor chain breaks a rule of virtio 1.x §2.7.
    BadChain = "bad_chain",
    /// The chain is shorter than a virtio_net_hdr and an Ethernet header.
    Runt = "runt",
    /// The frame is longer than the longest IP packet with Ethernet header and VLAN tag.
    TooLong = "too_long",
    /// The virtio_net_hdr asks for an offload that was not offered.
    BadHeader = "bad_header",
    /// The sending ring is started but disabled: its frames are drained (vhost-user, "Ring states").
    TxDisabled = "tx_disabled",
}

const REASONS: usize = DropReason::CABLE.len() + EspDropReason::ALL.len();

impl DropReason {
    /// All reasons, in the order in which they are printed.
    pub fn all() -> impl Iterator<Item = Self> {
        let esp = EspDropReason::ALL.iter().map(|&reason| Self::Esp(reason));
        Self::CABLE.iter().copied().chain(esp)
    }
}

/// Counts of one direction of a path: from one guest's TX ring to the other guest's RX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionCounts {
    /// Frames taken off the TX ring.
    pub frames_in: u64,
    /// Their octets, without virtio_net_hdr and FCS. A chain that could not be read counts 0.
    pub bytes_in: u64,
    /// Frames put into the RX ring.
    pub frames_out: u64,
    /// Their octets.
    pub bytes_out: u64,
    /// Wake-ups by the TX ring's kick.
    pub tx_kicks: u64,
    /// Calls to the sender's driver: TX chains returned.
    pub tx_calls: u64,
    /// Wake-ups by the RX ring's kick.
    pub rx_kicks: u64,
    /// Calls to the receiver's driver: frames delivered.
    pub rx_calls: u64,
    /// RX chains of the receiver that could not be used and were returned empty.
    pub rx_bad_chains: u64,
    drops: [u64; REASONS],
}

/// Nothing yet.
impl Default for DirectionCounts {
    fn default() -> Self {
        Self::from_words([0; WORDS])
    }
}

impl DirectionCounts {
    /// Frames dropped for `reason`.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Frames dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Counts one drop.
    #[inline]
    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason.index()] += 1;
    }

    fn to_words(self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let fixed = [
            self.frames_in,
            self.bytes_in,
            self.frames_out,
            self.bytes_out,
            self.tx_kicks,
            self.tx_calls,
            self.rx_kicks,
            self.rx_calls,
            self.rx_bad_chains,
        ];
        words[..FIXED].copy_from_slice(&fixed);
        words[FIXED..].copy_from_slice(&self.drops);
        words
    }

    fn from_words(words: [u64; WORDS]) -> Self {
        let mut drops = [0; REASONS];
        drops.copy_from_slice(&words[FIXED..]);
        Self {
            frames_in: words[0],
            bytes_in: words[1],
            frames_out: words[2],
            bytes_out: words[3],
            tx_kicks: words[4],
            tx_calls: words[5],
            rx_kicks: words[6],
            rx_calls: words[7],
            rx_bad_chains: words[8],
            drops,
        }
    }
}

impl std::ops::AddAssign for DirectionCounts {
    /// Adds what another path counted in the same direction.
    fn add_assign(&mut self, other: Self) {
        let (mut sum, other) = (self.to_words(), other.to_words());
        sum.iter_mut().zip(other).for_each(|(a, b)| *a += b);
        *self = Self::from_words(sum);
    }
}

const FIXED: usize = 9;
const WORDS: usize = FIXED + REASONS;

/// `N` numbers that belong together, where other threads can read them: a sequence lock with one writer.
#[derive(Debug)]
struct Published<const N: usize> {
    /// Odd while the writer is at it.
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Default for Published<N> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const N: usize> Published<N> {
    /// Publishes `words`. Only the owner calls this.
    #[inline]
    fn publish(&self, words: &[u64; N]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// The words as last published, all at one moment.
    fn read(&self) -> [u64; N] {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let words = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return words;
            }
            std::hint::spin_loop();
        }
    }
}

/// A direction's counts where other threads can read them.
#[derive(Debug, Default)]
pub(crate) struct PublishedCounts(Published<WORDS>);

impl PublishedCounts {
    /// Publishes `counts`. Only the owning path calls this.
    #[inline]
    pub(crate) fn publish(&self, counts: &DirectionCounts) {
        self.0.publish(&counts.to_words());
    }

    /// The counts as last published, all at one moment.
    pub(crate) fn read(&self) -> DirectionCounts {
        DirectionCounts::from_words(self.0.read())
    }
}

/// What was counted of an SA's packets, over all paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaTotals {
    /// Packets that passed, and their octets from the SPI to the ICV.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Those of them that the anti-replay window had a word on.
    pub(crate) replays: u64,
    pub(crate) failures: DropCounts,
}

impl std::ops::AddAssign for SaTotals {
    /// Adds what another path counted of the same SA.
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.replays += other.replays;
        self.failures += other.failures;
    }
}

const SA_FIXED: usize = 3;
const SA_WORDS: usize = SA_FIXED + EspDropReason::ALL.len();

/// An SA's counts where other threads can read them.
#[derive(Debug, Default)]
pub(crate) struct PublishedSa(Published<SA_WORDS>);

impl PublishedSa {
    /// Publishes `counts`. Only the path that has the SA calls this.
    pub(crate) fn publish(&self, counts: &SaCounts) {
        let mut words = [0; SA_WORDS];
        words[..SA_FIXED].copy_from_slice(&[counts.packets, counts.bytes, counts.replays]);
        for (word, (_, count)) in words[SA_FIXED..].iter_mut().zip(counts.failures.iter()) {
            *word = count;
        }
        self.0.publish(&words);
    }

    /// The counts as last published.
    pub(crate) fn read(&self) -> SaTotals {
        let words = self.0.read();
        let mut failures = DropCounts::default();
        for (&reason, &count) in EspDropReason::ALL.iter().zip(&words[SA_FIXED..]) {
            failures[reason] = count;
        }
        SaTotals { packets: words[0], bytes: words[1], replays: words[2], failures }
    }
}

/// Counts of a port that its sessions make, seldom and from several threads.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// Frontends that connected.
    pub connects: AtomicU64,
    /// Frontends that went.
    pub disconnects: AtomicU64,
    /// Times that guest memory went away under a running ring.
    pub memory_faults: AtomicU64,
    /// Rings that could not be started where the driver said they are, or that broke a rule while running.
    pub ring_faults: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let mut names = std::collections::HashSet::new();
        for (place, reason) in DropReason::all().enumerate() {
            assert_eq!(reason.index(), place);
            let mut counts = DirectionCounts::default();
            counts.count_drop(reason);
            assert_eq!(counts.dropped(), 1);
            assert!(DropReason::all().filter(|&r| r != reason).all(|r| counts.drops(r) == 0));
            assert_eq!(counts.drops(reason), 1);
            assert!(names.insert(reason.name()), "{} twice", reason.name());
        }
    }

    #[test]
    fn words_hold_every_field() {
        let words = std::array::from_fn(|i| i as u64 + 1);
        assert_eq!(DirectionCounts::from_words(words).to_words(), words);
        let mut sum = DirectionCounts::from_words(words);
        sum += DirectionCounts::from_words(words);
        assert_eq!(sum.to_words(), words.map(|w| 2 * w));
    }

    #[test]
    fn a_reader_never_sees_half_a_burst() {
        let published = PublishedCounts::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut counts = DirectionCounts::default();
                for i in 0..200_000 {
                    counts.frames_in += 1;
                    if i % 3 == 0 {
                        counts.count_drop(DropReason::PeerDown);
                    } else {
                        counts.frames_out += 1;
                    }
                    published.publish(&counts);
                }
            });
            let mut last = 0;
            while last < 200_000 {
                let counts = published.read();
                assert_eq!(counts.frames_in, counts.frames_out + counts.dropped());
                last = counts.frames_in;
            }
        });
    }
}
