//! What Prometheus' `http_sd_configs` reads: every node that can be scraped, as any of them tells it.
//!
//! Prometheus asks several nodes and takes two answers for one target only when all labels are the same. So
//! nothing in here is a matter of who answers: not its view of a member, not its own part.

use std::collections::BTreeMap;

use serde::Serialize;

/// One group of the document: here always one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Where its metrics are, host and port.
    targets: [String; 1],
    /// What all of its series are labelled with.
    labels: Labels,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Labels {
    cluster: String,
    node: String,
}

/// The document for the nodes of `cluster`, each by its name with the address of its admin server.
pub fn groups(cluster: &str, nodes: &BTreeMap<String, String>) -> Vec<Group> {
    let group = |(node, address): (&String, &String)| Group {
        targets: [address.clone()],
        labels: Labels { cluster: cluster.to_owned(), node: node.clone() },
    };
    nodes.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_prometheus_reads_in_the_order_of_names() {
        let nodes = [("ha2", "192.0.2.2:7781"), ("ha1", "[2001:db8::1]:7781")];
        let nodes = nodes.map(|(name, address)| (name.to_owned(), address.to_owned())).into();
        assert_eq!(
            serde_json::to_string(&groups("myweb", &nodes)).expect("it can be written"),
            r#"[{"targets":["[2001:db8::1]:7781"],"labels":{"cluster":"myweb","node":"ha1"}},{"targets":["192.0.2.2:7781"],"labels":{"cluster":"myweb","node":"ha2"}}]"#
        );
        assert_eq!(serde_json::to_string(&groups("myweb", &BTreeMap::new())).expect("it can be"), "[]");
    }
}
