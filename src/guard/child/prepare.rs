//! What a guard does before its loop: finds the interfaces, opens their sockets, and removes what an earlier life
//! left on them, unless it is to be held on.

use std::io;
use std::net::IpAddr;

use crate::core::Time;
use crate::guard::address::Kernel;
use crate::guard::clock::now;
use crate::guard::echo::Echo;
use crate::guard::held::{Interface, Vip};
use crate::guard::neighbours::Neighbours;
use crate::guard::protocol::Start;

/// Finds the interfaces, opens their sockets and removes what an earlier life left, but for what is inherited.
pub(super) async fn prepare(
    kernel: &Kernel,
    start: &Start,
) -> Result<(Vec<Interface>, Vec<Vip>), (String, String)> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut vips = Vec::new();
    for vip in &start.vips {
        let known = interfaces.iter().position(|i| i.name == vip.interface);
        let interface = match known {
            Some(known) => known,
            None => {
                interfaces.push(open_interface(kernel, &vip.interface, start).await?);
                interfaces.len() - 1
            }
        };
        vips.push(Vip::new(vip.id, vip.addresses.clone(), interface));
        let inherits = vip.inherited.is_some_and(|(until, _)| now() < Time::from_nanos(until));
        for address in vip.addresses.iter().filter(|_| !inherits) {
            kernel
                .remove(interfaces[interface].index, *address)
                .await
                .map_err(|error| refused(&error, "change addresses"))?;
        }
    }
    Ok((interfaces, vips))
}

async fn open_interface(kernel: &Kernel, name: &str, start: &Start) -> Result<Interface, (String, String)> {
    let link = kernel.link(name).await.map_err(|error| refused(&error, "read the interfaces"))?.ok_or_else(
        || {
            let error = format!("there is no interface `{name}` on this machine");
            let hint =
                "`ip link` lists the interfaces; `interface = { NODE = \"…\" }` names one by node".to_owned();
            (error, hint)
        },
    )?;
    let addresses =
        kernel.addresses(link.index).await.map_err(|error| refused(&error, "read the addresses"))?;
    let is_vip = |address: &IpAddr| start.vips.iter().any(|v| v.addresses.contains(address));
    let mut own: Vec<IpAddr> = addresses.into_iter().filter(|address| !is_vip(address)).collect();
    own.sort_by_key(|address| *address != start.address);
    let here = start.vips.iter().filter(|vip| vip.interface == name);
    let vips: Vec<IpAddr> = here.flat_map(|vip| vip.addresses.iter().copied()).collect();
    let neighbours = Neighbours::open(link.index, link.mac, &own, &vips)
        .map_err(|error| refused(&error, "open a packet socket"))?;
    let echo = Echo::open(name, vips.iter().any(IpAddr::is_ipv6))
        .map_err(|error| refused(&error, "open a raw socket"))?;
    Ok(Interface { index: link.index, name: link.name, mac: link.mac, up: link.up, neighbours, echo })
}

fn refused(error: &io::Error, what: &str) -> (String, String) {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied {
        "run it as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW (systemd: AmbientCapabilities=)"
    } else {
        "`ip addr` and `dmesg` may tell more"
    };
    (format!("no permission or no way to {what}: {error}"), hint.to_owned())
}
