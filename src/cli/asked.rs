//! Which node a client command talks to, and what it shows there.

use std::path::PathBuf;

use super::arguments::AskedArguments;
use super::output::Failure;
use super::wiring;
use crate::admin::Target;
use crate::admin::client::BadUrl;
use crate::config::Admin;

/// The local node's socket where no configuration says otherwise.
const SOCKET: &str = "/run/chinthe/admin.sock";
/// There is nobody to ask.
const NO_ANSWER: u8 = 1;

/// Whom to ask: who is named, else the node on this host as its configuration has it.
pub(super) fn target(arguments: &AskedArguments) -> Result<Target, Failure> {
    if let Some(url) = &arguments.admin {
        return url.parse().map_err(|error: BadUrl| {
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

/// The file with the token that `target` wants to see: the one named, else for TCP the configured one.
pub(super) fn token_file(
    named: Option<PathBuf>,
    target: &Target,
    arguments: &AskedArguments,
) -> Option<PathBuf> {
    match (named, target) {
        (Some(named), _) => Some(named),
        (None, Target::Tcp(..)) => wiring::load(&arguments.config)?.admin.token_file,
        (None, Target::Socket(_)) => None,
    }
}

/// How a configuration says that its node is asked on its own host.
fn local(admin: &Admin) -> Option<Target> {
    let by_socket = admin.socket.clone().map(Target::Socket);
    by_socket.or_else(|| admin.listen.map(|address| Target::Tcp(address.ip().to_string(), address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> AskedArguments {
        AskedArguments { config: PathBuf::from("/nonexistent"), socket: None, admin: None }
    }

    #[test]
    fn the_local_socket_is_asked_unless_another_node_is_named() {
        assert_eq!(target(&arguments()).ok(), Some(Target::Socket(PathBuf::from(SOCKET))));
        let socket = AskedArguments { socket: Some(PathBuf::from("/run/a")), ..arguments() };
        assert_eq!(target(&socket).ok(), Some(Target::Socket(PathBuf::from("/run/a"))));
        let admin = AskedArguments { admin: Some("http://ha2:7781".to_owned()), ..arguments() };
        assert_eq!(target(&admin).ok(), Some(Target::Tcp("ha2".to_owned(), 7781)));
        let wrong = AskedArguments { admin: Some("ftp://ha2".to_owned()), ..arguments() };
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
