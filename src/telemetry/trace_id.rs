//! By what name a failover is known to all nodes: derived, so that nobody has to tell anybody.
//!
//! One failover is one trace. The node that takes over, the one that let go and those that looked on all know the
//! cluster's name, the VIP's and the term, and so come to the same ids, even when the old holder is dead.

use std::fmt;

/// A failover's place among traces, as the W3C's Trace Context has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FailoverTrace {
    /// The trace, 16 bytes, never all zero.
    pub trace: TraceId,
    /// The trace's root span, 8 bytes, never all zero.
    pub root: SpanId,
}

/// Names a trace; shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Names a span of a trace; shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// What the hash is for, so that it is equal to no other one of the same text.
const CONTEXT: &str = "chinthe 2026-11-22 trace of a failover";

impl FailoverTrace {
    /// The trace of the election numbered `term` for the VIP called `vip` in the cluster called `cluster`.
    pub fn of(cluster: &str, vip: &str, term: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for name in [cluster, vip] {
            // With its length, so that no two pairs of names run together to the same text.
            hasher.update(&(name.len() as u64).to_be_bytes()).update(name.as_bytes());
        }
        let hash = hasher.update(&term.to_be_bytes()).finalize();
        let bytes = hash.as_bytes();
        let (mut trace, mut root) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&bytes[..16]);
        root.copy_from_slice(&bytes[16..24]);
        // All zero means "none" to whoever reads traces.
        trace[15] |= u8::from(trace == [0; 16]);
        root[7] |= u8::from(root == [0; 8]);
        Self { trace: TraceId(trace), root: SpanId(root) }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_comes_to_the_same_ids() {
        let trace = FailoverTrace::of("myweb", "vi_1", 4);
        assert_eq!(trace, FailoverTrace::of("myweb", "vi_1", 4));
        assert_eq!(trace.trace.to_string().len(), 32);
        assert_eq!(trace.root.to_string().len(), 16);
    }

    #[test]
    fn another_cluster_vip_or_term_is_another_trace() {
        let one = FailoverTrace::of("myweb", "vi_1", 4);
        for other in [
            FailoverTrace::of("mywebv", "i_1", 4),
            FailoverTrace::of("myweb", "vi_2", 4),
            FailoverTrace::of("myweb", "vi_1", 5),
        ] {
            assert!(one.trace != other.trace && one.root != other.root, "{one:?} {other:?}");
        }
    }
}
