//! Which node this is: its name and its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use thiserror::Error;

use super::{Config, Endpoint, is_name};

/// A node, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the configuration, logs and metrics call it.
    pub name: String,
    /// Where the others reach it.
    pub address: IpAddr,
}

/// Why a node doesn't know who it is. The second line of each message says what to do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Several entries of `[cluster.nodes]` are this host's.
    #[error("several entries of [cluster.nodes] are addresses of this host: {}\nhint: choose one: --node {}", .0.join(", "), .0[0])]
    Several(Vec<String>),
    /// The host has no name that a node can have.
    #[error(
        "the hostname `{0}` can't name a node\nhint: use --node NAME, with letters, digits, `-`, `_` and `.`"
    )]
    Hostname(String),
    /// `--node` names what no node can be called.
    #[error("`{0}` can't name a node\nhint: use letters, digits, `-`, `_` and `.`")]
    Name(String),
}

/// What is asked of the host.
pub trait Host {
    /// Whether the address is one of this host's.
    fn is_local(&self, address: IpAddr) -> bool;
    /// Where a host's name leads; nowhere if it doesn't resolve.
    fn resolve(&self, host: &str) -> Vec<IpAddr>;
    /// What this host would send from towards the address; nothing is sent.
    fn source_towards(&self, address: SocketAddr) -> Option<IpAddr>;
    /// The hostname.
    fn hostname(&self) -> String;
}

/// The host that this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisHost;

impl Host for ThisHost {
    fn is_local(&self, address: IpAddr) -> bool {
        // The kernel answers an address of its own from that address. Binding would tell less: with
        // net.ipv4.ip_nonlocal_bind, which haproxy's hosts often have, every address binds.
        address.is_loopback()
            || self.source_towards(SocketAddr::new(address, super::options::PEER_PORT)) == Some(address)
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        (host, 0).to_socket_addrs().map(|found| found.map(|at| at.ip()).collect()).unwrap_or_default()
    }

    fn source_towards(&self, address: SocketAddr) -> Option<IpAddr> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // Connecting a datagram socket asks the routing table and sends nothing.
        socket.connect(address).ok()?;
        socket.local_addr().ok().map(|at| at.ip()).filter(|ip| !ip.is_unspecified())
    }

    fn hostname(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
}

/// Who this node is.
///
/// Its name: `chosen` (what `--node` says), else the entry of `[cluster.nodes]` whose address is the host's, else
/// the hostname. Its address: that entry's, else a seed that is the host's, else the source address towards the
/// first seed; on a node without seeds the one towards its first virtual IP, else the loopback.
pub fn identify(config: &Config, chosen: Option<&str>, host: &impl Host) -> Result<Identity, IdentityError> {
    let name = match chosen {
        Some(name) if is_name(name) => name.to_owned(),
        Some(name) => return Err(IdentityError::Name(name.to_owned())),
        None => own_name(config, host)?,
    };
    let address = match config.cluster.nodes.get(&name) {
        Some(address) => *address,
        None => own_address(config, host),
    };
    Ok(Identity { name, address })
}

fn own_name(config: &Config, host: &impl Host) -> Result<String, IdentityError> {
    let local = config.cluster.nodes.iter().filter(|(_, address)| host.is_local(**address));
    let mut names: Vec<String> = local.map(|(name, _)| name.clone()).collect();
    match names.len() {
        0 => {
            let name = host.hostname();
            if is_name(&name) { Ok(name) } else { Err(IdentityError::Hostname(name)) }
        }
        1 => Ok(names.remove(0)),
        _ => Err(IdentityError::Several(names)),
    }
}

fn own_address(config: &Config, host: &impl Host) -> IpAddr {
    let seeds = &config.cluster.seeds;
    let mut addresses = seeds.iter().flat_map(|seed| addresses(seed, host));
    addresses
        .find(|at| host.is_local(at.ip()))
        .or_else(|| {
            let towards = seeds.iter().flat_map(|seed| self::addresses(seed, host)).next()?;
            Some(SocketAddr::new(host.source_towards(towards)?, 0))
        })
        .map(|at| at.ip())
        .or_else(|| {
            let vip = config.vips.first()?.addresses.first()?;
            host.source_towards(SocketAddr::new(vip.ip, super::options::PEER_PORT))
        })
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn addresses(seed: &Endpoint, host: &impl Host) -> Vec<SocketAddr> {
    match seed {
        Endpoint::Address(address) => vec![*address],
        Endpoint::Name(name, port) => {
            host.resolve(name).into_iter().map(|ip| SocketAddr::new(ip, *port)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    struct Fake {
        local: Vec<IpAddr>,
        name: &'static str,
    }

    impl Host for Fake {
        fn is_local(&self, address: IpAddr) -> bool {
            self.local.contains(&address)
        }
        fn resolve(&self, host: &str) -> Vec<IpAddr> {
            if host == "ha2.example" { vec![ip("192.168.56.22")] } else { Vec::new() }
        }
        fn source_towards(&self, address: SocketAddr) -> Option<IpAddr> {
            (address.ip() == ip("192.168.56.21")).then(|| ip("192.168.56.99"))
        }
        fn hostname(&self) -> String {
            self.name.to_owned()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("the test's address is one")
    }

    fn host(local: &[&str]) -> Fake {
        Fake { local: local.iter().map(|text| ip(text)).collect(), name: "box7" }
    }

    fn who(
        seeds: &str,
        nodes: &str,
        chosen: Option<&str>,
        host: &Fake,
    ) -> Result<(String, String), IdentityError> {
        let text = format!("[cluster]\nname = \"c\"\nseeds = {seeds}\nnodes = {nodes}\n");
        let config = parse(&text, "test.toml").expect("the text is right").0;
        identify(&config, chosen, host).map(|found| (found.name, found.address.to_string()))
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is compared with results")]
    fn is(name: &str, address: &str) -> Result<(String, String), IdentityError> {
        Ok((name.to_owned(), address.to_owned()))
    }

    const NODES: &str = "{ ha1 = \"192.168.56.21\", ha2 = \"192.168.56.22\" }";

    #[test]
    fn the_entry_with_a_local_address_names_the_node() {
        assert_eq!(who("[]", NODES, None, &host(&["192.168.56.22"])), is("ha2", "192.168.56.22"));
    }

    #[test]
    fn the_command_line_comes_before_the_entries() {
        assert_eq!(who("[]", NODES, Some("ha1"), &host(&["192.168.56.22"])), is("ha1", "192.168.56.21"));
        assert_eq!(who("[]", "{}", Some("a b"), &host(&[])), Err(IdentityError::Name("a b".into())));
    }

    #[test]
    fn without_an_entry_the_hostname_counts_and_a_local_seed_is_the_address() {
        let seeds = "[\"192.168.56.21\", \"ha2.example\"]";
        assert_eq!(who(seeds, "{}", None, &host(&["192.168.56.22"])), is("box7", "192.168.56.22"));
        assert_eq!(who(seeds, "{}", None, &host(&["192.168.56.21"])), is("box7", "192.168.56.21"));
    }

    #[test]
    fn without_a_local_seed_the_source_address_towards_the_first_counts() {
        let seeds = "[\"nowhere.example\", \"192.168.56.21\"]";
        assert_eq!(who(seeds, NODES, Some("ha9"), &host(&[])), is("ha9", "192.168.56.99"));
        assert_eq!(who("[]", "{}", None, &host(&[])), is("box7", "127.0.0.1"));
    }

    #[test]
    fn two_local_entries_need_a_choice() {
        let both = host(&["192.168.56.21", "192.168.56.22"]);
        let error = who("[]", NODES, None, &both).expect_err("both are local");
        assert_eq!(
            error.to_string(),
            "several entries of [cluster.nodes] are addresses of this host: ha1, ha2\nhint: choose one: --node ha1"
        );
    }

    #[test]
    fn a_hostname_that_is_no_name_is_refused() {
        let odd = Fake { local: Vec::new(), name: "box 7" };
        assert_eq!(who("[]", "{}", None, &odd), Err(IdentityError::Hostname("box 7".into())));
    }

    #[test]
    fn this_host_knows_its_loopback() {
        assert!(ThisHost.is_local(Ipv4Addr::LOCALHOST.into()));
        assert!(!ThisHost.is_local(ip("192.0.2.1")));
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7780);
        assert_eq!(ThisHost.source_towards(loopback), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
