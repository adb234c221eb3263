//! A holder whose proxy has all it can do is still a holder.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, Sandbox};

use crate::harness::{Outcome, Test};
use crate::scene::{self, POST, Scene, VIP, sum};

pub(crate) const TESTS: &[Test] = &[Test::inside(
    "full_rate::a_holder_that_pushes_at_full_rate_misses_no_advertisement",
    a_holder_at_full_rate_stays_the_holder,
)
.within(Duration::from_secs(900))
.alone()];

/// How long it pushes, in seconds, where this variable says so; else [`USUALLY`].
const SECONDS: &str = "CHINTHE_FULL_RATE_SECONDS";
const USUALLY: u64 = 4;
/// Where the flood is served, and streams of it at a time.
const PORT: u16 = 81;
const STREAMS: usize = 4;

fn a_holder_at_full_rate_stays_the_holder(sandbox: Sandbox) -> Outcome {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(USUALLY);
    let service = "\n[[service]]\nname = \"flood\"\nlisten = [\"0.0.0.0:81\"]\n\
                   [[service.backend]]\nname = \"web1\"\naddress = \"192.168.56.11:81\"\n";
    let config = ConfigSource::Text(format!("{POST}{service}"));
    let lab = scene::post(sandbox).config(config).without_daemons().start()?;
    let ending = Arc::new(AtomicBool::new(false));
    serve_flood(&lab, &ending)?;
    for node in lab.nodes() {
        node.start()?;
    }
    let scene = Scene::watch(lab)?;
    let before = transitions(&scene)?;

    let received = Arc::new(AtomicU64::new(0));
    let space = scene.lab.machine("client")?.space();
    let sinks: Vec<_> = (0..STREAMS)
        .map(|_| {
            let stream = space.within(|| TcpStream::connect((VIP, PORT)))?;
            let (received, ending) = (Arc::clone(&received), Arc::clone(&ending));
            Ok(std::thread::spawn(move || sink(stream, &received, &ending)))
        })
        .collect::<io::Result<_>>()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    ending.store(true, Ordering::SeqCst);
    for sink in sinks {
        sink.join().map_err(|_| "a reader panicked")?;
    }
    let received = received.load(Ordering::SeqCst);
    eprintln!("{received} bytes in {seconds} s");
    assert!(received > 0, "the flood went through");
    assert_eq!(transitions(&scene)?, before, "a VIP moved, or was about to");
    scene.assert_one_answerer();
    Ok(())
}

/// All changes of the VIP's state so far, by node.
fn transitions(scene: &Scene) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let of = |node| Ok(sum(node, "chinthe_vip_transitions_total", &[])?);
    scene.lab.nodes().iter().map(of).collect()
}

/// Sends without end to whoever connects to web1.
fn serve_flood(lab: &Lab, ending: &Arc<AtomicBool>) -> Result<(), Box<dyn std::error::Error>> {
    let bind = || TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
    let listener = lab.machine("web1")?.space().within(bind)?;
    let ending = Arc::clone(ending);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let ending = Arc::clone(&ending);
            std::thread::spawn(move || source(stream, &ending));
        }
    });
    Ok(())
}

fn source(mut stream: TcpStream, ending: &AtomicBool) {
    let chunk = vec![b'.'; 128 * 1024];
    while !ending.load(Ordering::Relaxed) && stream.write_all(&chunk).is_ok() {}
}

fn sink(mut stream: TcpStream, received: &AtomicU64, ending: &AtomicBool) {
    let mut buffer = vec![0; 256 * 1024];
    while !ending.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => {
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => return,
        }
    }
}
