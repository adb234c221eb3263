//! The plain way to write a proxy: a task a connection, and tokio's own `copy_bidirectional` in it.

use std::net::{SocketAddr, TcpListener as Listener};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// The first argument of this program when it is to be that proxy.
pub(crate) const ROLE: &str = "copy-bidirectional";

/// Runs it: the arguments are threads, the address to listen at, and the backends'.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let [threads, address, backends @ ..] = arguments else { anyhow::bail!("threads, address, backends") };
    let backends: Vec<SocketAddr> = backends.iter().map(|at| at.parse()).collect::<Result<_, _>>()?;
    let listener = Listener::bind(address.parse::<SocketAddr>()?)?;
    listener.set_nonblocking(true)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads.parse()?).enable_all().build()?;
    runtime.block_on(async {
        // Not on the thread that waits here: accepting is the workers' part as well.
        tokio::spawn(serve(listener, backends)).await.context("the proxy ended")?
    })
}

async fn serve(listener: Listener, backends: Vec<SocketAddr>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let backend = backends[turn.fetch_add(1, Ordering::Relaxed) % backends.len()];
        tokio::spawn(async move {
            let mut server = TcpStream::connect(backend).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
