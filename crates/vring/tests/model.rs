//! The rings against slow, independent models.
//!
//! `virtio-queue` is the model of the device side. It runs on a second memory with the same content, and
//! after each round the two memories must be equal in every octet: payload, used entries, indices, events.
//! Where the model is known to be laxer the test says so:
//!
//! - `DescriptorChain` ends silently at a fault: its last descriptor then still has NEXT, or there is none.
//!   Ours must report a fault.
//! - It does not check directions, takes INDIRECT without the feature and together with NEXT, lets a table
//!   lie across regions, and caps a chain at 65,535 descriptors: see `judge`.
//! - `needs_notification` without EVENT_IDX is always true.
//!
//! `PROPTEST_CASES` scales all of it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use espwire_vring::{
    Buffer, DeviceRing, DriverRing, MAX_CHAIN, RegionTable, ReserveError, RingConfig, RingFault, RingLayout,
};
use proptest::prelude::*;
use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Cases when `PROPTEST_CASES` does not say otherwise.
const CASES: u32 = 2000;

type Memory = GuestMemoryMmap<()>;

fn proptest_config() -> ProptestConfig {
    ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES)
}

/// `count` for the default number of cases, scaled.
fn scaled(count: u64) -> u64 {
    (count * u64::from(cases()) / u64::from(CASES)).max(1000)
}

/// xorshift64*: quick, and the same everywhere.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// What a case is made of.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    size: u16,
    base: u16,
    event_idx: bool,
    indirect: bool,
    /// Gap before each data region, and its length.
    data: Vec<(u64, usize)>,
    /// One descriptor in so many is spoiled.
    spoil: u64,
    rounds: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![9 => (0u32..=8).prop_map(|bits| 1u16 << bits), 1 => Just(32_768u16)];
    let base = prop_oneof![Just(0), 65_400u16..=65_535, any::<u16>()];
    let gap = prop_oneof![Just(0u64), Just(0x10), Just(0x1000)];
    let data = prop::collection::vec((gap, 0x40usize..0x3000), 1..=3);
    let spoil = prop_oneof![Just(4u64), Just(40), Just(u64::MAX)];
    let flags = (any::<bool>(), prop::bool::weighted(0.7));
    (any::<u64>(), size, base, flags, data, spoil, 1u32..12).prop_map(
        |(seed, size, base, (event_idx, indirect), data, spoil, rounds)| Case {
            seed,
            size,
            base,
            event_idx,
            indirect,
            data,
            spoil,
            rounds,
        },
    )
}

/// Two memories with the same content, ours and the model's, and the two devices on them.
struct Twin {
    case: Case,
    rng: Rng,
    ours: Arc<Memory>,
    model: Arc<Memory>,
    config: RingConfig,
    device: DeviceRing,
    queue: Queue,
    /// Data regions: start and length.
    data: Vec<(u64, usize)>,
    /// Heads of the chains that were built.
    heads: Vec<u16>,
    writable: bool,
    avail_idx: u16,
    /// Whether `needs_call` was asked before, and the used index then.
    asked: Option<u16>,
}

impl Twin {
    fn new(case: &Case, writable: bool) -> Self {
        let mut rng = Rng::new(case.seed);
        let n = u64::from(case.size);
        let descriptors = 0x1000 + 16 * rng.below(4);
        let available = descriptors + 16 * n + 2 * rng.below(9);
        let used = (available + 6 + 2 * n).next_multiple_of(4) + 4 * rng.below(3);
        let config = RingConfig {
            size: case.size,
            descriptors,
            available,
            used,
            event_idx: case.event_idx,
            indirect: case.indirect,
        };
        let ring_len = (used + 6 + 8 * n - 0x1000) as usize + rng.below(3) as usize;
        let mut ranges = vec![(0x1000, ring_len)];
        for (gap, len) in &case.data {
            let (start, before) = ranges[ranges.len() - 1];
            ranges.push((start + before as u64 + gap, *len));
        }
        let data = ranges[1..].to_vec();
        let ranges: Vec<_> = ranges.iter().map(|&(start, len)| (GuestAddress(start), len)).collect();
        let ours = Arc::new(Memory::from_ranges(&ranges).unwrap());
        let model = Arc::new(Memory::from_ranges(&ranges).unwrap());
        for &(start, len) in &data {
            let octets = rng.octets(len);
            ours.write_slice(&octets, GuestAddress(start)).unwrap();
            model.write_slice(&octets, GuestAddress(start)).unwrap();
        }
        let table = RegionTable::new(Arc::clone(&ours)).unwrap();
        for memory in [&ours, &model] {
            memory.write_obj(case.base.to_le(), GuestAddress(available + 2)).unwrap();
            memory.write_obj(case.base.to_le(), GuestAddress(used + 2)).unwrap();
        }
        let device = DeviceRing::start(RingLayout::new(&table, &config).unwrap());
        let mut queue = Queue::new(32_768).unwrap();
        queue.set_size(case.size);
        queue.set_desc_table_address(Some(descriptors as u32), None);
        queue.set_avail_ring_address(Some(available as u32), None);
        queue.set_used_ring_address(Some(used as u32), None);
        queue.set_event_idx(case.event_idx);
        queue.set_next_avail(case.base);
        queue.set_next_used(case.base);
        queue.set_ready(true);
        assert!(queue.is_valid(&*model));
        let (avail_idx, heads) = (case.base, Vec::new());
        let case = case.clone();
        let mut twin = Self {
            case,
            rng,
            ours,
            model,
            config,
            device,
            queue,
            data,
            heads,
            writable,
            avail_idx,
            asked: None,
        };
        twin.build();
        twin
    }

    fn write(&self, addr: u64, octets: &[u8]) {
        self.ours.write_slice(octets, GuestAddress(addr)).unwrap();
        self.model.write_slice(octets, GuestAddress(addr)).unwrap();
    }

    /// An address, mostly of some `len` octets inside a data region.
    fn addr(&mut self, len: u32) -> u64 {
        let (start, there) = self.data[self.rng.below(self.data.len() as u64) as usize];
        match self.rng.below(40) {
            0 => start.wrapping_sub(self.rng.below(20)),
            1 => start + there as u64 - self.rng.below(40).min(there as u64),
            2 if self.case.spoil < 100 => [0, u64::MAX, 1 << 63, u64::MAX - 4095][self.rng.below(4) as usize],
            _ => start + self.rng.below((there as u64).saturating_sub(u64::from(len)) + 1),
        }
    }

    fn len(&mut self) -> u32 {
        match self.rng.below(100) {
            0..10 => 0,
            10..80 => 1 + self.rng.below(64) as u32,
            80..97 => 1 + self.rng.below(1600) as u32,
            97..99 => self.rng.below(0x4000) as u32,
            _ if self.case.spoil < 100 => u32::MAX - self.rng.below(3) as u32,
            _ => 1,
        }
    }

    /// Writes a descriptor, spoiled now and then.
    fn descriptor(&mut self, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let mut d = (addr, len, flags, next);
        if self.rng.once_in(self.case.spoil) {
            match self.rng.below(6) {
                0 => d.0 = self.rng.next() >> self.rng.below(60),
                1 => d.1 = self.rng.next() as u32 >> self.rng.below(32),
                2 => d.2 = self.rng.below(8) as u16,
                3 => d.2 ^= WRITE,
                4 => d.3 = self.rng.next() as u16 >> self.rng.below(16),
                _ => d.2 |= NEXT,
            }
        }
        // Frames written over the ring itself (G21) are for tests/wakeup.rs: the model publishes each chain,
        // ours all at once, so that what is there in the end differs.
        if self.writable && (0x1000..self.data[0].0).contains(&d.0) {
            d.0 = u64::MAX;
        }
        self.write(at, Descriptor::new(d.0, d.1, d.2, d.3).as_octets().as_slice());
    }

    /// Fills the descriptor table with chains, direct, indirect, and direct followed by indirect.
    fn build(&mut self) {
        let mut free: Vec<u16> = (0..self.case.size).collect();
        for i in (1..free.len()).rev() {
            free.swap(i, self.rng.below(i as u64 + 1) as usize);
        }
        free.truncate(1 + self.rng.below(600) as usize);
        let direction = if self.writable { WRITE } else { 0 };
        let table = self.config.descriptors;
        while !free.is_empty() {
            let count = (1 + self.rng.below(6) as usize).min(free.len());
            let chain = free.split_off(free.len() - count);
            self.heads.push(chain[0]);
            let indirect = self.rng.once_in(3);
            for (i, &index) in chain.iter().enumerate() {
                let last = i + 1 == chain.len();
                let at = table + 16 * u64::from(index);
                let next = chain.get(i + 1).copied().unwrap_or(0);
                if last && indirect {
                    self.indirect(at, direction);
                } else {
                    let len = self.len();
                    let addr = self.addr(len);
                    self.descriptor(at, addr, len, direction | if last { 0 } else { NEXT }, next);
                }
            }
        }
    }

    /// Writes an indirect table, and the descriptor at `at` that refers to it.
    fn indirect(&mut self, at: u64, direction: u16) {
        let count = 1 + self.rng.below(8) as u16;
        let (start, there) = self.data[self.rng.below(self.data.len() as u64) as usize];
        let count = count.min((there / 16) as u16);
        let place = start + self.rng.below((there - 16 * usize::from(count)) as u64 + 1);
        let mut order: Vec<u16> = (1..count).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.below(i as u64 + 1) as usize);
        }
        order.insert(0, 0);
        for (i, &index) in order.iter().enumerate() {
            let len = self.len();
            let addr = self.addr(len);
            let next = order.get(i + 1).copied();
            let flags = direction | next.map_or(0, |_| NEXT);
            self.descriptor(place + 16 * u64::from(index), addr, len, flags, next.unwrap_or(0));
        }
        let flags = INDIRECT | if self.rng.once_in(4) { WRITE } else { 0 };
        self.descriptor(at, place, 16 * u32::from(count), flags, 0);
    }

    /// The driver makes some chains available, and changes its mind about calls.
    fn offer(&mut self) {
        let room = self.case.size - self.avail_idx.wrapping_sub(self.device.next());
        let count = self.rng.below(u64::from(room.min(300)) + 1) as u16;
        for _ in 0..count {
            let mut head = self.heads[self.rng.below(self.heads.len() as u64) as usize];
            if self.case.spoil < 100 && self.rng.once_in(400) {
                head = self.rng.next() as u16;
            }
            let at = u64::from(self.avail_idx % self.case.size);
            self.write(self.config.available + 4 + 2 * at, &head.to_le_bytes());
            self.avail_idx = self.avail_idx.wrapping_add(1);
        }
        self.write(self.config.available + 2, &self.avail_idx.to_le_bytes());
        let flags = [self.rng.below(4) as u8, 0];
        self.write(self.config.available, &flags);
        let event = self.avail_idx.wrapping_sub(self.rng.below(2 * u64::from(count) + 4) as u16);
        let used_event = self.config.available + 4 + 2 * u64::from(self.case.size);
        self.write(used_event, &event.to_le_bytes());
    }

    /// The model's next `count` chains, or fewer; it moves on behind them.
    fn model_chains(&mut self, count: usize) -> Vec<DescriptorChain<Arc<Memory>>> {
        self.queue.iter(Arc::clone(&self.model)).unwrap().take(count).collect()
    }

    /// What the model and our stricter rules say about a chain: its descriptors if it can be used.
    fn judge(&self, chain: &DescriptorChain<Arc<Memory>>) -> Option<Vec<Descriptor>> {
        let descriptors: Vec<_> = chain.clone().collect();
        if descriptors.last().is_none_or(Descriptor::has_next) {
            return None;
        }
        if descriptors.iter().any(|d| d.is_write_only() != self.writable) {
            return None;
        }
        let memory = &*self.model;
        if self.writable {
            chain.clone().writer(memory).ok()?;
        } else {
            chain.clone().reader(memory).ok()?;
        }
        // From here on what the model lets pass.
        if descriptors.len() > MAX_CHAIN || pieces(memory, &descriptors) > MAX_CHAIN {
            return None;
        }
        let mut index = chain.head_index();
        for _ in 0..self.case.size {
            let at = self.config.descriptors + 16 * u64::from(index);
            let d: Descriptor = memory.read_obj(GuestAddress(at)).unwrap();
            if d.refers_to_indirect_table() {
                let region = memory.find_region(d.addr())?;
                let inside = d.addr().0 - region.start_addr().0 + u64::from(d.len()) <= region.len();
                let few = d.len() as usize / 16 <= MAX_CHAIN;
                let fine = self.config.indirect && !d.has_next() && inside && few;
                return fine.then_some(descriptors);
            }
            if !d.has_next() {
                break;
            }
            index = d.next();
        }
        Some(descriptors)
    }

    /// Used and published by both; then the memories must be equal, and the decisions too.
    fn compare(&mut self) {
        self.device.publish();
        assert_eq!(self.device.next(), self.queue.next_used());
        assert_eq!(self.device.next(), self.queue.next_avail());
        if self.rng.once_in(2) {
            let published = self.queue.next_used();
            let model = self.queue.needs_notification(&*self.model).unwrap();
            let flags: u16 = self.model.read_obj(GuestAddress(self.config.available)).unwrap();
            let expected = match self.asked {
                None => self.case.event_idx || u16::from_le(flags) & 1 == 0,
                Some(before) if self.case.event_idx => model && before != published,
                // The model has no NO_INTERRUPT.
                Some(before) => before != published && u16::from_le(flags) & 1 == 0,
            };
            self.asked = Some(published);
            assert_eq!(self.device.needs_call(), expected, "call");
        }
        if self.rng.once_in(2) {
            self.device.disarm();
            self.queue.disable_notification(&*self.model).unwrap();
        }
        if self.rng.once_in(2) {
            let model = self.queue.enable_notification(&*self.model).unwrap();
            assert_eq!(self.device.arm(0), model, "arm");
        }
        for region in self.model.iter() {
            let mut octets = [vec![0; region.size()], vec![0; region.size()]];
            self.ours.read_slice(&mut octets[0], region.start_addr()).unwrap();
            self.model.read_slice(&mut octets[1], region.start_addr()).unwrap();
            assert!(octets[0] == octets[1], "memories differ in region {:#x}", region.start_addr().0);
        }
    }

    /// One burst of a TX ring. False if the ring stopped.
    fn transmit(&mut self) -> bool {
        let max = self.rng.below(70) as usize;
        let waiting = self.avail_idx.wrapping_sub(self.device.next());
        let next = self.queue.next_avail();
        let chains = self.model_chains(max.min(64));
        let bad_head = chains.iter().position(|c| c.head_index() >= self.case.size);
        let judged: Vec<_> =
            chains[..bad_head.unwrap_or(chains.len())].iter().map(|c| (c.clone(), self.judge(c))).collect();
        let heads: Vec<_> = judged.iter().map(|(c, _)| c.head_index()).collect();
        if bad_head == Some(0) {
            let head = chains[0].head_index();
            assert_eq!(self.device.pop_burst(max).unwrap_err(), RingFault::Head(head));
            return false;
        }
        let burst = self.device.pop_burst(max).unwrap();
        assert!(burst.len() <= judged.len() && usize::from(waiting) >= burst.len());
        // The bound on the work of a burst may cut it short, but no burst is empty for it.
        let descriptors: usize = judged.iter().map(|(_, d)| d.as_ref().map_or(256, Vec::len) + 1).sum();
        assert!(burst.len() == judged.len() || !burst.is_empty() && descriptors > 1000, "{}", burst.len());
        for (i, (chain, descriptors)) in judged.iter().enumerate().take(burst.len()) {
            let ours = burst.chain(i);
            let Some(descriptors) = descriptors else {
                assert!(ours.len().is_err(), "the model refuses chain {i}: {chain:?}");
                assert!(ours.is_empty());
                continue;
            };
            let len: u32 = descriptors.iter().map(Descriptor::len).sum();
            assert_eq!(ours.len(), Ok(len), "chain {i}: {descriptors:?}");
            let mut expected = Vec::new();
            chain.clone().reader(&*self.model).unwrap().read_to_end(&mut expected).unwrap();
            let mut octets = vec![0; expected.len() + 1];
            assert_eq!(ours.copy_to(0, &mut octets), len as usize);
            assert_eq!(octets[..len as usize], expected);
            let skip = self.rng.below(u64::from(len) + 2) as usize;
            let part = self.rng.below(100) as usize;
            let n = ours.copy_to(skip, &mut octets[..part.min(len as usize)]);
            assert_eq!(octets[..n], expected[skip.min(expected.len())..][..n]);
        }
        let count = self.rng.below(burst.len() as u64 + 1) as usize;
        burst.complete(count);
        for head in &heads[..count] {
            self.queue.add_used(&*self.model, *head, 0).unwrap();
        }
        self.queue.set_next_avail(next.wrapping_add(count as u16));
        // A bad head behind good chains has stopped the ring for good.
        self.compare_unless_stopped()
    }

    fn compare_unless_stopped(&mut self) -> bool {
        if self.device.fault().is_some() {
            self.device.publish();
            return false;
        }
        self.compare();
        true
    }

    /// One frame into an RX ring. False if the ring stopped.
    fn receive(&mut self) -> bool {
        let most = [100, 2000, 6000][self.rng.below(3) as usize];
        let len = self.rng.below(most) as usize;
        let max_chains = [1, 4, 64][self.rng.below(3) as usize];
        let rejected = self.device.rejected();
        let mut model_rejected = 0;
        let start = self.queue.next_avail();
        // The model: chains in hand, with capacity.
        let mut taken: Vec<(DescriptorChain<Arc<Memory>>, usize, usize)> = Vec::new();
        let mut consumed = 0u16;
        let expected = loop {
            let capacity: usize = taken.iter().map(|(_, capacity, _)| capacity).sum();
            if capacity >= len {
                break Ok(());
            }
            if taken.len() >= max_chains || taken.iter().map(|(.., n)| n).sum::<usize>() >= MAX_CHAIN {
                break Err(ReserveError::TooSmall);
            }
            let next = start.wrapping_add(consumed).wrapping_add(taken.len() as u16);
            self.queue.set_next_avail(next);
            let Some(chain) = self.queue.iter(Arc::clone(&self.model)).unwrap().next() else {
                let all = taken.len() == usize::from(self.case.size);
                break Err(if all { ReserveError::TooSmall } else { ReserveError::Empty });
            };
            if chain.head_index() >= self.case.size {
                break Err(RingFault::Head(chain.head_index()).into());
            }
            let Some(descriptors) = self.judge(&chain) else {
                for (good, ..) in taken.drain(..) {
                    self.queue.add_used(&*self.model, good.head_index(), 0).unwrap();
                    consumed += 1;
                }
                self.queue.add_used(&*self.model, chain.head_index(), 0).unwrap();
                consumed += 1;
                model_rejected += 1;
                continue;
            };
            let capacity = descriptors.iter().map(|d| d.len() as usize).sum();
            let pieces = pieces(&self.model, &descriptors);
            taken.push((chain, capacity, pieces));
        };
        self.queue.set_next_avail(start.wrapping_add(consumed));
        // Ours. After very many bad chains it breaks off and wants to be asked again.
        let mut before = rejected;
        let reserved = loop {
            match self.device.reserve(len, max_chains).map(|r| r.chains()) {
                Err(ReserveError::Empty) if self.device.rejected() != before => {
                    before = self.device.rejected();
                }
                reserved => break reserved,
            }
        };
        assert_eq!(self.device.rejected() - rejected, model_rejected, "rejected");
        if let Err(error) = expected {
            assert_eq!(reserved.unwrap_err(), error, "{len} octets in at most {max_chains} chains");
            return self.compare_unless_stopped();
        }
        assert_eq!(reserved, Ok(taken.len() as u16));
        let mut reservation = self.device.reserve(len, max_chains).unwrap();
        let frame = self.rng.octets(len);
        let write = if self.rng.once_in(4) { self.rng.below(len as u64 + 1) as usize } else { len };
        let mut at = 0;
        while at < write {
            let n = (1 + self.rng.below(200) as usize).min(write - at);
            assert_eq!(reservation.write(&frame[at..at + n]), n);
            at += n;
        }
        let commit = self.rng.below(8) != 0;
        let committed = commit && reservation.commit();
        assert_eq!(committed, commit && write == len);
        // All writers first: a frame may land on the table of one of its own chains.
        let model = Arc::clone(&self.model);
        let writers: Vec<_> =
            taken.iter().map(|(chain, ..)| chain.clone().writer(&*model).unwrap()).collect();
        let mut left = &frame[..write];
        for ((chain, capacity, _), mut writer) in taken.iter().zip(writers) {
            let (now, later) = left.split_at(left.len().min(*capacity));
            writer.write_all(now).unwrap();
            left = later;
            if committed {
                self.queue.add_used(&*self.model, chain.head_index(), now.len() as u32).unwrap();
            }
        }
        if committed {
            self.queue.set_next_avail(start.wrapping_add(consumed).wrapping_add(taken.len() as u16));
        }
        self.compare_unless_stopped()
    }

    /// Frames into an RX ring by way of `look_ahead`, until one is for `reserve`. False if the ring stopped.
    fn receive_ahead(&mut self) -> bool {
        let count = self.rng.below(20) as usize;
        self.device.look_ahead(count);
        if self.rng.once_in(16) {
            // It forgets the first look; what it read there is read again.
            self.device.look_ahead(count);
        }
        for i in 0..=count {
            let header = self.rng.octets(4);
            let frame_len = [60, 300, 3000][self.rng.below(3) as usize];
            let frame_len = self.rng.below(frame_len) as usize;
            let frame = self.rng.octets(frame_len);
            let start = self.queue.next_avail();
            let chain = self.queue.iter(Arc::clone(&self.model)).unwrap().next();
            self.queue.set_next_avail(start);
            let len = header.len() + frame.len();
            let fits = chain.filter(|chain| i < count && self.is_one_buffer(chain, len));
            let put = self.device.put_octets(header.first_chunk::<4>().unwrap(), &frame);
            assert_eq!(put, fits.is_some(), "frame {i} of {count}, {len} octets");
            let Some(chain) = fits else { break };
            let head = chain.head_index();
            let mut writer = chain.writer(&*self.model).unwrap();
            writer.write_all(&header).unwrap();
            writer.write_all(&frame).unwrap();
            self.queue.add_used(&*self.model, head, len as u32).unwrap();
            self.queue.set_next_avail(start.wrapping_add(1));
        }
        self.compare_unless_stopped()
    }

    /// Whether a chain is one descriptor of the ring's own table, with one piece of `len` octets or more.
    fn is_one_buffer(&self, chain: &DescriptorChain<Arc<Memory>>, len: usize) -> bool {
        if chain.head_index() >= self.case.size {
            return false;
        }
        let at = self.config.descriptors + 16 * u64::from(chain.head_index());
        let descriptor: Descriptor = self.model.read_obj(GuestAddress(at)).unwrap();
        descriptor.flags() == WRITE
            && descriptor.len() as usize >= len.max(1)
            && self.judge(chain).is_some_and(|descriptors| pieces(&self.model, &descriptors) == 1)
    }

    /// The driver's index jumps: both must refuse, ours for good.
    fn jump(&mut self) {
        let beyond = u64::from(65_535 - self.case.size);
        let by = self.case.size + 1 + self.rng.below(beyond) as u16;
        let idx = self.device.next().wrapping_add(by);
        self.write(self.config.available + 2, &idx.to_le_bytes());
        assert!(self.queue.iter(Arc::clone(&self.model)).is_err());
        assert_eq!(self.device.available(), 0);
        let fault = RingFault::AvailableIndex { idx, next: self.device.next() };
        assert_eq!(self.device.fault(), Some(fault));
        assert_eq!(self.device.pop_burst(64).unwrap_err(), fault);
    }

    fn run(&mut self) {
        for _ in 0..self.case.rounds {
            self.offer();
            for _ in 0..=self.rng.below(6) {
                let goes_on = match (self.writable, self.rng.once_in(2)) {
                    (false, _) => self.transmit(),
                    (true, false) => self.receive(),
                    (true, true) => self.receive_ahead(),
                };
                if !goes_on {
                    return;
                }
            }
        }
        self.jump();
    }
}

/// Pieces of the buffers: one per region that they touch.
fn pieces(memory: &Memory, descriptors: &[Descriptor]) -> usize {
    let of = |d: &Descriptor| GuestMemoryBackend::get_slices(memory, d.addr(), d.len() as usize).count();
    descriptors.iter().map(of).sum()
}

trait AsOctets {
    fn as_octets(&self) -> Vec<u8>;
}

impl AsOctets for Descriptor {
    fn as_octets(&self) -> Vec<u8> {
        let mut octets = Vec::from(self.addr().0.to_le_bytes());
        octets.extend_from_slice(&self.len().to_le_bytes());
        octets.extend_from_slice(&self.flags().to_le_bytes());
        octets.extend_from_slice(&self.next().to_le_bytes());
        octets
    }
}

proptest! {
    #![proptest_config(proptest_config())]

    #[test]
    fn a_tx_ring_does_what_the_model_does(case in case()) {
        Twin::new(&case, false).run();
    }

    #[test]
    fn an_rx_ring_does_what_the_model_does(case in case()) {
        Twin::new(&case, true).run();
    }

    /// The checks of a layout against ones written in another way.
    #[test]
    fn a_layout_is_accepted_when_every_octet_of_it_is_mapped_once(
        size in prop_oneof![(0u32..6).prop_map(|bits| 1u16 << bits), 0u16..40],
        parts in prop::array::uniform3(prop_oneof![0x10_0000u64..0x10_0500, (0u64..0x50).prop_map(|i| 0x10_0000 + 16 * i)]),
        regions in prop::collection::vec((0u64..3, 0x40usize..0x200), 1..4),
    ) {
        let mut start = 0x10_0000;
        let mut ranges = Vec::new();
        for (gap, len) in regions {
            start += 16 * gap;
            ranges.push((GuestAddress(start), len.next_multiple_of(16)));
            start += len.next_multiple_of(16) as u64;
        }
        let memory = Arc::new(Memory::from_ranges(&ranges).unwrap());
        let table = RegionTable::new(Arc::clone(&memory)).unwrap();
        let [descriptors, available, used] = parts;
        let config = RingConfig { size, descriptors, available, used, event_idx: false, indirect: false };
        let n = u64::from(size);
        let places = [(descriptors, 16 * n, 16), (available, 6 + 2 * n, 2), (used, 6 + 8 * n, 4)];
        let aligned = places.iter().all(|(addr, _, alignment)| addr % alignment == 0);
        let inside = places.iter().all(|(addr, len, _)| {
            let region = memory.find_region(GuestAddress(*addr)).map(GuestMemoryRegion::start_addr);
            region.is_some() && (*addr..addr + len).all(|octet| {
                memory.find_region(GuestAddress(octet)).map(GuestMemoryRegion::start_addr) == region
            })
        });
        let mut octets: Vec<u64> = places.iter().flat_map(|(addr, len, _)| *addr..addr + len).collect();
        octets.sort_unstable();
        let apart = octets.windows(2).all(|w| w[0] != w[1]);
        let power = [1, 2, 4, 8, 16, 32].contains(&size);
        let accepted = RingLayout::new(&table, &config).is_ok();
        prop_assert_eq!(accepted, power && aligned && inside && apart, "{:x?}", config);
    }
}

/// A memory with a ring of `size` at 0x1000 and 256 buffers of 64 octets from 0x10000 on.
fn plain(size: u16, event_idx: bool) -> (Arc<Memory>, Arc<RegionTable>, RingConfig) {
    let ranges = [(GuestAddress(0x1000), 0x8000), (GuestAddress(0x1_0000), 0x8000)];
    let memory = Arc::new(Memory::from_ranges(&ranges).unwrap());
    let table = RegionTable::new(Arc::clone(&memory)).unwrap();
    let (descriptors, available, used) = (0x1000, 0x3000, 0x4000);
    (memory, table, RingConfig { size, descriptors, available, used, event_idx, indirect: true })
}

/// Pushes a chain that carries `number`, in one to three buffers of 8, direct or by an indirect table.
fn push(driver: &mut DriverRing, rng: &mut Rng, number: u64, writable: bool) -> Option<u16> {
    let slot = 0x1_0000 + 64 * (number % 256);
    let octets = number.to_le_bytes();
    let table = Arc::clone(driver.layout().table());
    if !writable {
        table.write(slot, &octets).unwrap();
    }
    let cut = 1 + rng.below(7) as u32;
    let buffers = [
        Buffer { addr: slot, len: cut, writable },
        Buffer { addr: 0, len: 0, writable },
        Buffer { addr: slot + u64::from(cut), len: 8 - cut, writable },
    ];
    let whole = [Buffer { addr: slot, len: 8, writable }];
    match rng.below(4) {
        0 => driver.push_indirect(0x1_4000 + 64 * (number % 256), &buffers),
        1 => driver.push(&buffers),
        _ => driver.push(&whole),
    }
}

/// Our driver side against the device side of virtio-queue: all octets arrive in order, through many wraps of
/// the indices, and neither side ever sleeps when it should not.
#[test]
fn our_driver_works_with_the_models_device() {
    for (size, event_idx) in [(1, true), (8, false), (64, true), (256, true)] {
        let (memory, table, config) = plain(size, event_idx);
        let mut rng = Rng::new(u64::from(size));
        let mut driver = DriverRing::new(RingLayout::new(&table, &config).unwrap());
        let mut queue = Queue::new(size).unwrap();
        queue.set_desc_table_address(Some(config.descriptors as u32), None);
        queue.set_avail_ring_address(Some(config.available as u32), None);
        queue.set_used_ring_address(Some(config.used as u32), None);
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        assert!(queue.is_valid(&*memory));
        let (mut sent, mut received) = (0u64, 0u64);
        let mut in_flight = VecDeque::new();
        let (mut device_sleeps, mut driver_sleeps) = (false, false);
        while received < scaled(75_000) {
            if !driver_sleeps {
                for _ in 0..rng.below(u64::from(size) * 2) {
                    let Some(head) = push(&mut driver, &mut rng, sent, false) else { break };
                    in_flight.push_back(head);
                    sent += 1;
                }
                let visible = !in_flight.is_empty() && received < sent;
                let kick = driver.publish();
                assert!(kick || !device_sleeps || !visible, "the device sleeps for ever");
                device_sleeps &= !kick;
            }
            if !device_sleeps {
                queue.disable_notification(&*memory).unwrap();
                for _ in 0..1 + rng.below(64) {
                    let Some(chain) = queue.iter(&*memory).unwrap().next() else { break };
                    let mut octets = [0; 8];
                    chain.clone().reader(&*memory).unwrap().read_exact(&mut octets).unwrap();
                    assert_eq!(u64::from_le_bytes(octets), received);
                    received += 1;
                    queue.add_used(&*memory, chain.head_index(), 0).unwrap();
                }
                let call = queue.needs_notification(&*memory).unwrap();
                driver_sleeps &= !call;
                device_sleeps = !queue.enable_notification(&*memory).unwrap();
            }
            if !driver_sleeps {
                while let Some((head, len)) = driver.pop_used().unwrap() {
                    assert_eq!((Some(head), len), (in_flight.pop_front(), 0));
                }
                assert_eq!(in_flight.len(), usize::from(driver.in_flight()));
                if driver.in_flight() > 0 && rng.once_in(3) {
                    driver_sleeps = !driver.arm();
                }
            }
            assert!(!(driver_sleeps && device_sleeps), "both sleep, after {received} of {sent}");
        }
        assert!(received >= scaled(75_000));
    }
}

/// Our device side against our driver side, TX and RX, both notification modes, by the million.
#[test]
fn our_device_works_with_our_driver() {
    for (size, event_idx, writable) in [
        (1, false, false),
        (2, true, true),
        (32, true, false),
        (256, false, true),
        (256, true, true),
        (256, true, false),
    ] {
        let (_memory, table, config) = plain(size, event_idx);
        let mut rng = Rng::new(u64::from(size) + 77);
        let mut driver = DriverRing::new(RingLayout::new(&table, &config).unwrap());
        let mut device = DeviceRing::start(RingLayout::new(&table, &config).unwrap());
        let (mut sent, mut served, mut returned) = (0u64, 0u64, 0u64);
        let (mut device_sleeps, mut driver_sleeps) = (false, false);
        let goal = scaled(500_000);
        while returned < goal {
            if !driver_sleeps {
                for _ in 0..rng.below(u64::from(size) + 2) {
                    if push(&mut driver, &mut rng, sent, writable).is_none() {
                        break;
                    }
                    sent += 1;
                }
                let kick = driver.publish();
                assert!(kick || !device_sleeps || served == sent, "the device sleeps for ever");
                device_sleeps &= !kick;
            }
            if !device_sleeps {
                if rng.once_in(2) {
                    device.disarm();
                }
                let before = served;
                if writable {
                    for _ in 0..rng.below(64) {
                        let Ok(mut reservation) = device.reserve(8, 1) else { break };
                        assert_eq!(reservation.write(&served.to_le_bytes()), 8);
                        assert!(reservation.commit());
                        served += 1;
                    }
                } else {
                    let burst = device.pop_burst(rng.below(65) as usize).unwrap();
                    let count = rng.below(burst.len() as u64 + 1) as usize;
                    for i in 0..count {
                        let mut octets = [0; 8];
                        assert_eq!(burst.chain(i).copy_to(0, &mut octets), 8);
                        assert_eq!(u64::from_le_bytes(octets), served);
                        served += 1;
                    }
                    burst.complete(count);
                }
                device.publish();
                let call = device.needs_call();
                assert!(!call || before != served || before == 0);
                driver_sleeps &= !call;
                assert_eq!(u64::from(device.available()), sent - served);
                device_sleeps = served == sent && !device.arm(0);
            }
            if !driver_sleeps {
                while let Some((_, len)) = driver.pop_used().unwrap() {
                    assert_eq!(len, if writable { 8 } else { 0 });
                    if writable {
                        let mut octets = [0; 8];
                        table.read(0x1_0000 + 64 * (returned % 256), &mut octets).unwrap();
                        assert_eq!(u64::from_le_bytes(octets), returned);
                    }
                    returned += 1;
                }
                assert_eq!(returned, served);
                assert_eq!(u64::from(driver.in_flight()), sent - returned);
                if driver.in_flight() > 0 && rng.once_in(3) {
                    driver_sleeps = !driver.arm();
                } else if rng.once_in(5) {
                    driver.disarm();
                }
            }
            assert!(!(driver_sleeps && device_sleeps), "both sleep, after {returned} of {sent}");
        }
        assert_eq!((device.rejected(), device.fault()), (0, None));
    }
}
