//! chitchat's messages, written by hand: what somebody might send who has the secret and no good will.

use std::net::{IpAddr, SocketAddr};

/// A node's identity in chitchat's messages.
#[derive(Clone)]
pub(super) struct Id {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
}

/// A digest: who is there, each with a heartbeat.
pub(super) fn syn(cluster: &str, nodes: &[(Id, u64)]) -> Vec<u8> {
    let entries = nodes
        .iter()
        .flat_map(|(node, heartbeat)| [id(node), heartbeat.to_le_bytes().to_vec(), vec![0; 16]].concat());
    [header(0), blocks(&entries.collect::<Vec<_>>()), text(cluster)].concat()
}

/// A delta: keys and values of one node, and the version that they amount to, if that is said apart.
pub(super) fn ack(node: &Id, values: &[(&str, &str, u64)], version: Option<u64>) -> Vec<u8> {
    let mut operations = [vec![0], id(node), vec![0; 16]].concat();
    for (key, value, version) in values {
        operations
            .extend([vec![1], text(key), text(value), version.to_le_bytes().to_vec(), vec![0]].concat());
    }
    if let Some(version) = version {
        operations.extend([vec![2], version.to_le_bytes().to_vec()].concat());
    }
    [header(2), blocks(&operations)].concat()
}

/// A thousand blocks that unpack to next to nothing each: the outline of a bomb.
pub(super) fn bomb() -> Vec<u8> {
    [header(2), [2, 1, 0, 2].repeat(1000), vec![0]].concat()
}

fn header(kind: u8) -> Vec<u8> {
    vec![0x53, 0xb0, 1, kind]
}

fn blocks(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in bytes.chunks(16_384) {
        out.push(2);
        out.extend((block.len() as u16).to_le_bytes());
        out.extend(block);
    }
    out.push(0);
    out
}

fn id(id: &Id) -> Vec<u8> {
    let ip = match id.address.ip() {
        IpAddr::V4(ip) => [vec![4], ip.octets().to_vec()].concat(),
        IpAddr::V6(ip) => [vec![6], ip.octets().to_vec()].concat(),
    };
    let port = id.address.port().to_le_bytes().to_vec();
    [text(&id.name), id.generation.to_le_bytes().to_vec(), ip, port].concat()
}

fn text(text: &str) -> Vec<u8> {
    [(text.len() as u16).to_le_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}
