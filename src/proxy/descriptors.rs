//! How many descriptors the process may have, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and says how many there may now be.
///
/// A refusal is no error: the soft limit then stays what it is.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// How many proxied connections fit into `descriptors`: each needs two, and the rest of the daemon some.
pub(super) fn connections_in(descriptors: u64) -> usize {
    let connections = descriptors.saturating_sub(RESERVED) / 2;
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
        assert_eq!(connections_in(20_000), 9_872);
        assert_eq!(connections_in(10), 1);
        assert_eq!(connections_in(u64::MAX), CONNECTIONS_MAX);
    }
}
