//! On loopback datagrams, on the real clock and the real threads.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::*;
use super::network;

struct Wire(UdpSocket);

impl Carrier for Wire {
    fn send(&self, datagram: &[u8], to: SocketAddr) {
        let _ = self.0.send_to(datagram, to);
    }
}

/// A node on a port of its own, with the thread that stands for its driver.
struct Node {
    gossip: Option<Arc<Gossip>>,
    news: mpsc::Receiver<News>,
    socket: UdpSocket,
    driver: Option<thread::JoinHandle<()>>,
}

impl Node {
    fn start(number: u8, seeds: Vec<Endpoint>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let settings = Settings { address, seeds, ..network::settings(number) };
        let (told, news) = mpsc::channel();
        let told = Mutex::new(told);
        let tell: Tell = Arc::new(move |news| {
            let _ = lock(&told).send(news);
        });
        let carrier = Arc::new(Wire(socket.try_clone().unwrap()));
        let gossip = Arc::new(Gossip::start(settings, carrier, tell).unwrap());
        let (ears, handle) = (socket.try_clone().unwrap(), Arc::clone(&gossip));
        let driver = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            // An empty datagram ends it.
            while let Ok((length @ 1.., from)) = ears.recv_from(&mut buffer) {
                handle.datagram(buffer[..length].to_vec(), from);
            }
        });
        Self { gossip: Some(gossip), news, socket, driver: Some(driver) }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Waits until a directory is as it should be.
    fn until(&self, condition: impl Fn(&Directory) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left).expect("it never came to this") {
                News::Directory(directory) if condition(&directory) => return,
                _other => assert!(!left.is_zero(), "it never came to this"),
            }
        }
    }

    fn stop(&mut self) -> Option<Arc<Gossip>> {
        if let Some(driver) = self.driver.take() {
            self.socket.send_to(&[], self.address()).unwrap();
            driver.join().unwrap();
        }
        self.gossip.take()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn three_nodes_meet_by_a_seed_s_name_and_one_leaves() {
    let first = Node::start(1, vec![]);
    let seed = Endpoint::Name("localhost".into(), first.address().port());
    let second = Node::start(2, vec![seed.clone()]);
    let mut third = Node::start(3, vec![seed]);
    for node in [&first, &second, &third] {
        node.until(|directory| directory.members.values().filter(|entry| entry.live).count() == 2);
    }
    third.gossip.as_ref().unwrap().publish("cfg".into(), "7".into());
    second.until(|directory| directory.members["node3"].values.get("cfg").is_some_and(|v| v == "7"));
    // The driver's ears stay open while it leaves.
    let driver = third.driver.take();
    let gossip = third.gossip.take().unwrap();
    gossip.order.send_replace(Order::Leave { within: Duration::from_secs(30) });
    let _ = lock(&gossip.done).recv_timeout(Duration::from_secs(60));
    for node in [&first, &second] {
        node.until(|directory| directory.members["node3"].values.get(STATE).is_some_and(|v| v == LEFT));
    }
    assert!(!gossip.alive());
    third.driver = driver;
    third.stop();
}
