//! The witness: asks for a VIP by ARP or neighbour discovery all the time, on a machine of its own, and records who answers.
//!
//! It shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::LabError;
use super::arp::{self, ARP, Frame, REPLY};
use super::discovery::{self, Advertisement, EVERYBODY, IPV6};
use super::machine::{INTERFACE, Machine, address, ipv6};
use super::net::Mac;

/// From one question to the next.
const INTERVAL: Duration = Duration::from_millis(20);

/// Every question comes from another address, by which an answer tells which question it is to: only so are two
/// answers to one question known for sure, however late a busy machine delivers them.
const FIRST_TAG: u8 = 200;
/// Questions until an address is used again; an answer later than that (0.64 s) would be taken for a fresh one.
const TAGS: u8 = 32;

/// An answerer that was silent for this long doesn't hold the VIP any more: ten questions.
const SILENCE: Duration = Duration::from_millis(200);

/// Spans and double answers that are remembered; there are a handful in a test.
const MOST_REMEMBERED: usize = 4096;
/// Answerers that are told apart: more than a lab has machines.
const MOST_ANSWERERS: usize = 256;

/// A span of time in which one machine alone answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which machine: its name, or the link-layer address of a stranger.
    pub answerer: String,
    /// Its first answer.
    pub first: Instant,
    /// Its last answer before another machine's, or so far.
    pub last: Instant,
    /// How many there were.
    pub answers: u64,
}

/// Two or more machines that answered the same question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubleAnswer {
    /// When the second answer came.
    pub at: Instant,
    /// Both machines, in the order of their answers.
    pub answerers: Vec<String>,
}

/// A running witness; it stops when dropped.
#[derive(Debug)]
pub struct Witness {
    names: BTreeMap<Mac, String>,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Starts asking for `vip` from `machine`; `names` says which machine has which link-layer address.
    pub(super) fn start(
        machine: &Machine,
        vip: IpAddr,
        names: BTreeMap<Mac, String>,
    ) -> Result<Self, LabError> {
        let failed = |source| LabError::System { doing: "start the witness".into(), source };
        let socket = machine.space().within(|| packet_socket(protocol(vip))).map_err(failed)?;
        let record = Arc::new(Mutex::new(Record::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut asker = Asker { socket, vip, mac: machine.mac(), tag: 0 };
        let (kept, stopped) = (Arc::clone(&record), Arc::clone(&stop));
        let run = move || {
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                next = asker.turn(next, &kept);
            }
        };
        let thread = thread::Builder::new().name("lab-witness".into()).spawn(run).map_err(failed)?;
        Ok(Self { names, record, stop, thread: Some(thread) })
    }

    /// Who answers now: whoever did last, unless that was 200 ms ago.
    pub fn holder(&self) -> Option<String> {
        let record = self.record();
        let span = record.spans.back().filter(|span| span.last.elapsed() < SILENCE)?;
        Some(self.name(span.mac))
    }

    /// Who answered at `since` or later.
    pub fn answerers(&self, since: Instant) -> BTreeSet<String> {
        let record = self.record();
        record.spans.iter().filter(|span| span.last >= since).map(|span| self.name(span.mac)).collect()
    }

    /// Who answered from when to when: one span after the other.
    pub fn spans(&self) -> Vec<Span> {
        let span = |s: &RawSpan| Span {
            answerer: self.name(s.mac),
            first: s.first,
            last: s.last,
            answers: s.answers,
        };
        self.record().spans.iter().map(span).collect()
    }

    /// How many questions two or more machines answered. Should be 0 for ever.
    pub fn double_answers(&self) -> u64 {
        self.record().double_answers
    }

    /// Which questions those were; the latest ones when there were very many.
    pub fn doubles(&self) -> Vec<DoubleAnswer> {
        let names = |macs: &[Mac]| macs.iter().map(|&mac| self.name(mac)).collect();
        let record = self.record();
        record.doubles.iter().map(|(at, macs)| DoubleAnswer { at: *at, answerers: names(macs) }).collect()
    }

    /// When `machine` answered last.
    pub fn last_answer(&self, machine: &str) -> Option<Instant> {
        let record = self.record();
        record.spans.iter().rev().find(|span| self.name(span.mac) == machine).map(|span| span.last)
    }

    /// How often `machine` announced the VIP of its own accord.
    pub fn announcements(&self, machine: &str) -> u64 {
        let record = self.record();
        record
            .announcements
            .iter()
            .filter(|&(&mac, _)| self.name(mac) == machine)
            .map(|(_, count)| count)
            .sum()
    }

    /// How many questions were asked.
    pub fn questions(&self) -> u64 {
        self.record().questions
    }

    /// Claims `address` for this machine by an announcement that nobody asked for, as a stranger would.
    pub(super) fn claim(machine: &Machine, address: Ipv4Addr) -> Result<(), LabError> {
        let failed = |source| LabError::System { doing: format!("claim {address}"), source };
        let mut socket = machine.space().within(|| packet_socket(ARP)).map_err(failed)?;
        socket.write_all(&arp::question(machine.mac(), address, address)).map_err(failed)
    }

    fn name(&self, mac: Mac) -> String {
        self.names.get(&mac).cloned().unwrap_or_else(|| mac.map(|byte| format!("{byte:02x}")).join(":"))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; what it recorded stands.
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Default)]
struct Record {
    questions: u64,
    /// Who answered the latest question of each tag.
    rounds: BTreeMap<u8, Vec<Mac>>,
    spans: VecDeque<RawSpan>,
    double_answers: u64,
    doubles: VecDeque<(Instant, Vec<Mac>)>,
    announcements: BTreeMap<Mac, u64>,
}

#[derive(Debug)]
struct RawSpan {
    mac: Mac,
    first: Instant,
    last: Instant,
    answers: u64,
}

impl Record {
    fn asked(&mut self, tag: u8) {
        self.questions += 1;
        self.rounds.insert(tag, Vec::new());
    }

    fn heard(&mut self, saying: Saying, now: Instant) {
        match saying {
            Saying::Announcement { by } => {
                if self.announcements.len() < MOST_ANSWERERS || self.announcements.contains_key(&by) {
                    *self.announcements.entry(by).or_default() += 1;
                }
            }
            Saying::Answer { by, tag } => self.answered(tag, by, now),
        }
    }

    fn answered(&mut self, tag: u8, mac: Mac, now: Instant) {
        let Some(round) = self.rounds.get_mut(&tag).filter(|round| round.len() < MOST_ANSWERERS) else {
            return;
        };
        if !round.contains(&mac) {
            round.push(mac);
            if round.len() > 1 {
                self.double_answers += u64::from(round.len() == 2);
                remember(&mut self.doubles, (now, round.clone()));
            }
        }
        match self.spans.back_mut().filter(|span| span.mac == mac) {
            Some(span) => {
                span.last = now;
                span.answers += 1;
            }
            None => remember(&mut self.spans, RawSpan { mac, first: now, last: now, answers: 1 }),
        }
    }
}

fn remember<T>(events: &mut VecDeque<T>, event: T) {
    if events.len() == MOST_REMEMBERED {
        events.pop_front();
    }
    events.push_back(event);
}

/// What runs on the thread.
struct Asker {
    socket: Socket,
    vip: IpAddr,
    mac: Mac,
    tag: u8,
}

impl Asker {
    /// Asks when it is time to, and listens for as long as it isn't. Returns when to ask next.
    fn turn(&mut self, next: Instant, record: &Mutex<Record>) -> Instant {
        let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let tag = FIRST_TAG + self.tag;
            self.tag = (self.tag + 1) % TAGS;
            lock().asked(tag);
            // Unplugged itself, it can't ask; the next question is due soon.
            let _ = self.socket.write(&question(self.mac, tag, self.vip));
            return (next + INTERVAL).max(Instant::now());
        }
        let mut polled = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(left).ok();
        if matches!(poll(&mut polled, timeout.as_ref()), Ok(1..)) {
            let mut bytes = [0; 128];
            while let Ok(length) = self.socket.read(&mut bytes) {
                if let Some(saying) = Saying::read(&bytes[..length], self.vip, self.mac) {
                    lock().heard(saying, Instant::now());
                }
            }
        }
        next
    }
}

/// What somebody says of the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    /// That it is his, without having been asked.
    Announcement { by: Mac },
    /// The same, as an answer to the question with this tag.
    Answer { by: Mac, tag: u8 },
}

impl Saying {
    /// Reads a frame; `None` when it is about anything else, or for somebody else than `asker`.
    fn read(bytes: &[u8], vip: IpAddr, asker: Mac) -> Option<Self> {
        match vip {
            IpAddr::V4(vip) => {
                let frame = Frame::read(bytes).filter(|frame| frame.sender == vip)?;
                Self::of(&frame, asker)
            }
            IpAddr::V6(vip) => {
                let advertisement = Advertisement::read(bytes).filter(|said| said.target == vip)?;
                let by = advertisement.mac;
                if advertisement.to == EVERYBODY {
                    return Some(Self::Announcement { by });
                }
                let tag =
                    (FIRST_TAG..).take(TAGS.into()).find(|tag| ipv6(address(*tag)) == advertisement.to)?;
                Some(Self::Answer { by, tag })
            }
        }
    }

    /// What a frame about the VIP says.
    fn of(frame: &Frame, asker: Mac) -> Option<Self> {
        let by = frame.sender_mac;
        if frame.target == frame.sender {
            Some(Self::Announcement { by })
        } else {
            let answers = frame.operation == REPLY && frame.target_mac == asker;
            answers.then_some(Self::Answer { by, tag: frame.target.octets()[3] })
        }
    }
}

/// Who asks for what is told by the address that it is asked from.
fn question(mac: Mac, tag: u8, vip: IpAddr) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => arp::question(mac, address(tag), vip),
        IpAddr::V6(vip) => discovery::question(mac, ipv6(address(tag)), vip),
    }
}

fn protocol(vip: IpAddr) -> u16 {
    if vip.is_ipv4() { ARP } else { IPV6 }
}

/// A socket for one protocol's frames on this network's interface, made in the calling thread's namespace.
fn packet_socket(protocol: u16) -> io::Result<Socket> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(i32::from(protocol.to_be()))))?;
    let index = rustix::net::netdevice::name_to_index(&socket, INTERFACE)?;
    socket.bind(&link_address(index, protocol))?;
    Ok(socket)
}

#[allow(unsafe_code)]
fn link_address(index: u32, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a sockaddr_ll is smaller than the storage and aligned no stricter; all its bytes may be zero.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = protocol.to_be();
    link.sll_ifindex = index as i32;
    // SAFETY: the storage holds a whole sockaddr_ll, and that is the length given.
    unsafe { SockAddr::new(storage, mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::arp::REQUEST;

    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 69);
    const ASKER: Mac = [2, 0, 0, 0, 0, 1];
    const ONE: Mac = [2, 0, 0, 0, 0, 21];
    const OTHER: Mac = [2, 0, 0, 0, 0, 22];

    fn answer(record: &mut Record, tag: u8, mac: Mac) {
        let frame = Frame {
            operation: REPLY,
            sender_mac: mac,
            sender: VIP,
            target_mac: ASKER,
            target: Ipv4Addr::new(192, 168, 56, tag),
        };
        record.heard(Saying::of(&frame, ASKER).unwrap(), Instant::now());
    }

    #[test]
    fn two_answers_to_one_question_are_a_double_answer() {
        let mut record = Record::default();
        record.asked(200);
        answer(&mut record, 200, ONE);
        answer(&mut record, 200, ONE);
        assert_eq!(record.double_answers, 0);
        answer(&mut record, 200, OTHER);
        assert_eq!(record.double_answers, 1);
    }

    #[test]
    fn a_late_answer_to_an_earlier_question_is_no_double_answer() {
        let mut record = Record::default();
        record.asked(200);
        record.asked(201);
        answer(&mut record, 201, OTHER);
        answer(&mut record, 200, ONE);
        assert_eq!(record.double_answers, 0);
        assert_eq!(record.spans.len(), 2);
    }

    #[test]
    fn an_announcement_is_no_answer() {
        let mut record = Record::default();
        record.asked(200);
        let frame =
            Frame { operation: REQUEST, sender_mac: ONE, sender: VIP, target_mac: [0; 6], target: VIP };
        record.heard(Saying::of(&frame, ASKER).unwrap(), Instant::now());
        assert!(record.spans.is_empty());
        assert_eq!(record.announcements[&ONE], 1);
    }
}
