//! What the switch does to frames between the nodes: lets them pass, loses some, or drops them all. By nft(8), in
//! the network that the switch is in.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use chinthe::lab::LabError;

/// Drops whatever `node` and `others` send each other; all of them still reach everybody else.
pub(crate) fn cut_off(node: &str, others: &[&str]) -> Result<(), LabError> {
    let others = set(others);
    apply(&format!("iifname \"{node}\" oifname {others} drop; iifname {others} oifname \"{node}\" drop"))
}

/// Loses so many per cent of whatever `nodes` send each other, at random, each frame and each receiver for itself.
pub(crate) fn lose(nodes: &[&str], percent: u8) -> Result<(), LabError> {
    let nodes = set(nodes);
    apply(&format!("iifname {nodes} oifname {nodes} numgen random mod 100 < {percent} drop"))
}

/// Lets everything pass again.
pub(crate) fn heal() -> Result<(), LabError> {
    nft("delete table bridge faults\n")
}

fn apply(rules: &str) -> Result<(), LabError> {
    nft(&format!(
        "table bridge faults {{ chain forward {{ type filter hook forward priority 0; {rules}; }}; }}\n"
    ))
}

fn set(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("{{ {} }}", names.join(", "))
}

fn nft(script: &str) -> Result<(), LabError> {
    let failed = |source| LabError::System { doing: "change the switch's rules by nft".into(), source };
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(failed(io::Error::other(format!("nft: {status}\n{script}")))) }
}
