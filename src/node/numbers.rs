//! Numbers for services, backends and checks: each keeps its own from one configuration to the next, and nobody else ever has it.
//!
//! The core counts them as the file does, so that their places change with it. What probes, checks and proxy have
//! under way meanwhile names them by number, and so never means another one.

use crate::config::{Config, Service};

/// The numbers of a configuration's services, backends and checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    /// In the file's order. They are counted by themselves, without gaps.
    services: Vec<usize>,
    next_service: usize,
    /// By service, in the file's order.
    backends: Vec<Vec<usize>>,
    /// In the file's order.
    checks: Vec<usize>,
    next: usize,
}

impl Numbers {
    /// Those of a daemon's first configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self { services: Vec::new(), next_service: 0, backends: Vec::new(), checks: Vec::new(), next: 0 }
            .follow(&[], &[], config)
    }

    /// Those of `config`, which comes after `before`: whoever stays keeps its number.
    pub(super) fn after(&self, before: &Config, config: &Config) -> Self {
        let checks: Vec<&str> = before.checks.iter().map(|check| check.name.as_str()).collect();
        self.follow(&before.services, &checks, config)
    }

    fn follow(&self, services: &[Service], checks: &[&str], config: &Config) -> Self {
        let mut next = self.next;
        let mut number = |known: Option<usize>| {
            known.unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        };
        let (mut backends, mut numbers_of_services) = (Vec::new(), Vec::new());
        let mut next_service = self.next_service;
        for service in &config.services {
            let known = services.iter().position(|before| before.name == service.name);
            numbers_of_services.push(known.map_or_else(
                || {
                    next_service += 1;
                    next_service - 1
                },
                |at| self.services[at],
            ));
            let before = services.iter().zip(&self.backends).find(|(before, _)| before.name == service.name);
            let known = |name: &str| {
                let (before, numbers) = before?;
                let at = before.backends.iter().position(|backend| backend.name == name)?;
                Some(numbers[at])
            };
            backends.push(service.backends.iter().map(|backend| number(known(&backend.name))).collect());
        }
        let known = |name: &str| Some(self.checks[checks.iter().position(|check| *check == name)?]);
        let checks = config.checks.iter().map(|check| number(known(&check.name))).collect();
        Self { services: numbers_of_services, next_service, backends, checks, next }
    }

    /// Of the services, in the file's order.
    pub(super) fn services(&self) -> &[usize] {
        &self.services
    }

    /// Of the backends, by service, in the file's order.
    pub(super) fn backends(&self) -> &[Vec<usize>] {
        &self.backends
    }

    /// Each service's with those of its backends, in the file's order.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Vec<usize>)> {
        self.services.iter().copied().zip(&self.backends)
    }

    /// In the file's order.
    pub(super) fn checks(&self) -> &[usize] {
        &self.checks
    }

    /// Where the service of this number stands; `None` when it is gone.
    pub(super) fn service(&self, number: usize) -> Option<usize> {
        self.services.iter().position(|known| *known == number)
    }

    /// Where the backend of this number stands: its service, and where in it; `None` when it is gone.
    pub(super) fn backend(&self, number: usize) -> Option<(usize, usize)> {
        let mut places = self.backends.iter().enumerate();
        let in_it = |all: &Vec<usize>| all.iter().position(|known| *known == number);
        places.find_map(|(at, all)| Some((at, in_it(all)?)))
    }

    /// Where the check of this number stands; `None` when it is gone.
    pub(super) fn check(&self, number: usize) -> Option<usize> {
        self.checks.iter().position(|known| *known == number)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn config(backends: &[&str], checks: &[&str]) -> Config {
        let mut text = "[cluster]\nname = 'a'\nseeds = []\n".to_owned();
        for check in checks {
            write!(text, "[[check]]\nname = '{check}'\ncommand = ['true']\n").expect("a String takes all");
        }
        text += "[[service]]\nname = 'web'\nlisten = ['*:80']\n";
        for backend in backends {
            write!(text, "[[service.backend]]\nname = '{backend}'\naddress = '192.0.2.1:80'\n")
                .expect("a String takes all");
        }
        crate::config::parse(&text, "test.toml").unwrap_or_else(|problems| panic!("{problems}")).0
    }

    #[test]
    fn whoever_stays_keeps_its_number_and_no_number_comes_again() {
        let first = config(&["web1", "web2"], &["disk"]);
        let numbers = Numbers::new(&first);
        assert_eq!((numbers.backends(), numbers.checks()), (&[vec![0, 1]][..], &[2][..]));
        let second = config(&["web3", "web2"], &["link", "disk"]);
        let numbers = numbers.after(&first, &second);
        assert_eq!((numbers.backends(), numbers.checks()), (&[vec![3, 1]][..], &[4, 2][..]));
        assert_eq!((numbers.backend(1), numbers.backend(0)), (Some((0, 1)), None));
        assert_eq!((numbers.services(), numbers.service(0), numbers.service(1)), (&[0][..], Some(0), None));
        assert_eq!((numbers.check(2), numbers.check(7)), (Some(1), None));
        let numbers = numbers.after(&second, &first);
        assert_eq!(numbers.backends(), [[5, 1]], "the one that comes back is another one");
    }
}
