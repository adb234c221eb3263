//! A backend's address: written in the file, or asked of the resolver before each try.

use std::io;
use std::net::SocketAddr;

use tokio::task::JoinHandle;

use crate::config::Endpoint;

/// Knows one endpoint's address.
#[derive(Debug)]
pub(super) struct Resolver {
    endpoint: Endpoint,
    /// Kept while the name still has it, so that an answer in another order changes nothing.
    last: Option<SocketAddr>,
    /// A lookup occupies a thread until the system's resolver is done with it: there is at most one, which a later
    /// try takes over from one that ran out of time.
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, last: None, lookup: None }
    }

    /// The address; `None` if the name has none. Can be given up at any time.
    pub(super) async fn address(&mut self) -> Option<SocketAddr> {
        let (name, port) = match &self.endpoint {
            Endpoint::Address(address) => return Some(*address),
            Endpoint::Name(name, port) => (name, *port),
        };
        let lookup = self.lookup.get_or_insert_with(|| {
            let name = name.clone();
            tokio::spawn(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        });
        let outcome = lookup.await;
        self.lookup = None;
        let addresses = outcome.ok()?.ok()?;
        self.last = match self.last {
            Some(last) if addresses.contains(&last) => Some(last),
            Some(_) | None => addresses.first().copied(),
        };
        self.last
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(lookup) = &self.lookup {
            lookup.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn an_address_needs_nobody_to_ask() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        assert_eq!(Resolver::new(Endpoint::Address(address)).address().await, Some(address));
    }

    #[tokio::test]
    async fn a_name_is_asked_for_and_its_answer_kept() {
        let mut resolver = Resolver::new(Endpoint::Name("localhost".into(), 80));
        let address = resolver.address().await.unwrap();
        assert!(address.ip().is_loopback());
        assert_eq!(resolver.address().await, Some(address));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_no_address() {
        // Too long for any name, which the resolver sees without asking anybody.
        let name = "x".repeat(300);
        assert_eq!(Resolver::new(Endpoint::Name(name, 80)).address().await, None);
    }
}
