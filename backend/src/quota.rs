//! How much memory a frontend may have mapped: both ports share the process's address space, its descriptors and
//! the table of the SIGBUS handler, and neither may take them from the other.

use vhost::vhost_user::message::FrontendReq;

use crate::message::Message;

/// The most memory regions of one port. Each costs a descriptor and, while tables change, two places in the
/// SIGBUS handler's table.
pub(crate) const MAX_REGIONS: usize = 256;
/// The most octets mapped for one port: an eighth of a process's address space on x86-64.
const MAX_OCTETS: u64 = 1 << 44;

/// Octets of a memory region's description: guest address, size, user address, offset.
const REGION_LEN: usize = 32;
/// Octets before the first description, in SET_MEM_TABLE and in ADD_MEM_REG and REM_MEM_REG alike.
const REGIONS_AT: usize = 8;

/// The regions that a session has mapped: guest address and octets.
#[derive(Debug, Default)]
pub(crate) struct MemoryQuota(Vec<(u64, u64)>);

impl MemoryQuota {
    /// Checks a message that maps or unmaps memory, before the request handler serves it. What is malformed in
    /// other ways is the handler's to refuse.
    ///
    /// # Errors
    ///
    /// Why it would be too much.
    pub(crate) fn admit(&mut self, message: &Message) -> Result<(), &'static str> {
        let regions =
            message.payload.get(REGIONS_AT..).unwrap_or_default().chunks_exact(REGION_LEN).map(|region| {
                let number = |i: usize| u64::from_ne_bytes(std::array::from_fn(|k| region[8 * i + k]));
                (number(0), number(1))
            });
        match message.request.known() {
            Some(FrontendReq::SET_MEM_TABLE) => self.0 = regions.collect(),
            Some(FrontendReq::ADD_MEM_REG) => self.0.extend(regions),
            _ => regions.for_each(|(start, _)| self.0.retain(|&(known, _)| known != start)),
        }
        let octets = self.0.iter().try_fold(0u64, |sum, &(_, len)| sum.checked_add(len));
        if self.0.len() > MAX_REGIONS {
            Err("too many memory regions")
        } else if octets.is_none_or(|octets| octets > MAX_OCTETS) {
            Err("more than 2^44 octets of memory")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(request: FrontendReq, regions: &[(u64, u64)]) -> Message {
        let regions = regions.iter().flat_map(|&(start, len)| [start, len, 0, 0]);
        let octets: Vec<u8> = std::iter::once(0).chain(regions).flat_map(u64::to_ne_bytes).collect();
        Message::new(request).with_payload(&octets)
    }

    #[test]
    fn counts_regions_and_octets_of_all_messages_together() {
        let mut quota = MemoryQuota::default();
        let half = (1 << 44) / 2;
        assert!(quota.admit(&message(FrontendReq::ADD_MEM_REG, &[(0, half)])).is_ok());
        assert!(quota.admit(&message(FrontendReq::ADD_MEM_REG, &[(half, half)])).is_ok());
        assert!(quota.admit(&message(FrontendReq::ADD_MEM_REG, &[(2 * half, 1)])).is_err());
        assert!(quota.admit(&message(FrontendReq::SET_MEM_TABLE, &[(0, 1 << 44)])).is_ok());
        assert!(quota.admit(&message(FrontendReq::REM_MEM_REG, &[(0, 1 << 44)])).is_ok());
        assert!(quota.admit(&message(FrontendReq::ADD_MEM_REG, &[(0, u64::MAX)])).is_err());
        assert!(quota.admit(&message(FrontendReq::SET_MEM_TABLE, &[(0, u64::MAX), (1, 1)])).is_err());
        let many: Vec<_> = (0..=MAX_REGIONS as u64).map(|i| (i << 20, 1 << 20)).collect();
        assert!(quota.admit(&message(FrontendReq::SET_MEM_TABLE, &many[1..])).is_ok());
        assert!(quota.admit(&message(FrontendReq::SET_MEM_TABLE, &many)).is_err());
    }
}
