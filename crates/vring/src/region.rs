//! The region table: which guest-physical ranges are mapped, and where.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::sigbus;

/// `f_type` of hugetlbfs in statfs(2), also of a memfd made with `MFD_HUGETLB`.
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
/// `f_type` of tmpfs, also of any other memfd and of /dev/shm.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Why a set of regions can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The process-wide table of the SIGBUS handler is full: 4096 regions are registered.
    #[error("more than {} memory regions in this process", sigbus::MAX_REGIONS)]
    TooManyRegions,
    /// The region is not mapped for reading and writing.
    #[error("region at {0:#x} is not mapped readable and writable")]
    Protection(u64),
    /// The file behind the region is not in memory: not on tmpfs or hugetlbfs. A page fault on any other file
    /// waits for a disk, a server or a FUSE process, and with it whoever touches the page.
    #[error("region at {0:#x} is a file of type {1:#x}, neither a memfd nor on tmpfs or hugetlbfs")]
    FileSystem(u64, i64),
    /// The handler for SIGBUS could not be installed.
    #[error("can't install the SIGBUS handler")]
    Handler(#[source] std::io::Error),
    /// A range is not, or not wholly, inside the table's regions.
    #[error("{1} octets at {0:#x} are outside the mapped regions")]
    Outside(u64, usize),
}

/// One mapped range.
struct Region {
    /// Guest-physical address of the first octet.
    start: u64,
    /// Octets; `start + len` does not overflow (vm-memory checked it at mapping).
    len: u64,
    host: NonNull<u8>,
    _registration: sigbus::Registration,
}

/// An immutable snapshot of a guest's memory table: guest-physical ranges and where they are mapped.
///
/// It holds the mapping: host pointers taken from it are good as long as the table lives, which is why
/// every ring holds an `Arc` of its table. All regions are registered with the [`sigbus`] handler.
pub struct RegionTable {
    /// Sorted by `start`, not overlapping (vm-memory refuses overlap).
    regions: Box<[Region]>,
    shrinkable: bool,
    _memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers refer to a shared mapping that `_memory` keeps alive; the table itself is
// immutable, and what lies behind the pointers is only touched through atomic accesses or raw copies
// that assume concurrent writers (another process has the same pages).
// JUSTIFICATION: a table is made on a control thread and used on a path's thread.
unsafe impl Send for RegionTable {}
// SAFETY: as for Send.
// JUSTIFICATION: the RX ring and the TX ring of a guest share one table.
unsafe impl Sync for RegionTable {}

impl fmt::Debug for RegionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.regions.iter().map(|r| (r.start, r.len))).finish()
    }
}

impl RegionTable {
    /// Takes a snapshot of `memory` and registers its regions with the SIGBUS handler, which the first
    /// call in a process installs.
    ///
    /// # Errors
    ///
    /// [`RegionError::FileSystem`] for a file that is not in memory, [`RegionError::Protection`] for a mapping
    /// without read or write access, [`RegionError::TooManyRegions`] and [`RegionError::Handler`] when the
    /// containment of SIGBUS can't be had.
    pub fn new<B>(memory: Arc<GuestMemoryMmap<B>>) -> Result<Arc<Self>, RegionError>
    where
        B: Bitmap + Send + Sync + 'static,
    {
        sigbus::install().map_err(RegionError::Handler)?;
        let mut regions = Vec::with_capacity(memory.num_regions());
        let mut shrinkable = false;
        for region in memory.iter() {
            let start = region.start_addr().0;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let host = NonNull::new(region.as_ptr()).filter(|_| region.prot() & access == access);
            let host = host.ok_or(RegionError::Protection(start))?;
            let page = match region.file_offset() {
                Some(file) => {
                    shrinkable |= !is_sealed(file.file());
                    page_size_of(file.file()).map_err(|kind| RegionError::FileSystem(start, kind))?
                }
                None => page_size(),
            };
            let registration = sigbus::Registration::new(host.as_ptr() as usize, region.size(), page)
                .ok_or(RegionError::TooManyRegions)?;
            regions.push(Region { start, len: region.len(), host, _registration: registration });
        }
        regions.sort_by_key(|r| r.start);
        Ok(Arc::new(Self { regions: regions.into(), shrinkable, _memory: memory }))
    }

    /// Whether the owner of a file behind a region can take its memory away: it has not sealed it with
    /// F_SEAL_SHRINK. That is contained, and common (DPDK's virtio-user does not seal): worth a report, no more.
    #[must_use]
    pub fn is_shrinkable(&self) -> bool {
        self.shrinkable
    }

    /// Whether memory behind one of the regions went away and was replaced by zero pages.
    ///
    /// Walks all regions: ask when [`sigbus::faults`] has changed, not per packet.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.regions.iter().any(|r| r._registration.is_broken())
    }

    /// Looks addresses up in the table.
    #[inline]
    pub(crate) fn resolver(&self) -> Resolver<'_> {
        let (start, len, host) =
            self.regions.first().map_or((0, 0, NonNull::dangling()), |r| (r.start, r.len, r.host));
        Resolver { regions: &self.regions, start, len, host }
    }

    /// Where the whole range is mapped, if it is inside one region.
    pub(crate) fn resolve_whole(&self, addr: u64, len: usize) -> Option<NonNull<u8>> {
        self.resolver().resolve_whole(addr, len)
    }

    /// Copies `octets` to guest-physical address `addr`: for the driver side and for tests.
    ///
    /// # Errors
    ///
    /// [`RegionError::Outside`] if the range is not inside one region; nothing is written then.
    pub fn write(&self, addr: u64, octets: &[u8]) -> Result<(), RegionError> {
        let to = self.resolve_whole(addr, octets.len()).ok_or(RegionError::Outside(addr, octets.len()))?;
        // SAFETY: `to` is good for `octets.len()` octets; a slice of ours can't overlap a mapping that is
        // only reached through raw pointers.
        // JUSTIFICATION: bulk access to shared memory.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), to.as_ptr(), octets.len()) };
        Ok(())
    }

    /// Copies octets at guest-physical address `addr` out: for the driver side and for tests.
    ///
    /// # Errors
    ///
    /// [`RegionError::Outside`] if the range is not inside one region.
    pub fn read(&self, addr: u64, octets: &mut [u8]) -> Result<(), RegionError> {
        let from = self.resolve_whole(addr, octets.len()).ok_or(RegionError::Outside(addr, octets.len()))?;
        // SAFETY: as in `write`, the other way round.
        // JUSTIFICATION: bulk access to shared memory.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), octets.as_mut_ptr(), octets.len()) };
        Ok(())
    }
}

fn page_size() -> usize {
    rustix::param::page_size()
}

fn is_sealed(file: &std::fs::File) -> bool {
    use rustix::fs::SealFlags;
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

/// Page size of the file behind a mapping: a hole in a hugetlbfs file can only be filled by whole huge pages.
///
/// # Errors
///
/// The type of its file system if that is neither tmpfs nor hugetlbfs; 0 if it can't be told.
fn page_size_of(file: &std::fs::File) -> Result<usize, i64> {
    let stat = rustix::fs::fstatfs(file).map_err(|_| 0)?;
    match stat.f_type {
        TMPFS_MAGIC => Ok(page_size()),
        HUGETLBFS_MAGIC => usize::try_from(stat.f_bsize).map_err(|_| stat.f_type),
        other => Err(other),
    }
}

/// Looks guest addresses up in a table. It begins with the region where it found the last one: a guest's buffers
/// are nearly always in the same.
pub(crate) struct Resolver<'t> {
    regions: &'t [Region],
    /// The region at hand: one of `regions`, or none of length 0.
    start: u64,
    len: u64,
    host: NonNull<u8>,
}

impl Resolver<'_> {
    /// Where `addr` is mapped and how many octets, at most `len`, follow it in the same region.
    ///
    /// `None` if `addr` lies in no region.
    #[inline]
    pub(crate) fn resolve(&mut self, addr: u64, len: usize) -> Option<(NonNull<u8>, usize)> {
        if addr.wrapping_sub(self.start) >= self.len {
            self.seek(addr)?;
        }
        let offset = addr - self.start;
        let there = (self.len - offset).min(len as u64);
        // SAFETY: `offset` is less than the region's length, so the result lies inside the one mapping that
        // starts at `host` and is `len` octets long.
        // JUSTIFICATION: the one place where a guest address becomes a pointer.
        let host = unsafe { self.host.add(offset as usize) };
        Some((host, there as usize))
    }

    /// Takes the region in hand that holds `addr`, if one does.
    #[inline(never)]
    fn seek(&mut self, addr: u64) -> Option<()> {
        let index = self.regions.partition_point(|r| r.start <= addr).checked_sub(1)?;
        let region = &self.regions[index];
        if addr - region.start >= region.len {
            return None;
        }
        (self.start, self.len, self.host) = (region.start, region.len, region.host);
        Some(())
    }

    /// Where the whole range is mapped, if it is inside one region.
    #[inline]
    pub(crate) fn resolve_whole(&mut self, addr: u64, len: usize) -> Option<NonNull<u8>> {
        self.resolve(addr, len).filter(|&(_, there)| there == len).map(|(host, _)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddress;

    fn table(ranges: &[(u64, usize)]) -> Arc<RegionTable> {
        let ranges: Vec<_> = ranges.iter().map(|&(start, len)| (GuestAddress(start), len)).collect();
        RegionTable::new(Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap())).unwrap()
    }

    #[test]
    fn resolves_only_what_is_mapped() {
        let table = table(&[(0x1000, 0x1000), (0x2000, 0x1000), (0x8000, 0x1000)]);
        let mut resolver = table.resolver();
        for (addr, len, there) in [
            (0x1000, 1, Some(1)),
            (0x1fff, 1, Some(1)),
            (0x1ff0, 0x20, Some(0x10)),
            (0x2fff, 2, Some(1)),
            (0x8000, 0x1000, Some(0x1000)),
            (0x8000, 0x1001, Some(0x1000)),
            (0x8fff, usize::MAX, Some(1)),
            (0xfff, 1, None),
            (0, 1, None),
            (0x3000, 1, None),
            (0x7fff, 1, None),
            (0x9000, 1, None),
            (u64::MAX, 1, None),
        ] {
            assert_eq!(resolver.resolve(addr, len).map(|(_, n)| n), there, "{addr:#x}+{len:#x}");
        }
    }

    #[test]
    fn tells_memory_that_can_be_taken_away() {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
        for sealed in [false, true] {
            let fd = memfd_create("memory", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&fd, 0x1000).unwrap();
            if sealed {
                fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
            }
            let file = vm_memory::FileOffset::new(fd.into(), 0);
            let memory =
                GuestMemoryMmap::<()>::from_ranges_with_files([(GuestAddress(0), 0x1000, Some(file))]);
            assert_eq!(RegionTable::new(Arc::new(memory.unwrap())).unwrap().is_shrinkable(), !sealed);
        }
    }

    #[test]
    fn write_refuses_a_range_that_leaves_its_region() {
        let table = table(&[(0x1000, 0x1000), (0x2000, 0x1000)]);
        table.write(0x1ffe, &[1, 2]).unwrap();
        assert!(matches!(table.write(0x1fff, &[1, 2]), Err(RegionError::Outside(0x1fff, 2))));
        let mut back = [0; 2];
        table.read(0x1ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2]);
    }
}
