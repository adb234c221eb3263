//! A backend's address: written in the file, or asked of the resolver before each try.

use std::net::SocketAddr;

use crate::config::Endpoint;

/// Knows one endpoint's address.
#[derive(Debug)]
pub(super) struct Resolver {
    endpoint: Endpoint,
    /// Kept while the name still has it, so that an answer in another order changes nothing.
    last: Option<SocketAddr>,
    lookup: Lookup,
}

/// A lookup may take the system's resolver longer than a try may take: there is at most one, which a later try takes
/// over from one that ran out of time.
#[derive(Debug, Default)]
enum Lookup {
    #[default]
    None,
    UnderWay,
    Found(Vec<SocketAddr>),
}

/// What is known of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    At(SocketAddr),
    /// The name has none.
    Nowhere,
    /// Somebody has been asked.
    Asked,
}

impl Resolver {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, last: None, lookup: Lookup::None }
    }

    /// The address for the next try. If somebody has to be asked for it, `ask` does that, by name and port.
    pub(super) fn address(&mut self, ask: impl FnOnce(String, u16)) -> Known {
        let (name, port) = match &self.endpoint {
            Endpoint::Address(address) => return Known::At(*address),
            Endpoint::Name(name, port) => (name, *port),
        };
        match std::mem::take(&mut self.lookup) {
            Lookup::None => {
                ask(name.clone(), port);
                self.lookup = Lookup::UnderWay;
                Known::Asked
            }
            Lookup::UnderWay => {
                self.lookup = Lookup::UnderWay;
                Known::Asked
            }
            Lookup::Found(addresses) => {
                let last = self.last.filter(|last| addresses.contains(last));
                let address = last.or(addresses.first().copied());
                self.last = address.or(self.last);
                address.map_or(Known::Nowhere, Known::At)
            }
        }
    }

    /// The answer, for the try that waits for it or the next one.
    pub(super) fn found(&mut self, addresses: Vec<SocketAddr>) {
        self.lookup = Lookup::Found(addresses);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 80))
    }

    fn named() -> Resolver {
        Resolver::new(Endpoint::Name("web1.example".into(), 80))
    }

    #[allow(clippy::needless_pass_by_value, reason = "as the one that does ask")]
    fn nobody(_name: String, _port: u16) {
        panic!("somebody was asked");
    }

    #[test]
    fn an_address_needs_nobody_to_ask() {
        assert_eq!(Resolver::new(Endpoint::Address(address(1))).address(nobody), Known::At(address(1)));
    }

    #[test]
    fn there_is_at_most_one_lookup_and_its_answer_serves_one_try() {
        let mut resolver = named();
        let mut asked = Vec::new();
        for _ in 0..2 {
            assert_eq!(resolver.address(|name, port| asked.push((name, port))), Known::Asked);
        }
        assert_eq!(asked, [("web1.example".to_owned(), 80)]);
        resolver.found(vec![address(1)]);
        assert_eq!(resolver.address(nobody), Known::At(address(1)));
        assert_eq!(resolver.address(|name, port| asked.push((name, port))), Known::Asked);
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn an_address_is_kept_while_the_name_has_it() {
        let mut resolver = named();
        let mut after = |answer: &[SocketAddr]| {
            resolver.found(answer.to_vec());
            resolver.address(nobody)
        };
        assert_eq!(after(&[address(1), address(2)]), Known::At(address(1)));
        assert_eq!(after(&[address(2), address(1)]), Known::At(address(1)));
        assert_eq!(after(&[]), Known::Nowhere);
        assert_eq!(after(&[address(2), address(1)]), Known::At(address(1)));
        assert_eq!(after(&[address(3), address(2)]), Known::At(address(3)));
    }
}
