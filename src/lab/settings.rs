//! The configuration that the lab's daemons run on, when nobody brings one along.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::machine::{INTERFACE, PREFIX};

/// The VIP of the post's cluster, with the port that is served on it.
pub const TARGET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 56, 69), 80);

/// Priorities fall from the first node on, as the post's do; below it nobody goes.
const FIRST_PRIORITY: u8 = 101;

/// Where the lab's configuration says that the secret is; the lab keeps it elsewhere and tells the daemons so.
const SECRET_FILE: &str = "/etc/chinthe/secret";

/// The post's cluster as a chinthe file, for these nodes and backends: names and addresses.
pub(super) fn post(nodes: &[(String, Ipv4Addr)], backends: &[(String, Ipv4Addr)]) -> String {
    let seeds: Vec<String> = nodes.iter().take(2).map(|(_, address)| format!("\"{address}\"")).collect();
    let priorities: Vec<String> = nodes
        .iter()
        .zip(0..)
        .map(|((name, _), rank)| format!("{name} = {}", FIRST_PRIORITY.saturating_sub(rank)))
        .collect();
    let mut text = format!("[cluster]\nname = \"myweb\"\nseeds = [{}]\n", seeds.join(", "));
    let mut add = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a String takes everything");
    add(format_args!("secret_file = \"{SECRET_FILE}\"\n\n[cluster.nodes]\n"));
    for (name, address) in nodes {
        add(format_args!("{name} = \"{address}\"\n"));
    }
    add(format_args!("\n[[vip]]\nname = \"vi_1\"\naddress = \"{}/{PREFIX}\"\n", TARGET.ip()));
    add(format_args!("interface = \"{INTERFACE}\"\npriority = {{ {} }}\n", priorities.join(", ")));
    add(format_args!("track = [{{ service = \"myweb\", weight = 2 }}]\n"));
    add(format_args!("\n[[service]]\nname = \"myweb\"\nlisten = [\"0.0.0.0:{}\"]\n", TARGET.port()));
    for (name, address) in backends {
        add(format_args!("\n[[service.backend]]\nname = \"{name}\"\naddress = \"{address}:80\"\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::machine::address;

    #[test]
    fn two_nodes_and_two_backends_are_the_cluster_of_the_post() {
        let text = post(
            &[("ha1".into(), address(21)), ("ha2".into(), address(22))],
            &[("web1".into(), address(11)), ("web2".into(), address(12))],
        );
        for line in [
            "seeds = [\"192.168.56.21\", \"192.168.56.22\"]",
            "address = \"192.168.56.69/24\"",
            "priority = { ha1 = 101, ha2 = 100 }",
            "listen = [\"0.0.0.0:80\"]",
            "address = \"192.168.56.12:80\"",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
    }
}
