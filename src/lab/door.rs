//! The lab's ties to the outside while it runs: the door to the VIP, and the request to end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections through the door at a time; more wait.
const MOST_CONNECTIONS: usize = 256;
/// For the VIP to accept: long enough for any takeover.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a thread that passes connections from `door` on to `target`, as seen from the hub, and calls `end` when
/// the lab is asked to stop.
///
/// `door` accepts in the host's network, since a listener stays in the namespace that it was made in.
pub(super) fn attend(
    door: Option<TcpListener>,
    target: SocketAddr,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the thread starts, so that none is missed from here on.
    let mut requests = {
        let _context = runtime.enter();
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
    };
    let attendant = move || {
        runtime.block_on(async {
            if let Some(door) = door {
                tokio::spawn(forward(door, target));
            }
            let waits = requests.iter_mut().flatten().map(|request| Box::pin(request.recv()));
            futures_util::future::select_all(waits).await;
            end();
        });
    };
    thread::Builder::new().name("lab-door".into()).spawn(attendant)?;
    Ok(())
}

async fn forward(door: TcpListener, target: SocketAddr) {
    let door = door.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(door));
    let door = match door {
        Ok(door) => door,
        Err(e) => return eprintln!("the door stays shut: {e}"),
    };
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the semaphore");
        match door.accept().await {
            Ok((mut near, _)) => {
                tokio::spawn(async move {
                    if let Ok(Ok(mut far)) = timeout(PATIENCE, TcpStream::connect(target)).await {
                        // Either side's reset is the other's end.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                    drop(place);
                });
            }
            // Out of descriptors, or gone before it was accepted: the next try waits for a connection to end.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
