//! One proxied connection, from the accepted client to the last byte.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;

use super::attempt::{self, Answer, Attempt, Unopened};
use super::counters::BackendTally;
use super::flow::{Flow, Progress};
use super::search::Search;
use super::side::Side;
use super::surroundings::{Surroundings, nanoseconds};
use super::table::Subject;
use super::{ConnectFailure, Rejection, Report};

/// A client, and what there is of a backend for it.
///
/// ```text
///          pick         answer
///   Seeking ──▶ attempt ──────▶ Relaying
///      ▲           │
///      └───────────┘ failed, overdue: the next one
/// ```
#[derive(Debug)]
pub(super) struct Connection {
    service: usize,
    client: Side,
    stage: Stage,
    /// When the client was accepted, in nanoseconds of the worker's life: half of what an `Instant` takes.
    accepted_at: u64,
    /// Waiting for its next turn after having used up one.
    pub(super) queued: bool,
}

#[derive(Debug)]
enum Stage {
    /// Boxed, since it is soon over, and what is open for hours is small without it.
    Seeking(Box<Seeking>),
    Relaying(Relay),
}

/// A backend is looked for.
#[derive(Debug)]
struct Seeking {
    search: Search,
    /// Under way; `None` only within a turn.
    attempt: Option<Attempt>,
}

/// Both sides are connected.
#[derive(Debug)]
struct Relay {
    /// The backend's counts, also when no plan has it any more.
    tally: Option<Arc<BackendTally>>,
    side: Side,
    /// From the client to the backend.
    upload: Flow,
    /// From the backend to the client.
    download: Flow,
    /// As `accepted_at`.
    last_activity: u64,
}

/// What is to be done with a connection that has had its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for an event or its timer.
    Open,
    /// It has more to do at once.
    More,
    /// It is over: [`Connection::close`] it.
    Over,
}

impl Connection {
    /// Takes on an accepted client and starts connecting. `None` when it was closed at once.
    pub(super) fn accept(
        client: TcpStream,
        service: usize,
        slot: usize,
        around: &mut Surroundings,
    ) -> Option<Self> {
        let tally = around.tally(service);
        tally.connections.add(1);
        tally.active.add(1);
        let tag = around.tag();
        let token = Subject::Connection { slot, tag }.token();
        let Ok(client) = Side::connected(client, &around.registry, token, tag) else {
            // epoll's own limit, or memory.
            around.exhausted = true;
            around.tally(service).rejected(Rejection::Resources);
            around.tally(service).active.subtract_one();
            return None;
        };
        let search = Search::new(around.turn(service));
        let stage = Stage::Seeking(Box::new(Seeking { search, attempt: None }));
        let mut connection = Self { service, client, stage, accepted_at: around.age, queued: false };
        match connection.connect(slot, around) {
            Fate::Open | Fate::More => Some(connection),
            Fate::Over => {
                connection.close(around);
                None
            }
        }
    }

    /// Takes in an event of the socket with `tag`; `false` if that socket isn't there any more.
    pub(super) fn note(&mut self, tag: u32, event: &Event) -> bool {
        let backend = match &mut self.stage {
            Stage::Seeking(seeking) => seeking.attempt.as_mut().map(|attempt| &mut attempt.side),
            Stage::Relaying(relay) => Some(&mut relay.side),
        };
        let side = if self.client.tag == tag { Some(&mut self.client) } else { backend };
        match side.filter(|side| side.tag == tag) {
            Some(side) => {
                side.note(event);
                true
            }
            None => false,
        }
    }

    /// Does what can be done now.
    pub(super) fn drive(&mut self, slot: usize, around: &mut Surroundings) -> Fate {
        match &mut self.stage {
            Stage::Seeking(_) if self.client.broken => {
                around.tally(self.service).rejected(Rejection::ClientGone);
                Fate::Over
            }
            Stage::Seeking(seeking) => match &mut seeking.attempt {
                Some(attempt) if attempt.side.writable => {
                    let side = &attempt.side;
                    match attempt::outcome(side.socket(), side.broken, attempt.target.address) {
                        Ok(answer) => {
                            attempt.side.reset = answer == Answer::ConnectedAndReset;
                            self.connected(around);
                            self.relay(slot, around)
                        }
                        Err(failure) => self.attempt_failed(failure, slot, around),
                    }
                }
                Some(_) | None => Fate::Open,
            },
            Stage::Relaying(_) => self.relay(slot, around),
        }
    }

    /// Does what the time asks for, if it asks for anything yet.
    pub(super) fn expire(&mut self, slot: usize, around: &mut Surroundings) -> Fate {
        let now = around.now;
        match &mut self.stage {
            Stage::Seeking(seeking) => match &mut seeking.attempt {
                Some(attempt) if now >= attempt.fails_at => {
                    self.attempt_failed(ConnectFailure::Timeout, slot, around)
                }
                Some(attempt) if attempt.overdue_at.is_some_and(|at| now >= at) => {
                    attempt.overdue_at = None;
                    self.attempt_overdue(slot, around)
                }
                Some(_) | None => Fate::Open,
            },
            Stage::Relaying(relay) => {
                let timeouts = around.timeouts(self.service);
                let idle = Duration::from_nanos(around.age.saturating_sub(relay.last_activity));
                let client_awaited = !relay.upload.is_ending();
                let server_awaited = !relay.download.is_ending();
                if idle >= timeouts.server && (server_awaited || !client_awaited) {
                    return Fate::Over;
                }
                if idle >= timeouts.client && client_awaited {
                    if !server_awaited {
                        return Fate::Over;
                    }
                    relay.upload.end();
                    return self.relay(slot, around);
                }
                Fate::Open
            }
        }
    }

    /// When [`expire`](Self::expire) has something to do, in nanoseconds of the worker's life.
    pub(super) fn deadline(&self, around: &Surroundings) -> Option<u64> {
        match &self.stage {
            Stage::Seeking(seeking) => {
                let attempt = seeking.attempt.as_ref()?;
                let next = attempt.overdue_at.map_or(attempt.fails_at, |at| at.min(attempt.fails_at));
                Some(around.age_at(next))
            }
            Stage::Relaying(relay) => {
                let timeouts = around.timeouts(self.service);
                let idle = match (relay.upload.is_ending(), relay.download.is_ending()) {
                    (false, false) => timeouts.client.min(timeouts.server),
                    (false, true) => timeouts.client,
                    (true, false | true) => timeouts.server,
                };
                Some(relay.last_activity.saturating_add(nanoseconds(idle)))
            }
        }
    }

    /// Whether its client came by one of `addresses`.
    pub(super) fn came_by(&self, addresses: &[IpAddr]) -> bool {
        self.client.socket().local_addr().is_ok_and(|at| addresses.contains(&at.ip()))
    }

    /// Ends it, whatever its stage, and takes it off the counts.
    pub(super) fn close(self, around: &Surroundings) {
        let tally = around.tally(self.service);
        tally.active.subtract_one();
        match self.stage {
            Stage::Seeking(_) => self.client.farewell(),
            Stage::Relaying(relay) => {
                tally.lasted(Duration::from_nanos(around.age.saturating_sub(self.accepted_at)));
                if let Some(tally) = &relay.tally {
                    tally.active.subtract_one();
                }
                match (self.client.reset, relay.side.reset) {
                    (true, true) => {}
                    (true, false) => relay.side.pass_reset(),
                    (false, true) => self.client.pass_reset(),
                    (false, false) if relay.upload.is_done() && relay.download.is_done() => {}
                    (false, false) => {
                        self.client.farewell();
                        relay.side.farewell();
                    }
                }
            }
        }
    }

    /// Starts an attempt at the next backend that there is to try.
    fn connect(&mut self, slot: usize, around: &mut Surroundings) -> Fate {
        let service = self.service;
        let Stage::Seeking(seeking) = &mut self.stage else { return Fate::Open };
        let search = &mut seeking.search;
        loop {
            let Some(target) = search.next(service, &around.snapshot) else {
                around.tally(service).rejected(Rejection::NoBackend);
                around.report(Report::NoBackend { service });
                return Fate::Over;
            };
            let tag = around.tag();
            let token = Subject::Connection { slot, tag }.token();
            let congestion_control = around.common.settings.congestion_control.as_deref();
            let opened = attempt::open(target.address, congestion_control).and_then(|socket| {
                Side::connecting(socket, &around.registry, token, tag).map_err(|_| Unopened::Exhausted)
            });
            match opened {
                Ok(side) => {
                    if search.is_retry() {
                        around.tally(service).retries.add(1);
                    }
                    let started = around.now;
                    let fails_at = started + around.timeouts(service).connect;
                    let patience = around.patience(service, target.backend).limit();
                    let overdue_at = (!search.is_patient()).then(|| started + patience);
                    seeking.attempt = Some(Attempt { target, side, started, overdue_at, fails_at });
                    return Fate::Open;
                }
                Err(Unopened::Exhausted) => {
                    around.exhausted = true;
                    around.tally(service).rejected(Rejection::Resources);
                    return Fate::Over;
                }
                Err(Unopened::Failed(reason)) => {
                    search.pass_over(target.backend);
                    around.connect_failed(service, target.backend, reason);
                }
            }
        }
    }

    /// The backend has answered.
    fn connected(&mut self, around: &mut Surroundings) {
        let Stage::Seeking(seeking) = &mut self.stage else { return };
        let Some(Attempt { target, side, started, .. }) = seeking.attempt.take() else { return };
        let duration = around.now.saturating_duration_since(started);
        around.patience(self.service, target.backend).learn(duration);
        around.tally(self.service).connected(duration);
        let tally = around.backend_tally(self.service, target.backend).cloned();
        if let Some(tally) = &tally {
            tally.connections.add(1);
            tally.active.add(1);
        }
        self.stage = Stage::Relaying(Relay {
            tally,
            side,
            upload: Flow::default(),
            download: Flow::default(),
            last_activity: around.age,
        });
    }

    fn attempt_failed(&mut self, reason: ConnectFailure, slot: usize, around: &mut Surroundings) -> Fate {
        let Stage::Seeking(seeking) = &mut self.stage else { return Fate::Open };
        // The attempt's socket is closed with it.
        let Some(attempt) = seeking.attempt.take() else { return Fate::Open };
        let backend = attempt.target.backend;
        seeking.search.pass_over(backend);
        around.connect_failed(self.service, backend, reason);
        self.connect(slot, around)
    }

    /// Goes on to another target if there is one, for nothing has been said to this one yet; otherwise waits.
    fn attempt_overdue(&mut self, slot: usize, around: &mut Surroundings) -> Fate {
        let service = self.service;
        let Stage::Seeking(seeking) = &mut self.stage else { return Fate::Open };
        let Some(attempt) = &seeking.attempt else { return Fate::Open };
        let (backend, started) = (attempt.target.backend, attempt.started);
        around.report(Report::ConnectOverdue { service, backend });
        if !seeking.search.pass_over_late(service, backend, &around.snapshot) {
            return Fate::Open;
        }
        seeking.attempt = None;
        let waited = around.now.saturating_duration_since(started);
        around.patience(service, backend).learn(waited);
        if let Some(tally) = around.backend_tally(service, backend) {
            tally.connect_failed(ConnectFailure::Overdue);
        }
        self.connect(slot, around)
    }

    /// Passes on what there is in both directions.
    fn relay(&mut self, slot: usize, around: &mut Surroundings) -> Fate {
        let Stage::Relaying(relay) = &mut self.stage else { return Fate::Open };
        let (client, backend) = (&mut self.client, &mut relay.side);
        let mut up = Progress::default();
        let mut down = Progress::default();
        // A direction can end the other one (its target is gone): until neither has anything to do.
        loop {
            let resets = (client.reset, backend.reset);
            let last = relay.download.is_done();
            up = up.and(relay.upload.advance(client, backend, &mut around.means, last));
            let last = relay.upload.is_done();
            down = down.and(relay.download.advance(backend, client, &mut around.means, last));
            if (client.reset, backend.reset) == resets {
                break;
            }
        }
        if up.moved || down.moved {
            relay.last_activity = around.age;
            let tally = around.tally(self.service);
            tally.received.add(up.passed);
            tally.sent.add(down.passed);
            if let Some(tally) = &relay.tally {
                tally.received.add(up.passed);
                tally.sent.add(down.passed);
            }
        }
        let token = Subject::Connection { slot, tag: client.tag }.token();
        if client.watch_writes(&around.registry, token).is_err() {
            // Out of memory, and a connection that would hang.
            return Fate::Over;
        }
        if relay.upload.is_done() && relay.download.is_done() {
            Fate::Over
        } else if up.more || down.more {
            Fate::More
        } else {
            Fate::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Option<Connection>>() <= 112, "{} bytes", size_of::<Option<Connection>>());
    }
}
