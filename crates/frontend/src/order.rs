//! Whose habits a frontend has: which features it wants and in which order it sends its messages.

use espwire_virtnet::Features;

use crate::Request;

/// Protocol features of vhost-user (VHOST_USER_PROTOCOL_F_*), as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolFeatures(pub u64);

impl ProtocolFeatures {
    /// VHOST_USER_PROTOCOL_F_MQ: GET_QUEUE_NUM.
    pub const MQ: Self = Self(1 << 0);
    /// VHOST_USER_PROTOCOL_F_LOG_SHMFD.
    pub const LOG_SHMFD: Self = Self(1 << 1);
    /// VHOST_USER_PROTOCOL_F_RARP: SEND_RARP.
    pub const RARP: Self = Self(1 << 2);
    /// VHOST_USER_PROTOCOL_F_REPLY_ACK.
    pub const REPLY_ACK: Self = Self(1 << 3);
    /// VHOST_USER_PROTOCOL_F_MTU: NET_SET_MTU.
    pub const MTU: Self = Self(1 << 4);
    /// VHOST_USER_PROTOCOL_F_CONFIG: GET_CONFIG.
    pub const CONFIG: Self = Self(1 << 9);
    /// VHOST_USER_PROTOCOL_F_RESET_DEVICE.
    pub const RESET_DEVICE: Self = Self(1 << 13);
    /// VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS: ADD_MEM_REG.
    pub const CONFIGURE_MEM_SLOTS: Self = Self(1 << 15);
    /// VHOST_USER_PROTOCOL_F_STATUS: GET_STATUS, SET_STATUS.
    pub const STATUS: Self = Self(1 << 16);

    /// Whether all bits of `other` are here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn of(sets: &[Self]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < sets.len() {
            bits |= sets[i].0;
            i += 1;
        }
        Self(bits)
    }
}

/// A real frontend whose habits are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// QEMU 7.2 `-netdev vhost-user`; the order was seen live, details marked so are from its source.
    #[default]
    Qemu,
    /// cloud-hypervisor 54: from source, its handshake up to GET_QUEUE_NUM seen live.
    CloudHypervisor,
    /// DPDK 22.11 virtio-user: from source.
    VirtioUser,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Qemu, Self::CloudHypervisor, Self::VirtioUser];

    /// The virtio features that this frontend with a Linux guest wants from a backend that offers no
    /// offloads; what is negotiated is what of them the backend offers.
    #[must_use]
    pub fn features(self) -> Features {
        let common =
            Features::VERSION_1 | Features::MRG_RXBUF | Features::INDIRECT_DESC | Features::PROTOCOL_FEATURES;
        match self {
            // 0x170008000, seen live: no IN_ORDER.
            Self::Qemu => common | Features::EVENT_IDX,
            // From its list of known features (net.rs): a Linux guest then takes these. CTRL_VQ and MAC stay
            // with the frontend.
            Self::CloudHypervisor => common | Features::EVENT_IDX | Features::IN_ORDER,
            // virtio_user_dev.c: no EVENT_IDX.
            Self::VirtioUser => common | Features::IN_ORDER,
        }
    }

    /// The protocol features that this frontend acknowledges where they are offered.
    #[must_use]
    pub fn protocol_features(self) -> ProtocolFeatures {
        use ProtocolFeatures as P;
        match self {
            // It acknowledges every bit it knows (seen); its net device masks CONFIG (source). Left out here:
            // BACKEND_REQ, BACKEND_SEND_FD, HOST_NOTIFIER, PAGEFAULT, INFLIGHT_SHMFD, CROSS_ENDIAN, which
            // bring messages this frontend does not send.
            Self::Qemu => P::of(&[
                P::MQ,
                P::LOG_SHMFD,
                P::RARP,
                P::REPLY_ACK,
                P::MTU,
                P::RESET_DEVICE,
                P::CONFIGURE_MEM_SLOTS,
                P::STATUS,
            ]),
            // 0xb seen with a backend that offers no more; CONFIG and CONFIGURE_MEM_SLOTS from source.
            Self::CloudHypervisor => {
                P::of(&[P::MQ, P::LOG_SHMFD, P::REPLY_ACK, P::CONFIG, P::CONFIGURE_MEM_SLOTS])
            }
            // drivers/net/virtio/virtio_user/vhost_user.c.
            Self::VirtioUser => P::of(&[P::MQ, P::REPLY_ACK, P::STATUS]),
        }
    }

    /// Whether this frontend asks for an acknowledgement of `request`, once REPLY_ACK is negotiated.
    #[must_use]
    pub fn wants_reply(self, request: Request) -> bool {
        match self {
            Self::Qemu => matches!(
                request,
                Request::SET_MEM_TABLE | Request::ADD_MEM_REG | Request::REM_MEM_REG | Request::NET_SET_MTU
            ),
            // set_hdr_flags(NEED_REPLY): from then on everything (vu_common_ctrl.rs).
            Self::CloudHypervisor => true,
            Self::VirtioUser => matches!(request, Request::SET_MEM_TABLE | Request::SET_STATUS),
        }
    }
}
