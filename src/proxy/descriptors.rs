//! How many descriptors the process may have, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pipes::PIPES;

/// Raises the limit of open files and says in the log what it allows: how many connections may be open at once.
///
/// As many as were `asked` for, even where the descriptors don't suffice (a worker without any lets clients wait),
/// or as many as there are descriptors for.
pub(super) fn provide(asked: Option<usize>, workers: usize, splice: bool) -> usize {
    let descriptors = raise_limit();
    let pipes = if splice { 2 * PIPES * workers } else { 0 };
    let reserved = RESERVED + pipes as u64;
    let possible = connections_in(descriptors, reserved);
    match asked {
        Some(asked) if asked > possible => {
            let needed = reserved + 2 * asked as u64;
            tracing::warn!(
                max_connections = asked,
                descriptors,
                needed,
                "the limit of open files is too low for so many connections; raise it: LimitNOFILE= in the unit, or `ulimit -Hn`"
            );
        }
        Some(_) | None => {}
    }
    let connections = asked.unwrap_or(possible);
    tracing::info!(workers, connections, descriptors, "proxy");
    connections
}

/// Raises the soft limit of open files to the hard one, and says how many there may now be.
///
/// A refusal is no error: the soft limit then stays what it is.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// How many proxied connections fit into `descriptors` beside those `reserved`: each needs two.
fn connections_in(descriptors: u64, reserved: u64) -> usize {
    let connections = descriptors.saturating_sub(reserved) / 2;
    usize::try_from(connections).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX)
}

/// For listeners, probes, peers, the admin server and log files.
const RESERVED: u64 = 256;

/// Where the limit of descriptors is "infinity", memory is what runs out: about 16 kB of kernel memory each.
const CONNECTIONS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_leaves_room_for_the_rest_and_is_never_zero() {
        assert_eq!(connections_in(20_000, 256), 9_872);
        assert_eq!(connections_in(10, 256), 1);
        assert_eq!(connections_in(u64::MAX, 256), CONNECTIONS_MAX);
    }
}
