//! The configurations that compete.

use std::time::Duration;

use crate::contender::{Contender, Kind, Quorum};

/// What keepalived and haproxy read.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// `keepalived.conf` of one node.
    pub(crate) keepalived: String,
    /// `haproxy.cfg`, the same on all.
    pub(crate) haproxy: String,
}

const POST_HA1: &str = include_str!("../../fixtures/post/keepalived-ha1.conf");
const POST_HA2: &str = include_str!("../../fixtures/post/keepalived-ha2.conf");
const POST_HAPROXY: &str = include_str!("../../fixtures/post/haproxy.cfg");

/// What the node numbered `node` (0, 1, …) of a rival runs on; nothing for chinthe.
pub(crate) fn files(contender: &Contender, node: usize) -> Option<Files> {
    match contender.kind {
        Kind::Post => {
            // keepalived takes the curly quotes for a part of the command, and never looks at haproxy.
            let keepalived = if node == 0 { POST_HA1 } else { POST_HA2 }.replace(['“', '”'], "\"");
            Some(Files { keepalived, haproxy: POST_HAPROXY.into() })
        }
        Kind::Expert => {
            Some(Files { keepalived: expert(node, contender.interval), haproxy: EXPERT_HAPROXY.into() })
        }
        Kind::Chinthe { .. } => None,
    }
}

/// keepalived as fast as it goes: VRRP 3, real-time priority, no swapping, and a master that knows at once that its
/// haproxy is gone.
fn expert(node: usize, interval: Duration) -> String {
    let state = if node == 0 { "MASTER" } else { "BACKUP" };
    let (name, priority, seconds) = (node + 1, 254 - node, interval.as_secs_f64());
    format!(
        "global_defs {{
    router_id ha{name}
    vrrp_version 3
    script_user root
    enable_script_security
    vrrp_rt_priority 60
    vrrp_rlimit_rttime 1000000
    vrrp_no_swap
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 3
    vrrp_garp_lower_prio_delay 0
    vrrp_garp_lower_prio_repeat 1
    vrrp_higher_prio_send_advert true
    vrrp_garp_master_refresh 5
}}
track_file haproxy_down {{
    file /run/haproxy.down
    weight 0
    init_file 0
}}
vrrp_instance vi_1 {{
    interface eth1
    state {state}
    priority {priority}
    advert_int {seconds}
    virtual_router_id 101
    virtual_ipaddress {{
        192.168.56.69/24
    }}
    track_file {{
        haproxy_down
    }}
}}
"
    )
}

const EXPERT_HAPROXY: &str = "global
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
    user haproxy
    group haproxy
    nbthread 2
    maxconn 8000
    spread-checks 0

defaults
    mode tcp
    timeout connect 50ms
    timeout client  50s
    timeout server  50s
    timeout check   50ms
    timeout queue   1s
    retries 3
    option redispatch 1
    option dontlognull

frontend myweb
    bind *:80
    default_backend web-servers

backend web-servers
    balance roundrobin
    option tcp-check
    default-server check inter 100ms fastinter 20ms downinter 100ms fall 2 rise 2 observe layer4 error-limit 1 on-error mark-down on-marked-down shutdown-sessions
    server web1 192.168.56.11:80
    server web2 192.168.56.12:80
";

/// The one file of chinthe's nodes: the post's cluster, with the expert's checks and timeouts.
pub(crate) fn chinthe(contender: &Contender) -> String {
    let nodes = 1..=contender.nodes;
    let addresses: String =
        nodes.clone().map(|node| format!("ha{node} = \"192.168.56.{}\"\n", 20 + node)).collect();
    let priorities: Vec<String> = nodes.map(|node| format!("ha{node} = {}", 106 - node)).collect();
    let quorum = match contender.quorum() {
        Quorum::None => String::new(),
        Quorum::Majority => format!("quorum = \"majority\"\nexpected_nodes = {}\n", contender.nodes),
    };
    let (prefix, listen) = if contender.ipv6 { (64, "[::]") } else { (24, "0.0.0.0") };
    format!(
        "[cluster]
name = \"bench\"
seeds = [\"192.168.56.21\", \"192.168.56.22\"]
secret_file = \"/etc/chinthe/secret\"
{quorum}
[cluster.nodes]
{addresses}
[[vip]]
name = \"vi_1\"
address = \"{}/{prefix}\"
interface = \"eth1\"
priority = {{ {} }}
advertisement_interval = \"{}ms\"
track = [{{ service = \"myweb\", weight = 2 }}]

[[service]]
name = \"myweb\"
listen = [\"{listen}:80\"]
timeout = {{ connect = \"50ms\", client = \"50s\", server = \"50s\" }}
check = {{ type = \"tcp\", interval = \"100ms\", timeout = \"50ms\", fall = 2, rise = 2 }}

[[service.backend]]
name = \"web1\"
address = \"192.168.56.11:80\"

[[service.backend]]
name = \"web2\"
address = \"192.168.56.12:80\"
",
        contender.target().ip(),
        priorities.join(", "),
        contender.interval.as_millis(),
    )
}
