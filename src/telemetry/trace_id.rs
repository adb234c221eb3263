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

    /// As nodes and programs tell each other: a `traceparent`, W3C Trace Context 1 section 3.2, which says that it is
    /// recorded.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.root)
    }

    /// Reads a `traceparent` of version 00; whatever isn't exactly that is none.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let fields: Vec<&str> = traceparent.split('-').collect();
        let ["00", trace, root, flags] = fields[..] else { return None };
        let [_] = bytes(flags)?;
        let (trace, root) = (bytes(trace)?, bytes(root)?);
        // All zero is no id.
        (trace != [0; 16] && root != [0; 8]).then_some(Self { trace: TraceId(trace), root: SpanId(root) })
    }
}

/// So many bytes, two lower-case hexadecimal digits each.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
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
    fn a_traceparent_comes_back_as_it_was_sent() {
        let trace = FailoverTrace::of("myweb", "vi_1", 4);
        assert_eq!(trace.traceparent().len(), 55);
        assert_eq!(FailoverTrace::parse(&trace.traceparent()), Some(trace));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let good = FailoverTrace::of("myweb", "vi_1", 4).traceparent();
        let (trace, root) = (&good[3..35], &good[36..52]);
        for bad in [
            String::new(),
            good.to_uppercase(),
            format!("{good}-00"),
            format!(" {good}"),
            format!("01-{trace}-{root}-01"),
            format!("00-{trace}-{root}"),
            format!("00-{trace}-{root}-1"),
            format!("00-{trace}-{root}-+1"),
            format!("00-{}-{root}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}é-{root}-01", &trace[2..]),
            format!("00-{trace}0-{root}-01"),
        ] {
            assert_eq!(FailoverTrace::parse(&bad), None, "{bad}");
        }
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
