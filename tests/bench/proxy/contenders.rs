//! Who is compared: chinthe, and the proxies it is measured by, each with a configuration that is good for it.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{ANSWER, Job, REQUEST};
use crate::process::Family;

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No proxy at all: what the load can do.
    Direct,
    /// `option splice-auto`: what everything is measured by.
    Haproxy,
    /// `option splice-request` and `splice-response`.
    HaproxySplice,
    /// `stream`, with `reuseport`.
    Nginx,
    /// `tokio::io::copy_bidirectional`, one task a connection.
    Tokio,
    Chinthe,
    /// `congestion_control = "cubic"`, where the kernel's is another.
    ChintheCubic,
    /// `spin = "200us"`.
    ChintheSpin,
}

impl Contender {
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Haproxy,
        Self::HaproxySplice,
        Self::Nginx,
        Self::Tokio,
        Self::Chinthe,
        Self::ChintheCubic,
        Self::ChintheSpin,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::Nginx => "nginx",
            Self::Tokio => "tokio",
            Self::Chinthe => "chinthe",
            Self::ChintheCubic => "chinthe-cubic",
            Self::ChintheSpin => "chinthe-spin",
        }
    }

    /// Whether what sets it apart matters there.
    pub(crate) fn is_for(self, job: Job, clients: usize) -> bool {
        match self {
            Self::ChintheCubic => matches!(job, Job::Down | Job::Up),
            Self::ChintheSpin => job == Job::Requests && clients == 1,
            Self::HaproxySplice => matches!(job, Job::Down | Job::Up | Job::Requests),
            Self::Direct => job != Job::Idle,
            Self::Haproxy | Self::Nginx | Self::Tokio | Self::Chinthe => true,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Haproxy | Self::HaproxySplice => "haproxy",
            Self::Nginx => "nginx",
            Self::Direct | Self::Tokio | Self::Chinthe | Self::ChintheCubic | Self::ChintheSpin => "",
        }
    }

    /// Whether what it needs is on this machine.
    pub(crate) fn is_here(self) -> bool {
        self.program().is_empty() || is_installed(self.program())
    }
}

/// Whether there is such a command.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Says that `program` is missing, which is an error where everything is to be there.
pub(crate) fn missing(program: &str) -> Result<()> {
    if std::env::var_os("CHINTHE_REQUIRE_PEERS").is_some_and(|value| value == "1") {
        bail!("{program} isn't installed");
    }
    eprintln!("{program} isn't installed: left out");
    Ok(())
}

/// A contender that runs. Ended when dropped.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    /// Where its clients connect to.
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

impl Running {
    /// Starts it with so many threads in front of `backends`, with its files in `folder`.
    pub(crate) fn start(
        contender: Contender,
        threads: usize,
        backends: &[SocketAddr],
        folder: &Path,
    ) -> Result<Self> {
        let address = free_address()?;
        let folder = folder.join(contender.name());
        fs::create_dir_all(&folder)?;
        let mut command = match contender {
            Contender::Direct => {
                let address = *backends.first().context("no backend")?;
                return Ok(Self { contender, address, child: None });
            }
            Contender::Haproxy => haproxy(&["splice-auto"], threads, address, backends, &folder)?,
            Contender::HaproxySplice => {
                haproxy(&["splice-request", "splice-response"], threads, address, backends, &folder)?
            }
            Contender::Nginx => nginx(threads, address, backends, &folder)?,
            Contender::Tokio => tokio(threads, address, backends)?,
            Contender::Chinthe => chinthe("", 1, threads, address, backends, &folder)?,
            Contender::ChintheCubic => {
                chinthe("congestion_control = \"cubic\"", 2, threads, address, backends, &folder)?
            }
            Contender::ChintheSpin => chinthe("spin = \"200us\"", 3, threads, address, backends, &folder)?,
        };
        let words = File::create(folder.join("words"))?;
        command.stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
        let child = command.spawn().with_context(|| format!("{} can't be started", contender.name()))?;
        Ok(Self { contender, address, child: Some(child) })
    }

    /// Its processes; nobody for a direct connection.
    pub(crate) fn family(&self) -> Option<Family> {
        self.child.as_ref().map(|child| Family::of(child.id()))
    }

    fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // nginx ends its workers itself, if it is asked; chinthe stops at once when it is asked twice.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        std::thread::park_timeout(Duration::from_millis(20));
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Returns when every one of `all` passes a request on and brings its answer, while `turn` lets the backends do
/// their part.
pub(crate) fn wait_until_up(
    all: &mut [Running],
    mut turn: impl FnMut() -> Result<()>,
    folder: &Path,
) -> Result<()> {
    for running in all {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !serves(running.address, &mut turn)? {
            let words = folder.join(running.contender.name()).join("words");
            if !running.is_alive() || Instant::now() > deadline {
                let words = fs::read_to_string(words).unwrap_or_default();
                bail!("{} doesn't serve:\n{words}", running.contender.name());
            }
        }
    }
    Ok(())
}

/// Whether a request is answered.
fn serves(address: SocketAddr, turn: &mut impl FnMut() -> Result<()>) -> Result<bool> {
    turn()?;
    let Ok(mut client) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return Ok(false);
    };
    client.set_read_timeout(Some(Duration::from_millis(10)))?;
    if client.write_all(&[b'?'; REQUEST]).is_err() {
        return Ok(false);
    }
    let mut received = 0;
    for _ in 0..20 {
        turn()?;
        match client.read(&mut [0; ANSWER]) {
            Ok(0) => return Ok(false),
            Ok(count) => received += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(false),
        }
        if received == ANSWER {
            return Ok(true);
        }
    }
    Ok(false)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn haproxy(
    options: &[&str],
    threads: usize,
    address: SocketAddr,
    backends: &[SocketAddr],
    folder: &Path,
) -> Result<Command> {
    let options = lines(options.iter().map(|option| format!("    option {option}")));
    let servers =
        lines(backends.iter().enumerate().map(|(i, backend)| format!("    server web{i} {backend}")));
    let text = format!(
        "global\n    nbthread {threads}\n    maxconn 9800\n    maxpipes 64\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n{options}\
         listen web\n    bind {address}\n    balance roundrobin\n{servers}"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn nginx(threads: usize, address: SocketAddr, backends: &[SocketAddr], folder: &Path) -> Result<Command> {
    let servers = lines(backends.iter().map(|backend| format!("        server {backend};")));
    let module = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]
        .iter()
        .map(|modules| Path::new(modules).join("ngx_stream_module.so"))
        .find(|module| module.is_file());
    // Where it isn't a module it is built in.
    let module = module.map(|module| format!("load_module {};\n", module.display())).unwrap_or_default();
    let folder = folder.display();
    let text = format!(
        "{module}daemon off;\nworker_processes {threads};\nworker_rlimit_nofile 20000;\n\
         pid {folder}/pid;\nerror_log {folder}/errors;\n\
         events {{\n    worker_connections 20000;\n}}\n\
         stream {{\n    upstream web {{\n{servers}    }}\n    server {{\n        listen {address} reuseport;\n\
         \x20       proxy_pass web;\n        tcp_nodelay on;\n        proxy_timeout 50s;\n    }}\n}}\n"
    );
    let file = format!("{folder}/nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.to_string()).arg("-e").arg("stderr").arg("-c").arg(file);
    Ok(command)
}

fn tokio(threads: usize, address: SocketAddr, backends: &[SocketAddr]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(crate::copy::ROLE).arg(threads.to_string()).arg(address.to_string());
    command.args(backends.iter().map(SocketAddr::to_string));
    Ok(command)
}

fn chinthe(
    option: &str,
    number: u8,
    threads: usize,
    address: SocketAddr,
    backends: &[SocketAddr],
    folder: &Path,
) -> Result<Command> {
    let secret = folder.join("secret");
    fs::write(&secret, [b's'; 32])?;
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    let servers = lines(
        backends
            .iter()
            .enumerate()
            .map(|(i, backend)| format!("[[service.backend]]\nname = \"web{i}\"\naddress = \"{backend}\"")),
    );
    // An address of its own, since every node has the peers' port there, and another benchmark may run as well.
    let run = std::process::id() % 250;
    let text = format!(
        "[cluster]\nname = \"bench{number}\"\nseeds = []\nsecret_file = \"{}\"\n\
         [cluster.nodes]\nbench = \"127.77.{run}.{number}\"\n\
         [admin]\nlisten = \"\"\nsocket = \"\"\n\
         [proxy]\nworkers = {threads}\n{option}\n\
         [[service]]\nname = \"web\"\nlisten = [\"{address}\"]\n{servers}",
        secret.display()
    );
    let file = folder.join("chinthe.toml");
    fs::write(&file, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinthe"));
    command.args(["run", "--node", "bench", "--config"]).arg(file);
    Ok(command)
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |all, line| all + &line + "\n")
}
