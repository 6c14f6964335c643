//! The guest's memory: a memfd that the backend maps too, at guest-physical and at user addresses.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use espwire_vring::RegionTable;
use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use crate::Error;

/// Octets of a page of ordinary memory; regions are multiples of it.
const PAGE_LEN: u64 = 4096;
/// Octets of a huge page.
const HUGE_PAGE_LEN: u64 = 2 << 20;

/// One range of guest memory, as SET_MEM_TABLE and ADD_MEM_REG describe it.
///
/// ```text
///   guest-physical  start ─────────── start + len      what descriptors hold
///   user address    user ──────────── user + len       what SET_VRING_ADDR holds
///   file            offset ────────── offset + len     what the backend maps
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest-physical address of the first octet.
    pub start: u64,
    /// Octets.
    pub len: u64,
    /// Address in the frontend's own address space, as the backend is told. Nothing needs to be mapped there:
    /// it only ties ring addresses to regions.
    pub user: u64,
    /// Where in the file the region starts, in octets.
    pub offset: u64,
}

/// What kind of file the guest memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryKind {
    /// Seal it against shrinking and growing, as QEMU does; [`GuestMemory::truncate`] then fails.
    pub sealed: bool,
    /// Use huge pages of 2 MiB; the machine must have some reserved.
    pub huge: bool,
}

/// A guest's memory, mapped here and offered to the backend by descriptor.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    regions: Vec<MemoryRegion>,
    /// Per region, octets handed out.
    handed_out: Vec<u64>,
    table: Arc<RegionTable>,
}

impl GuestMemory {
    /// Memory as a PC has it, in two regions of one file: `low` octets from 1 MiB on (espwire's NIC puts its
    /// rings there) and `high` octets from 4 GiB on (its buffers). Guest-physical, user and file addresses
    /// are all different, and user addresses run in another order, so that a backend that takes one for the
    /// other is found out.
    ///
    /// # Errors
    ///
    /// As [`with_regions`](Self::with_regions).
    pub fn new(low: u64, high: u64, kind: MemoryKind) -> Result<Self, Error> {
        let page = if kind.huge { HUGE_PAGE_LEN } else { PAGE_LEN };
        let (low, high) = (low.next_multiple_of(page), high.next_multiple_of(page));
        let (low_start, high_start) = (1 << 20, 1 << 32);
        let low_start = u64::max(low_start, page);
        Self::with_regions(
            &[
                MemoryRegion { start: low_start, len: low, user: 0x7fab_0000_0000, offset: 0 },
                MemoryRegion { start: high_start, len: high, user: 0x7f12_0000_0000, offset: low },
            ],
            kind,
        )
    }

    /// Memory in the given regions of one new file, as long as they need.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such file to be had (huge pages, for one), [`Error::Memory`] if regions
    /// overlap or can't be mapped, [`Error::Region`] if the SIGBUS handler refuses them.
    pub fn with_regions(regions: &[MemoryRegion], kind: MemoryKind) -> Result<Self, Error> {
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if kind.huge {
            flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        }
        let fd = rustix::fs::memfd_create("guest-memory", flags).map_err(Error::io("memfd_create"))?;
        let file = File::from(fd);
        let len = regions.iter().map(|r| r.offset.saturating_add(r.len)).max().unwrap_or(0);
        file.set_len(len).map_err(Error::io("ftruncate"))?;
        if kind.sealed {
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW;
            rustix::fs::fcntl_add_seals(&file, seals).map_err(Error::io("sealing"))?;
        }
        let mut ranges = Vec::with_capacity(regions.len());
        for region in regions {
            let clone = file.try_clone().map_err(Error::io("dup"))?;
            let place = FileOffset::new(clone, region.offset);
            ranges.push((GuestAddress(region.start), region.len as usize, Some(place)));
        }
        let mapped = GuestMemoryMmap::<()>::from_ranges_with_files(ranges).map_err(Error::Memory)?;
        let table = RegionTable::new(Arc::new(mapped))?;
        Ok(Self { file, regions: regions.to_vec(), handed_out: vec![0; regions.len()], table })
    }

    /// The regions, in the order in which the backend is told of them.
    #[must_use]
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.regions
    }

    /// The mapping on this side.
    #[must_use]
    pub fn table(&self) -> &Arc<RegionTable> {
        &self.table
    }

    /// The user address of a guest-physical one, as SET_VRING_ADDR wants it; `None` outside all regions.
    #[must_use]
    pub fn user_address(&self, addr: u64) -> Option<u64> {
        let region = self.regions.iter().find(|r| addr.wrapping_sub(r.start) < r.len)?;
        Some(addr - region.start + region.user)
    }

    /// Hands out `len` octets of region `region`, aligned to `alignment` (a power of two), and returns their
    /// guest-physical address. Nothing is ever taken back. They are zero, like all memory not written yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if the region has no such room left, or there is no such region.
    pub fn allocate(&mut self, region: usize, len: u64, alignment: u64) -> Result<u64, Error> {
        let no_room = Error::NoRoom(len);
        let (Some(place), Some(used)) = (self.regions.get(region), self.handed_out.get_mut(region)) else {
            return Err(no_room);
        };
        let start = (place.start + *used).next_multiple_of(alignment) - place.start;
        match start.checked_add(len) {
            Some(end) if end <= place.len => {
                *used = end;
                Ok(place.start + start)
            }
            _ => Err(no_room),
        }
    }

    /// Takes memory away under the backend's mapping (and our own): cuts the file to `len` octets.
    ///
    /// Our own accesses then find zero pages, by the SIGBUS handler of `espwire-vring`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file is sealed.
    pub fn truncate(&self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(Error::io("ftruncate"))
    }
}

impl AsFd for GuestMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_address_differ() {
        let memory = GuestMemory::new(5000, 1 << 20, MemoryKind::default()).unwrap();
        let [low, high] = memory.regions() else { panic!("two regions") };
        assert_eq!((low.len, high.offset), (8192, 8192));
        assert_eq!(memory.user_address(low.start + 10), Some(low.user + 10));
        assert_eq!(memory.user_address(high.start + high.len - 1), Some(high.user + high.len - 1));
        assert_eq!(memory.user_address(high.start + high.len), None);
        assert_eq!(memory.user_address(low.user), None);
    }

    #[test]
    fn hands_out_aligned_places_until_a_region_is_full() {
        let mut memory = GuestMemory::new(4096, 4096, MemoryKind::default()).unwrap();
        let start = memory.regions()[0].start;
        assert_eq!(memory.allocate(0, 3, 1).unwrap(), start);
        assert_eq!(memory.allocate(0, 16, 16).unwrap(), start + 16);
        assert!(matches!(memory.allocate(0, 4065, 1), Err(Error::NoRoom(4065))));
        assert_eq!(memory.allocate(0, 4064, 1).unwrap(), start + 32);
        assert!(matches!(memory.allocate(2, 1, 1), Err(Error::NoRoom(1))));
    }

    #[test]
    fn sealed_memory_cannot_be_taken_away() {
        let sealed = GuestMemory::new(4096, 4096, MemoryKind { sealed: true, huge: false }).unwrap();
        assert!(matches!(sealed.truncate(0), Err(Error::Io { .. })));
        let open = GuestMemory::new(4096, 4096, MemoryKind::default()).unwrap();
        let start = open.regions()[0].start;
        open.table().write(start, b"there").unwrap();
        open.truncate(0).unwrap();
        let mut octets = [1; 5];
        open.table().read(start, &mut octets).unwrap();
        assert_eq!(octets, [0; 5]);
        assert!(open.table().is_broken());
    }
}
