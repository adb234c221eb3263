//! `chinthe status`: the cluster as a node sees it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::StatusArguments;
use super::output::{Failure, print};
use super::wiring;
use crate::admin::{Target, fetch_status, table};
use crate::config::Admin;

/// There is no answer.
const NO_ANSWER: u8 = 1;
/// The answer calls for somebody.
const DEGRADED: u8 = 3;

/// The local node's socket where no configuration says otherwise.
const SOCKET: &str = "/run/chinthe/admin.sock";

pub(super) fn run(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let target = target(arguments)?;
    let (document, status) =
        fetch_status(&target).map_err(|error| Failure::new(NO_ANSWER, &error).with_hint(error.hint()))?;
    if arguments.json {
        print(&document)?;
    } else {
        print(&table::render(&status))?;
    }
    let well = table::degraded(&status).is_empty();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(DEGRADED) })
}

fn target(arguments: &StatusArguments) -> Result<Target, Failure> {
    if let Some(url) = &arguments.admin {
        return url.parse().map_err(|error: crate::admin::client::BadUrl| {
            Failure::new(NO_ANSWER, format!("`--admin`: {error}")).with_hint(error.hint())
        });
    }
    if let Some(socket) = &arguments.socket {
        return Ok(Target::Socket(socket.clone()));
    }
    // A configuration that is missing or broken is no reason not to ask the daemon that runs.
    let configured = wiring::load(&arguments.config);
    Ok(configured
        .and_then(|config| local(&config.admin))
        .unwrap_or_else(|| Target::Socket(PathBuf::from(SOCKET))))
}

/// How a configuration says that its node is asked on its own host.
fn local(admin: &Admin) -> Option<Target> {
    let by_socket = admin.socket.clone().map(Target::Socket);
    by_socket.or_else(|| admin.listen.map(|address| Target::Tcp(address.ip().to_string(), address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> StatusArguments {
        StatusArguments { json: false, config: PathBuf::from("/nonexistent"), socket: None, admin: None }
    }

    #[test]
    fn the_local_socket_is_asked_unless_another_node_is_named() {
        assert_eq!(target(&arguments()).ok(), Some(Target::Socket(PathBuf::from(SOCKET))));
        let socket = StatusArguments { socket: Some(PathBuf::from("/run/a")), ..arguments() };
        assert_eq!(target(&socket).ok(), Some(Target::Socket(PathBuf::from("/run/a"))));
        let admin = StatusArguments { admin: Some("http://ha2:7781".to_owned()), ..arguments() };
        assert_eq!(target(&admin).ok(), Some(Target::Tcp("ha2".to_owned(), 7781)));
        let wrong = StatusArguments { admin: Some("ftp://ha2".to_owned()), ..arguments() };
        assert!(target(&wrong).is_err());
    }

    #[test]
    fn a_node_without_a_socket_is_asked_over_tcp() {
        let listen = Some("127.0.0.1:7781".parse().expect("an address"));
        let mut admin = Admin { listen, socket: Some(PathBuf::from("/run/a")), token_file: None };
        assert_eq!(local(&admin), Some(Target::Socket(PathBuf::from("/run/a"))));
        admin.socket = None;
        assert_eq!(local(&admin), Some(Target::Tcp("127.0.0.1".to_owned(), 7781)));
        admin.listen = None;
        assert_eq!(local(&admin), None);
    }
}
