//! Where holders' beacons go: the nodes listen there, and a holder's own kernel watches them leave.

use std::net::Ipv4Addr;

/// From and to this port, UDP.
pub const PORT: u16 = 7781;

/// To this group. Administratively scoped (RFC 2365): beacons stay on the VIP's network.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 81);
