//! A rule, expression by expression: what it loads, compares and does. A comparison that fails ends the rule.

use std::net::IpAddr;
use std::time::Duration;

use super::message::Attributes;

/// Where a packet's bytes are loaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// ARP's or IP's.
    Network,
    /// What IP carries.
    Transport,
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    /// Its `EtherType`.
    Protocol,
    /// The number of what IP carries.
    Inner,
    /// The index of the interface that it leaves by.
    Leaving,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It is gone.
    Drop,
    /// Another chain judges it, and then the next rule.
    Jump(&'a str),
}

/// The first of the registers of four bytes; wider values take several in a row.
const FIRST_REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;
const NF_DROP: u32 = 0;
const NFT_JUMP: i32 = -3;
const NFT_CMP_EQ: u32 = 0;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFT_DYNSET_OP_UPDATE: u32 = 1;

/// The expressions of one rule, in the order in which they are carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule(Attributes);

impl Rule {
    /// One that does nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The packet's metadata is this.
    pub(super) fn meta(self, key: Meta, value: &[u8]) -> Self {
        let key = match key {
            Meta::Protocol => 1,
            Meta::Leaving => 5,
            Meta::Inner => 16,
        };
        let load = Attributes::new().number(2, key).number(1, FIRST_REGISTER);
        self.expression("meta", &load).compare(value)
    }

    /// The packet's bytes from `offset` on are these.
    pub(super) fn payload(self, header: Header, offset: u32, value: &[u8]) -> Self {
        self.load(header, offset, value.len() as u32, 0).compare(value)
    }

    /// Loads bytes of the packet's into the register numbered `register`, from the first one on.
    pub(super) fn load(self, header: Header, offset: u32, length: u32, register: u32) -> Self {
        let base = match header {
            Header::Network => 1,
            Header::Transport => 2,
        };
        let load = Attributes::new()
            .number(1, FIRST_REGISTER + register)
            .number(2, base)
            .number(3, offset)
            .number(4, length);
        self.expression("payload", &load)
    }

    /// Loads an address into the first registers.
    pub(super) fn address(self, address: IpAddr) -> Self {
        let value = match address {
            IpAddr::V4(address) => Attributes::new().bytes(1, &address.octets()),
            IpAddr::V6(address) => Attributes::new().bytes(1, &address.octets()),
        };
        self.expression("immediate", &Attributes::new().number(1, FIRST_REGISTER).nested(2, &value))
    }

    /// What has been loaded is in a set.
    pub(super) fn within(self, set: &str) -> Self {
        let lookup = Attributes::new().name(1, set).number(2, FIRST_REGISTER);
        self.expression("lookup", &lookup)
    }

    /// What has been loaded isn't in a set.
    pub(super) fn not_within(self, set: &str) -> Self {
        let lookup = Attributes::new().name(1, set).number(2, FIRST_REGISTER).number(5, NFT_LOOKUP_F_INV);
        self.expression("lookup", &lookup)
    }

    /// What has been loaded stays in a set for `time` from now on.
    pub(super) fn keep(self, set: &str, time: Duration) -> Self {
        let update = Attributes::new()
            .name(1, set)
            .number(3, NFT_DYNSET_OP_UPDATE)
            .number(4, FIRST_REGISTER)
            .time(6, time);
        self.expression("dynset", &update)
    }

    /// Ends with a verdict.
    pub(super) fn verdict(self, verdict: Verdict<'_>) -> Self {
        let code = match verdict {
            Verdict::Drop => Attributes::new().number(1, NF_DROP),
            Verdict::Jump(chain) => Attributes::new().number(1, NFT_JUMP.cast_unsigned()).name(2, chain),
        };
        let data = Attributes::new().nested(2, &code);
        self.expression("immediate", &Attributes::new().number(1, VERDICT_REGISTER).nested(2, &data))
    }

    /// As an attribute's payload.
    pub(super) fn attributes(&self) -> &Attributes {
        &self.0
    }

    fn compare(self, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(1, value);
        let compare = Attributes::new().number(1, FIRST_REGISTER).number(2, NFT_CMP_EQ).nested(3, &value);
        self.expression("cmp", &compare)
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        Self(self.0.nested(1, &Attributes::new().name(1, name).nested(2, data)))
    }
}
