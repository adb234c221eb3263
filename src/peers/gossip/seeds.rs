//! Where the seeds are: addresses as they stand in the file, names asked for again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::Endpoint;

use super::directory::is_address;
use super::sealed::lock;

/// How long after an answer a name is asked for again.
const AGAIN: Duration = Duration::from_secs(10);
/// How many addresses one name may stand for.
const ANSWERS: usize = 16;

/// The seeds' addresses, now.
pub(super) struct Seeds {
    fixed: Vec<SocketAddr>,
    answers: Arc<Mutex<Answers>>,
    /// One task a name, so that no name waits for another's resolver. They end with this.
    _lookups: JoinSet<()>,
}

type Answers = BTreeMap<(String, u16), Vec<SocketAddr>>;

impl Seeds {
    /// Begins to ask.
    pub(super) fn follow(seeds: Vec<Endpoint>) -> Self {
        let answers = Arc::default();
        let (mut fixed, mut lookups) = (Vec::new(), JoinSet::new());
        for seed in seeds {
            match seed {
                Endpoint::Address(address) => fixed.push(address),
                Endpoint::Name(name, port) => {
                    lookups.spawn(ask(name, port, Arc::clone(&answers)));
                }
            }
        }
        Self { fixed, answers, _lookups: lookups }
    }

    /// Those that are known.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        let answers = lock(&self.answers);
        self.fixed.iter().chain(answers.values().flatten()).copied().filter(|at| is_address(*at)).collect()
    }
}

async fn ask(name: String, port: u16, answers: Arc<Mutex<Answers>>) {
    loop {
        // The last answer holds while there is no other.
        if let Ok(found) = tokio::net::lookup_host((name.as_str(), port)).await {
            lock(&answers).insert((name.clone(), port), found.take(ANSWERS).collect());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_there_at_once_and_names_when_they_are_answered() {
        let fixed = SocketAddr::from(([192, 0, 2, 1], 7780));
        let seeds = Seeds::follow(vec![
            Endpoint::Address(fixed),
            Endpoint::Name("localhost".into(), 7780),
            Endpoint::Name("x".repeat(300), 7780),
        ]);
        assert_eq!(seeds.addresses(), BTreeSet::from([fixed]));
        while seeds.addresses().len() == 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(seeds.addresses().iter().any(|address| address.ip().is_loopback()));
    }
}
