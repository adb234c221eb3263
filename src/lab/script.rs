//! The little language in which a lab is told what to do: one action a line.

use std::fmt;
use std::time::Duration;

/// The script of `--script demo`: as much of a cluster's life as fits into half a minute.
pub(super) const DEMO: &str = "\
say Two daemons share one virtual IP; a client opens a new connection to it every 4 ms.
expect answer within 10s
expect holder ha1 within 5s
say First, the daemon that holds it dies without a word.
kill holder
expect takeover within 3s
say Its node comes back, and the VIP goes home.
start victim
expect holder victim within 10s
say Now somebody pulls the cable of the node that holds it.
unplug holder
expect takeover within 3s
";

/// All that can be said, for whoever asks.
pub(super) const HELP: &str = "\
\x20 kill NODE        kill -9 of its daemon              start NODE     start its daemon
  killall NODE     of daemon and guard together       term NODE      ask its daemon to stop
  freeze NODE      SIGSTOP of both                    thaw NODE      SIGCONT
  poweroff NODE    everything on it at once           poweron NODE   boot it
  unplug MACHINE   pull its cable                     plug MACHINE   plug it in
  stop WEB         end a web server                   start WEB      start it again
  cut FROM TO      lose what goes from one to other   heal FROM TO
  wait 2s          let time pass                      say TEXT       print it
  expect holder NODE within 1s       expect takeover within 1s       expect answer [from WEB] within 1s
NODE can also be `holder`, whoever holds the VIP, or `victim`, whatever was hit last.
";

/// One line's action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Say(String),
    Wait(Duration),
    Do(Deed, Name),
    Cut { from: Name, to: Name },
    Heal { from: Name, to: Name },
    Expect(Expectation, Duration),
}

/// What is done to one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Kill,
    KillAll,
    Terminate,
    Freeze,
    Thaw,
    PowerOff,
    PowerOn,
    Unplug,
    Plug,
    Stop,
    Start,
}

/// Which machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// The one called so.
    Given(String),
    /// Whoever answers for the VIP when the line's turn comes.
    Holder,
    /// Whichever was hit last.
    Victim,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expectation {
    /// This node alone answers for the VIP, and the client is served.
    Holder(Name),
    /// Another node than before the last deed does, and the client is served.
    Takeover,
    /// The client is served, by this web server if one is named.
    Answer(Option<Name>),
}

/// A line, by its number from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) action: Action,
}

/// A line that says nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct ScriptError {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads a whole script; every wrong line is told.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, Vec<ScriptError>> {
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        match parse_line(text) {
            Ok(Some(action)) => lines.push(Line { number, action }),
            Ok(None) => {}
            Err(problem) => errors.push(ScriptError { number, problem }),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

/// Reads one line; `None` when it is empty or a comment.
pub(super) fn parse_line(text: &str) -> Result<Option<Action>, String> {
    let words: Vec<&str> = text.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let Some((&verb, rest)) = words.split_first() else { return Ok(None) };
    let action = match (verb, rest) {
        // As it stands: a number sign is no comment in a sentence.
        ("say", _) => Action::Say(text.trim_start().trim_start_matches("say").trim().into()),
        ("wait", [time]) => Action::Wait(duration(time)?),
        ("cut", [from, to]) => Action::Cut { from: name(from), to: name(to) },
        ("heal", [from, to]) => Action::Heal { from: name(from), to: name(to) },
        ("expect", [what @ .., "within", time]) => Action::Expect(expectation(what)?, duration(time)?),
        ("expect", _) => return Err("`expect` needs `within` and a time at its end".into()),
        (verb, [machine]) => {
            let deed = deed(verb).ok_or_else(|| format!("there is no action `{verb}`"))?;
            Action::Do(deed, name(machine))
        }
        (verb, _) if deed(verb).is_some() => return Err(format!("`{verb}` needs the name of one machine")),
        ("wait", _) => return Err("`wait` needs a time".into()),
        ("cut" | "heal", _) => return Err(format!("`{verb}` needs the names of two machines")),
        (verb, _) => return Err(format!("there is no action `{verb}`")),
    };
    Ok(Some(action))
}

impl Deed {
    const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillAll,
        Self::Terminate,
        Self::Freeze,
        Self::Thaw,
        Self::PowerOff,
        Self::PowerOn,
        Self::Unplug,
        Self::Plug,
        Self::Stop,
        Self::Start,
    ];

    const fn verb(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "killall",
            Self::Terminate => "term",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::PowerOff => "poweroff",
            Self::PowerOn => "poweron",
            Self::Unplug => "unplug",
            Self::Plug => "plug",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }

    /// Whether the VIP should leave a holder to whom it is done.
    pub(super) const fn is_fault(self) -> bool {
        match self {
            Self::Kill | Self::KillAll | Self::Terminate | Self::Freeze | Self::PowerOff | Self::Unplug => {
                true
            }
            Self::Thaw | Self::PowerOn | Self::Plug | Self::Stop | Self::Start => false,
        }
    }

    /// What a reader is told, before the machine's name.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the daemon on",
            Self::KillAll => "kill -9 of daemon and guard on",
            Self::Terminate => "SIGTERM to the daemon on",
            Self::Freeze => "SIGSTOP of daemon and guard on",
            Self::Thaw => "SIGCONT of daemon and guard on",
            Self::PowerOff => "power off:",
            Self::PowerOn => "power on:",
            Self::Unplug => "cable pulled:",
            Self::Plug => "cable plugged in:",
            Self::Stop => "stopped:",
            Self::Start => "started:",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(name) => f.write_str(name),
            Self::Holder => f.write_str("the holder"),
            Self::Victim => f.write_str("the victim"),
        }
    }
}

fn deed(verb: &str) -> Option<Deed> {
    Deed::ALL.into_iter().find(|deed| deed.verb() == verb)
}

fn name(word: &str) -> Name {
    match word {
        "holder" => Name::Holder,
        "victim" => Name::Victim,
        _ => Name::Given(word.into()),
    }
}

fn expectation(words: &[&str]) -> Result<Expectation, String> {
    match words {
        ["holder", node] => Ok(Expectation::Holder(name(node))),
        ["takeover"] => Ok(Expectation::Takeover),
        ["answer"] => Ok(Expectation::Answer(None)),
        ["answer", "from", web] => Ok(Expectation::Answer(Some(name(web)))),
        _ => Err("`expect` knows `holder NODE`, `takeover` and `answer [from WEB]`".into()),
    }
}

/// The longest time that a script can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A whole number with its unit, `ms`, `s` or `m`; at most an hour.
fn duration(word: &str) -> Result<Duration, String> {
    let problem = || format!("`{word}` is no time: write `100ms`, `2s` or `1m`, at most an hour");
    let digits = word.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?;
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().map_err(|_| problem())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    let time = Duration::from_millis(milliseconds.ok_or_else(problem)?);
    if time > LONGEST_WAIT { Err(problem()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_reads() {
        let given = |name: &str| Name::Given(name.into());
        let second = Duration::from_secs(1);
        let table = [
            ("say  it is 8080#1 ", Action::Say("it is 8080#1".into())),
            ("wait 100ms", Action::Wait(Duration::from_millis(100))),
            ("kill holder", Action::Do(Deed::Kill, Name::Holder)),
            ("start victim", Action::Do(Deed::Start, Name::Victim)),
            ("poweroff ha1 # why", Action::Do(Deed::PowerOff, given("ha1"))),
            ("cut ha1 web1", Action::Cut { from: given("ha1"), to: given("web1") }),
            ("heal ha1 web1", Action::Heal { from: given("ha1"), to: given("web1") }),
            ("expect holder ha2 within 1s", Action::Expect(Expectation::Holder(given("ha2")), second)),
            ("expect takeover within 1s", Action::Expect(Expectation::Takeover, second)),
            ("expect answer within 1s", Action::Expect(Expectation::Answer(None), second)),
            (
                "expect answer from web1 within 1s",
                Action::Expect(Expectation::Answer(Some(given("web1"))), second),
            ),
        ];
        for (text, action) in table {
            assert_eq!(parse_line(text), Ok(Some(action)), "{text}");
        }
        for deed in Deed::ALL {
            assert_eq!(parse_line(&format!("{} ha1", deed.verb())), Ok(Some(Action::Do(deed, given("ha1")))));
        }
        assert_eq!(parse_line("  # nothing"), Ok(None));
    }

    #[test]
    fn every_wrong_line_is_told_by_its_number() {
        let text = "kil ha1\n\nwait\nwait 5\nkill\nkill ha1 ha2\ncut ha1\nexpect holder ha1\nexpect rain within 1s\nwait 2h\n";
        let errors = parse(text).unwrap_err();
        let numbers: Vec<usize> = errors.iter().map(|error| error.number).collect();
        assert_eq!(numbers, [1, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(errors[0].to_string().contains("`kil`"), "{}", errors[0]);
    }

    #[test]
    fn the_demo_reads_and_its_waits_fit_into_its_time() {
        let lines = parse(DEMO).unwrap();
        let waits = lines.iter().map(|line| match &line.action {
            Action::Wait(time) | Action::Expect(_, time) => *time,
            Action::Say(_) | Action::Do(..) | Action::Cut { .. } | Action::Heal { .. } => Duration::ZERO,
        });
        assert!(waits.sum::<Duration>() < Duration::from_secs(38));
    }
}
