//! What has changed from one configuration to the next, as far as a daemon that runs has to know.

use std::net::IpAddr;

use super::{Admin, Backend, Check, Cluster, Config, Identity, Service, Track, Tracked, Vip};

/// What differs between the configuration that a daemon runs by and another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Settings, as sentences name them, that only a new start can take in.
    pub needs_restart: Vec<String>,
    /// Everything else, in a few words each.
    pub changed: Vec<String>,
}

/// What differs on the node `me`; the order of things in the file is no difference.
pub fn difference(before: &Config, after: &Config, me: &Identity) -> Difference {
    let mut found = Difference::default();
    // Taken apart by name, so that a new field doesn't compile until it is decided what may happen to it.
    let Config { cluster, admin, metrics, proxy, checks, vips, services } = after;
    found.of_cluster(&before.cluster, cluster, me);
    found.of_admin(&before.admin, admin);
    found.restart("proxy", before.proxy != *proxy);
    found.change("metrics", before.metrics != *metrics);
    let names = |checks: &[Check]| checks.iter().map(|check| check.name.clone()).collect::<Vec<_>>();
    found.come_and_gone("check", &names(&before.checks), &names(checks));
    for check in checks {
        let was = before.checks.iter().find(|was| was.name == check.name);
        found.change(format!("check {}", check.name), was.is_some_and(|was| was != check));
    }
    let names = |vips: &[Vip]| vips.iter().map(|vip| vip.name.clone()).collect::<Vec<_>>();
    found.fixed("vip", &names(&before.vips), &names(vips));
    for vip in vips {
        if let Some(was) = before.vips.iter().find(|was| was.name == vip.name) {
            found.of_vip((before, was), (after, vip), &me.name);
        }
    }
    let names = |services: &[Service]| services.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    found.come_and_gone("service", &names(&before.services), &names(services));
    for service in services {
        if let Some(was) = before.services.iter().find(|was| was.name == service.name) {
            found.of_service(was, service);
        }
    }
    found
}

/// Puts the VIPs of `config` into the order that they have in `model`, which has the same ones.
///
/// A running daemon and its guard count them in the order in which they met them.
#[must_use]
pub fn in_order_of(model: &Config, mut config: Config) -> Config {
    config.vips.sort_by_key(|vip| model.vips.iter().position(|known| known.name == vip.name));
    config
}

impl Difference {
    fn restart(&mut self, setting: &str, differs: bool) {
        if differs {
            self.needs_restart.push(format!("`{setting}`"));
        }
    }

    fn restart_of(&mut self, name: &str, setting: &str, differs: bool) {
        if differs {
            self.needs_restart.push(format!("`{setting}` of `{name}`"));
        }
    }

    fn change(&mut self, what: impl Into<String>, differs: bool) {
        if differs {
            self.changed.push(what.into());
        }
    }

    fn of_cluster(&mut self, before: &Cluster, after: &Cluster, me: &Identity) {
        let Cluster { name, seeds, secret_file, quorum, witness, nodes } = after;
        self.restart("cluster.name", before.name != *name);
        self.change("seeds", before.seeds != *seeds);
        self.restart("cluster.secret_file", before.secret_file != *secret_file);
        match (before.quorum.as_str() == quorum.as_str(), before.quorum == *quorum) {
            (false, _) => self.restart("cluster.quorum", true),
            (true, same) => self.restart("cluster.expected_nodes", !same),
        }
        self.restart("cluster.witness", before.witness != *witness);
        // By name, and by address, where an entry says who this node is.
        let own = |cluster: &Cluster| {
            let is_own = |(name, address): &(&String, &IpAddr)| **name == me.name || **address == me.address;
            let own = cluster.nodes.iter().filter(is_own);
            own.map(|(name, address)| (name.clone(), *address)).collect::<Vec<_>>()
        };
        let renamed = own(before) != own(after);
        self.restart_of(&me.name, "cluster.nodes", renamed);
        self.change("nodes", before.nodes != *nodes && !renamed);
    }

    fn of_admin(&mut self, before: &Admin, after: &Admin) {
        let Admin { listen, socket, token_file } = after;
        self.restart("admin.listen", before.listen != *listen);
        self.restart("admin.socket", before.socket != *socket);
        self.restart("admin.token_file", before.token_file != *token_file);
    }

    fn of_vip(&mut self, (then, before): (&Config, &Vip), (now, after): (&Config, &Vip), node: &str) {
        let Vip {
            name,
            addresses,
            interface,
            priority,
            advertisement_interval,
            preempt,
            preempt_delay,
            preempt_damping,
            preempt_when_connections_below,
            placement,
            probe,
            track,
        } = after;
        let ips = |vip: &Vip| vip.addresses.iter().map(|address| address.ip).collect::<Vec<_>>();
        self.restart_of(name, "vip.address", ips(before) != ips(after));
        let moves = before.interface.on(node) != interface.on(node);
        self.restart_of(name, "vip.interface", moves);
        let paced = before.advertisement_interval != *advertisement_interval;
        self.restart_of(name, "vip.advertisement_interval", paced);
        for (setting, differs) in [
            ("prefix", before.addresses != *addresses && ips(before) == ips(after)),
            ("interface elsewhere", before.interface != *interface && !moves),
            ("priority", before.priority != *priority),
            ("preempt", before.preempt != *preempt),
            ("preempt_delay", before.preempt_delay != *preempt_delay),
            ("preempt_damping", before.preempt_damping != *preempt_damping),
            (
                "preempt_when_connections_below",
                before.preempt_when_connections_below != *preempt_when_connections_below,
            ),
            ("placement", before.placement != *placement),
            ("probe", before.probe != *probe),
            ("track", tracked(then, &before.track) != tracked(now, track)),
        ] {
            self.change(format!("{name}: {setting}"), differs);
        }
    }

    fn of_service(&mut self, before: &Service, after: &Service) {
        let Service { name, listen, balance, max_connections, timeout, check, backends } = after;
        for (setting, differs) in [
            ("listen", before.listen != *listen),
            ("balance", before.balance != *balance),
            ("max_connections", before.max_connections != *max_connections),
            ("timeout", before.timeout != *timeout),
            ("check", before.check != *check),
        ] {
            self.change(format!("{name}: {setting}"), differs);
        }
        let names = |backends: &[Backend]| {
            backends.iter().map(|backend| format!("{name}/{}", backend.name)).collect::<Vec<_>>()
        };
        self.come_and_gone("backend", &names(&before.backends), &names(backends));
        for Backend { name: backend, address, weight } in backends {
            if let Some(was) = before.backends.iter().find(|was| was.name == *backend) {
                self.change(format!("{name}/{backend}: address"), was.address != *address);
                self.change(format!("{name}/{backend}: weight"), was.weight != *weight);
            }
        }
    }

    /// What may come and go.
    fn come_and_gone(&mut self, kind: &str, before: &[String], after: &[String]) {
        for name in after.iter().filter(|name| !before.contains(name)) {
            self.changed.push(format!("{kind} {name} added"));
        }
        for name in before.iter().filter(|name| !after.contains(name)) {
            self.changed.push(format!("{kind} {name} removed"));
        }
    }

    /// What may not.
    fn fixed(&mut self, kind: &str, before: &[String], after: &[String]) {
        let here = |name: &&String, names: &[String]| names.contains(name);
        for name in after.iter().filter(|name| !here(name, before)) {
            self.needs_restart.push(format!("{kind} `{name}`, which is new"));
        }
        for name in before.iter().filter(|name| !here(name, after)) {
            self.needs_restart.push(format!("{kind} `{name}`, which is gone"));
        }
    }
}

/// A VIP's `track` with names in place of places.
fn tracked<'c>(config: &'c Config, track: &[Track]) -> Vec<(bool, &'c str, i16, bool)> {
    let entry = |track: &Track| {
        let (is_service, name) = match track.what {
            Tracked::Service(at) => (true, config.services[at].name.as_str()),
            Tracked::Check(at) => (false, config.checks[at].name.as_str()),
        };
        (is_service, name, track.weight, track.reverse)
    };
    track.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const FILE: &str = r#"
[cluster]
name = "myweb"
seeds = []
[cluster.nodes]
ha1 = "192.0.2.1"
ha2 = "192.0.2.2"
[[check]]
name = "disk"
command = ["true"]
[[vip]]
name = "vi_1"
address = "192.0.2.69/24"
interface = { ha1 = "eth1", ha2 = "eth2" }
track = [{ service = "web", weight = 2 }, { check = "disk", weight = -10 }]
[[vip]]
name = "vi_2"
address = "192.0.2.70"
interface = "eth1"
[[service]]
name = "web"
listen = ["*:80"]
[[service.backend]]
name = "web1"
address = "192.0.2.11:80"
[[service]]
name = "mail"
listen = ["*:25"]
"#;

    fn config(text: &str) -> Config {
        parse(text, "test.toml").unwrap_or_else(|problems| panic!("{problems}")).0
    }

    fn me() -> Identity {
        Identity { name: "ha1".into(), address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)) }
    }

    fn found(replacements: &[(&str, &str)]) -> Difference {
        let mut text = FILE.to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        difference(&config(FILE), &config(&text), &me())
    }

    #[test]
    fn the_same_file_makes_no_difference() {
        assert_eq!(found(&[]), Difference::default());
    }

    #[test]
    fn what_a_running_daemon_can_take_in_is_told_in_a_few_words() {
        for (from, to, words) in [
            ("seeds = []", "seeds = [\"192.0.2.1\"]", "seeds"),
            ("ha2 = \"192.0.2.2\"", "ha3 = \"192.0.2.3\"", "nodes"),
            ("weight = 2", "weight = 3", "vi_1: track"),
            ("interface = \"eth1\"", "interface = \"eth1\"\npriority = 90", "vi_2: priority"),
            ("ha2 = \"eth2\"", "ha2 = \"eth3\"", "vi_1: interface elsewhere"),
            ("\"web1\"", "\"web2\"", "backend web/web2 added, backend web/web1 removed"),
            ("name = \"mail\"", "name = \"smtp\"", "service smtp added, service mail removed"),
            ("*:80", "*:81", "web: listen"),
            ("192.0.2.11:80", "192.0.2.12:80", "web/web1: address"),
            ("2.11:80\"", "2.11:80\"\nweight = 5", "web/web1: weight"),
            ("*:80\"]", "*:80\"]\ncheck = { fall = 5 }", "web: check"),
            ("*:80\"]", "*:80\"]\ntimeout = { client = \"9s\" }", "web: timeout"),
            ("[\"true\"]", "[\"false\"]", "check disk"),
            ("[[check]]", "[metrics]\ndetail = \"holder\"\n[[check]]", "metrics"),
        ] {
            let found = found(&[(from, to)]);
            assert_eq!((found.needs_restart, found.changed.join(", ")), (Vec::new(), words.to_owned()));
        }
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        for (from, to, setting) in [
            ("\"myweb\"", "\"other\"", "`cluster.name`"),
            ("ha1 = \"192.0.2.1\"", "ha1 = \"192.0.2.3\"", "`cluster.nodes` of `ha1`"),
            ("ha1 = \"192.0.2.1\"", "ha7 = \"192.0.2.1\"", "`cluster.nodes` of `ha1`"),
            ("seeds = []", "seeds = []\nquorum = \"majority\"\nexpected_nodes = 3", "`cluster.quorum`"),
            ("[[check]]", "[admin]\nlisten = \"\"\n[[check]]", "`admin.listen`"),
            ("[[check]]", "[proxy]\nworkers = 3\n[[check]]", "`proxy`"),
            ("192.0.2.69", "192.0.2.68", "`vip.address` of `vi_1`"),
            ("ha1 = \"eth1\"", "ha1 = \"eth0\"", "`vip.interface` of `vi_1`"),
            ("name = \"vi_2\"", "name = \"vi_3\"", "vip `vi_3`, which is new, vip `vi_2`, which is gone"),
        ] {
            assert_eq!(found(&[(from, to)]).needs_restart.join(", "), setting);
        }
    }

    #[test]
    fn the_order_in_the_file_is_no_difference() {
        let (head, rest) = FILE.split_at(FILE.find("[[vip]]").expect("it has VIPs"));
        let (first, rest) = rest.split_at(rest.rfind("[[vip]]").expect("it has two"));
        let (second, tail) = rest.split_at(rest.find("[[service]]").expect("it has services"));
        let other = config(&format!("{head}{second}{first}{tail}"));
        let running = config(FILE);
        assert_ne!(other, running);
        assert_eq!(difference(&running, &other, &me()), Difference::default());
        assert_eq!(in_order_of(&running, other), running);
    }
}
