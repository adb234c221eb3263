//! `chinthe prometheus-config`: how Prometheus finds every node of the cluster, now and later.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use super::arguments::PrometheusArguments;
use super::output::{Failure, complain, print};
use crate::config::{self, Config, Endpoint};

/// There is nothing that Prometheus could be told.
const REFUSED: u8 = 1;
/// Nodes to ask for the others: any one is enough, and with so many some are there.
const ASKED: usize = 5;

pub(super) fn run(arguments: &PrometheusArguments) -> Result<ExitCode, Failure> {
    let (config, _) = match config::load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&format!("{}\n", error.to_string().trim_end()));
            return Ok(ExitCode::from(REFUSED));
        }
    };
    print(&scrape_configuration(&config)?)?;
    Ok(ExitCode::SUCCESS)
}

fn scrape_configuration(config: &Config) -> Result<String, Failure> {
    let elsewhere = "say `listen = \"0.0.0.0:7781\"` in `[admin]`, where a firewall or the network itself \
                     keeps strangers out";
    let Some(listen) = config.admin.listen.filter(|listen| !listen.ip().is_loopback()) else {
        let message = "`admin.listen` is reachable from its own host alone: Prometheus can't scrape it";
        return Err(Failure::new(REFUSED, message).with_hint(elsewhere));
    };
    let hosts = hosts(config);
    if hosts.is_empty() {
        return Err(Failure::new(REFUSED, "neither `cluster.nodes` nor `cluster.seeds` names a node")
            .with_hint("name one, and this node's own address will do"));
    }
    let mut text = String::new();
    let name = &config.cluster.name;
    writeln!(
        text,
        "# Every node of `{name}`: any one of these tells of the others, and of those that join later.\n\
         scrape_configs:\n  - job_name: chinthe\n    http_sd_configs:"
    )
    .expect("a String takes all");
    for host in hosts.iter().take(ASKED) {
        writeln!(text, "      - url: http://{host}:{}/api/v1/prometheus/targets", listen.port())
            .expect("a String takes all");
    }
    Ok(text)
}

/// Who can be asked: the nodes that have names, and else the seeds.
fn hosts(config: &Config) -> Vec<String> {
    let bracketed = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if !config.cluster.nodes.is_empty() {
        return config.cluster.nodes.values().copied().map(bracketed).collect();
    }
    let host = |seed: &Endpoint| match seed {
        Endpoint::Address(address) => bracketed(address.ip()),
        Endpoint::Name(name, _) => name.clone(),
    };
    config.cluster.seeds.iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, Failure> {
        scrape_configuration(&config::parse(text, "it").expect("it is valid").0)
    }

    #[test]
    fn every_named_node_is_asked_else_every_seed() {
        let admin = "[admin]\nlisten = \"0.0.0.0:7799\"\n";
        let seeds = "[cluster]\nname = \"myweb\"\nseeds = [\"ha1\", \"[2001:db8::1]:1\"]\n";
        let text = of(&format!("{seeds}{admin}")).expect("it can be scraped");
        let urls: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- url: ")).collect();
        assert_eq!(
            urls,
            [
                "http://ha1:7799/api/v1/prometheus/targets",
                "http://[2001:db8::1]:7799/api/v1/prometheus/targets"
            ]
        );
        let named = of(&format!("{seeds}nodes = {{ ha1 = \"192.0.2.1\" }}\n{admin}")).expect("it can be");
        assert!(named.contains("http://192.0.2.1:7799/") && !named.contains("//ha1"), "{named}");
    }

    #[test]
    fn what_nobody_else_can_reach_is_refused() {
        let seeds = "[cluster]\nname = \"myweb\"\nseeds = [\"ha1\"]\n";
        for admin in ["", "[admin]\nlisten = \"\"\n", "[admin]\nlisten = \"[::1]:7781\"\n"] {
            assert!(of(&format!("{seeds}{admin}")).is_err(), "{admin}");
        }
        let lone = "[cluster]\nname = \"myweb\"\nseeds = []\n[admin]\nlisten = \"0.0.0.0:7781\"\n";
        assert!(of(lone).is_err());
    }
}
