//! One machine of the lab: namespaces, an address, and a cable to the switch.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::LabError;
use super::net::{Cable, Links, Mac};
use super::space::Space;

/// Every machine's interface towards the switch, as on the machines of the post.
pub const INTERFACE: &str = "eth1";

/// The network that all machines share: 192.168.56.0/24.
pub(super) const PREFIX: u8 = 24;

/// The address of the machine numbered `host` in it.
pub(super) const fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 56, host)
}

/// Every machine has an IPv6 address as well: its IPv4 address's last number, in `fd56::/64`.
pub(super) const PREFIX_IPV6: u8 = 64;

/// The IPv6 address that goes with an IPv4 address, the same to a reader: `fd56::21` with 192.168.56.21.
pub(super) fn ipv6(address: Ipv4Addr) -> Ipv6Addr {
    let [.., host] = address.octets();
    let (hundreds, tens, ones) = (host / 100, host / 10 % 10, host % 10);
    let host = u16::from(hundreds) << 8 | u16::from(tens) << 4 | u16::from(ones);
    Ipv6Addr::new(0xfd56, 0, 0, 0, 0, 0, 0, host)
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    name: String,
    address: Ipv4Addr,
    switch: Rc<Switch>,
    run: PathBuf,
    /// Replaced at every boot.
    inside: RefCell<Inside>,
}

#[derive(Debug)]
struct Inside {
    space: Arc<Space>,
    links: Links,
}

/// The switch in the middle, and the hub's network that it is in.
#[derive(Debug)]
pub(super) struct Switch {
    links: Links,
    runtime: Arc<Runtime>,
}

impl Switch {
    const NAME: &'static str = "switch";
    /// The one for machines that are cut off together.
    const ISLAND: &'static str = "island";

    /// Sets it up in the caller's network, with an address for the hub itself.
    pub(super) fn create(hub: Ipv4Addr) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|source| LabError::System { doing: "start a runtime".into(), source })?;
        let runtime = Arc::new(runtime);
        let here = Space::current()
            .map_err(|source| LabError::System { doing: "open the hub's namespaces".into(), source })?;
        let links = Links::open(&runtime, &here)?;
        links.up("lo")?;
        links.add_bridge(Self::NAME)?;
        links.add_bridge(Self::ISLAND)?;
        links.add_address(Self::NAME, hub.into(), PREFIX)?;
        links.add_address(Self::NAME, ipv6(hub).into(), PREFIX_IPV6)?;
        Ok(Self { links, runtime })
    }
}

impl Machine {
    /// Sets a machine up and plugs it in.
    ///
    /// `rooms` is the folder in which it gets one of its own, seen inside as `/run/chinthe`.
    pub(super) fn create(
        name: &str,
        address: Ipv4Addr,
        rooms: &Path,
        switch: &Rc<Switch>,
    ) -> Result<Self, LabError> {
        let run = rooms.join(name);
        let inside = Inside::boot(name, address, &run, switch)?;
        Ok(Self { name: name.into(), address, switch: Rc::clone(switch), run, inside: RefCell::new(inside) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        ipv6(self.address)
    }

    /// The link-layer address of its interface; the same after every boot.
    pub fn mac(&self) -> Mac {
        mac(self.address)
    }

    /// The folder that it sees as `/run/chinthe`, as the lab sees it.
    pub fn run_folder(&self) -> &Path {
        &self.run
    }

    /// Its namespaces, to make sockets or start programs in.
    pub fn space(&self) -> Arc<Space> {
        Arc::clone(&self.inside.borrow().space)
    }

    /// A program to be run on it, in its network and its view of the files, without input; it has no arguments yet.
    #[allow(unsafe_code)]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        let space = self.space();
        // SAFETY: between fork and exec only two setns(2) calls are made; nothing is allocated or locked.
        unsafe { command.pre_exec(move || space.enter()) };
        command
    }

    /// Pulls its cable: the switch's end goes down, and its interface loses the carrier.
    pub fn unplug(&self) -> Result<(), LabError> {
        self.switch.links.down(&self.name)
    }

    /// Plugs its cable in again.
    pub fn plug(&self) -> Result<(), LabError> {
        self.switch.links.up(&self.name)
    }

    /// Whether its interface has a carrier.
    pub fn carrier(&self) -> Result<bool, LabError> {
        self.inside.borrow().links.carrier(INTERFACE)
    }

    /// Adds an address to its interface.
    pub fn add_address(&self, address: impl Into<IpAddr>, prefix: u8) -> Result<(), LabError> {
        self.inside.borrow().links.add_address(INTERFACE, address.into(), prefix)
    }

    /// Removes an address from its interface; none that isn't there.
    pub fn remove_address(&self, address: impl Into<IpAddr>) -> Result<(), LabError> {
        self.inside.borrow().links.remove_address(INTERFACE, address.into())
    }

    /// Has its kernel refuse whatever it sends to `peer`: "host unreachable", at once.
    pub fn refuse(&self, peer: &Machine) -> Result<(), LabError> {
        self.inside.borrow().links.refuse(peer.address)
    }

    /// Undoes [`refuse`](Self::refuse).
    pub fn accept(&self, peer: &Machine) -> Result<(), LabError> {
        self.inside.borrow().links.accept(peer.address)
    }

    /// Lets whatever it sends to `peer`'s address alone vanish on the way. Broadcast and multicast still arrive.
    pub fn lose(&self, peer: &Machine) -> Result<(), LabError> {
        self.inside.borrow().links.misdirect(INTERFACE, peer.address)
    }

    /// Undoes [`lose`](Self::lose).
    pub fn find(&self, peer: &Machine) -> Result<(), LabError> {
        self.inside.borrow().links.redirect(INTERFACE, peer.address)
    }

    /// Puts it among the isolated machines, which reach all others but not each other, broadcast included; or
    /// takes it out.
    pub fn isolate(&self, isolated: bool) -> Result<(), LabError> {
        self.switch.links.isolate(&self.name, isolated)
    }

    /// Plugs its cable into a second switch, whose machines reach each other but nobody on the first; or back.
    pub fn strand(&self, stranded: bool) -> Result<(), LabError> {
        let switch = if stranded { Switch::ISLAND } else { Switch::NAME };
        self.switch.links.attach(&self.name, switch)
    }

    /// Switches its loopback interface off, or on again.
    pub fn set_loopback(&self, up: bool) -> Result<(), LabError> {
        let inside = self.inside.borrow();
        if up { inside.links.up("lo") } else { inside.links.down("lo") }
    }

    /// Takes its interface away, cable and all, and with it whatever addresses and routes its kernel had: an adapter
    /// that dies, and the hardware's part of a power-off. Only a boot brings it back.
    pub fn remove_interface(&self) -> Result<(), LabError> {
        // First the port, so that not a single frame gets out while the link is dismantled.
        self.switch.links.down(&self.name)?;
        self.switch.links.remove(&self.name)
    }

    /// Gives it one more interface, without an address, on the same switch.
    pub fn add_interface(&self, name: &str) -> Result<(), LabError> {
        let [a, b, c, d] = self.address.octets();
        let port = format!("{}-{name}", self.name);
        let cable = Cable { port: &port, interface: name, mac: [0x06, 0, a, b, c, d] };
        let inside = self.inside.borrow();
        self.switch.links.add_cable(&cable, Switch::NAME, &inside.space)?;
        inside.links.up(name)
    }

    /// Boots it again, with nothing left of its former life, after its interface was taken away.
    pub fn boot(&self) -> Result<(), LabError> {
        *self.inside.borrow_mut() = Inside::boot(&self.name, self.address, &self.run, &self.switch)?;
        Ok(())
    }

    /// How a person on the host enters it, given the lab's process id there.
    pub(super) fn how_to_enter(&self, host_pid: u32, user_namespace: bool) -> String {
        let inside = self.inside.borrow();
        let (network, mounts) = (inside.space.network().as_raw_fd(), inside.space.mounts().as_raw_fd());
        let user = if user_namespace { "-U --preserve-credentials " } else { "" };
        let held = format!("/proc/{host_pid}/fd");
        format!("nsenter -t {host_pid} {user}-p --net={held}/{network} --mount={held}/{mounts} -- bash")
    }
}

impl Inside {
    fn boot(name: &str, address: Ipv4Addr, run: &Path, switch: &Switch) -> Result<Self, LabError> {
        let failed = |source: io::Error| LabError::System { doing: format!("boot {name}"), source };
        // What was in /run is gone after a boot.
        match fs::remove_dir_all(run) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            Ok(()) | Err(_) => fs::create_dir(run).map_err(failed)?,
        }
        let space = Space::create(run).map_err(failed)?;
        let cable = Cable { port: name, interface: INTERFACE, mac: mac(address) };
        switch.links.add_cable(&cable, Switch::NAME, &space)?;
        let links = Links::open(&switch.runtime, &space)?;
        links.up("lo")?;
        links.add_address(INTERFACE, address.into(), PREFIX)?;
        links.add_address(INTERFACE, ipv6(address).into(), PREFIX_IPV6)?;
        links.up(INTERFACE)?;
        Ok(Self { space: Arc::new(space), links })
    }
}

/// Locally administered, and telling the address: a machine is known by it in every capture.
fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}
