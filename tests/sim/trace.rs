//! What happened, as a number that tells two runs apart, and in words when somebody wants to read it.

use chinthe::core::{Input, Time, Transition};

/// The story of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Only the number.
    pub(crate) fn silent() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: None }
    }

    pub(crate) fn readable() -> Self {
        Self { lines: Some(Vec::new()), ..Self::silent() }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    pub(crate) fn count(&mut self, at: Time, order: u64) {
        self.mix(at.as_nanos());
        self.mix(order);
    }

    pub(crate) fn note(&mut self, at: Time, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at:?} {}", text()));
        }
    }

    pub(crate) fn input(&mut self, at: Time, machine: usize, input: &Input) {
        self.mix(machine as u64);
        match input {
            Input::Heard { .. } | Input::Deadline | Input::Held { .. } | Input::Probed { .. } => {}
            Input::AddressProbed { .. } | Input::AddressAnswered { .. } | Input::Checked { .. } => {}
            Input::GuardResigned { .. }
            | Input::Viewed { .. }
            | Input::Said { .. }
            | Input::Connections { .. }
            | Input::Synced
            | Input::ConnectFailed { .. }
            | Input::Listening { .. }
            | Input::Released { .. }
            | Input::LetGo { .. }
            | Input::Link { .. }
            | Input::Stalled
            | Input::Shutdown => self.note(at, || format!("n{} <- {input:?}", machine + 1)),
        }
    }

    pub(crate) fn transition(&mut self, at: Time, machine: usize, transition: &Transition) {
        self.mix(transition.to as u64 + 7 * u64::from(transition.term) + 1000 * transition.vip as u64);
        self.note(at, || {
            let Transition { vip, from, to, cause, priority, term, .. } = transition;
            format!(
                "n{}, vip{}: {} -> {} ({}), priority {priority}, term {term}",
                machine + 1,
                vip + 1,
                from.as_str(),
                to.as_str(),
                cause.as_str()
            )
        });
    }

    /// FNV-1a, a word at a time.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}
