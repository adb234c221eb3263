//! `chinthe drain`, `maint`, `ready`, `weight` and `move`: what operators want of backends, nodes and VIPs.

use std::process::ExitCode;
use std::time::Duration;

use super::arguments::{MoveArguments, SayArguments, StateArguments, WeightArguments};
use super::asked;
use super::output::{Failure, print};
use crate::admin::administration::{self, BadChange, Subject, Word};
use crate::admin::{self, Change, Words};
use crate::core::{self, AdminState, Setting};

/// Nothing was changed, or nobody knows.
const REFUSED: u8 = 1;
/// How long a VIP stays where it was moved to, unless said.
const PINNED: &str = "10m";

/// A state: of a backend, or of a node.
pub(super) fn state(state: AdminState, arguments: &StateArguments) -> Result<ExitCode, Failure> {
    let subject = match (&arguments.target, &arguments.node) {
        (_, Some(node)) => Subject::Node(node.clone()),
        (target, None) => Subject::Backend(target.clone().unwrap_or_default()),
    };
    say(subject, Setting::State(state), &arguments.say)
}

/// Where a VIP is to be.
pub(super) fn place(arguments: &MoveArguments) -> Result<ExitCode, Failure> {
    let holder = arguments.node.clone();
    // One that is forgotten about would surprise whoever comes next.
    let pinned = holder.is_some().then_some(PINNED);
    let lasting = arguments.say.lasting.as_deref().or(pinned);
    let vip = Subject::Vip(arguments.vip.clone());
    ask_for(vip, lasting, &arguments.say, |target, lasting| Change::holder(target, holder, lasting))
}

/// A backend's weight.
pub(super) fn weight(arguments: &WeightArguments) -> Result<ExitCode, Failure> {
    say(Subject::Backend(arguments.target.clone()), Setting::Weight(arguments.weight.0), &arguments.say)
}

fn say(subject: Subject, setting: Setting, arguments: &SayArguments) -> Result<ExitCode, Failure> {
    ask_for(subject, arguments.lasting.as_deref(), arguments, |target, lasting| Change {
        target,
        settings: vec![setting],
        holder: None,
        lasting,
    })
}

fn ask_for(
    subject: Subject,
    lasting: Option<&str>,
    arguments: &SayArguments,
    change: impl FnOnce(core::Target, Option<Duration>) -> Change,
) -> Result<ExitCode, Failure> {
    let named = subject.to_string();
    let target = core::Target::try_from(subject).map_err(|error: BadChange| {
        Failure::new(REFUSED, format!("`{named}`: {error}"))
            .with_hint("`chinthe status` lists services, backends and nodes")
    })?;
    let lasting = lasting.map(administration::lasting).transpose().map_err(|error| {
        Failure::new(REFUSED, format!("`--for`: {error}")).with_hint("write it like `30m` or `2h`")
    })?;
    let change = change(target, lasting);

    let asked = asked::target(&arguments.asked)?;
    let file = asked::token_file(arguments.token_file.clone(), &asked, &arguments.asked);
    let token = file.as_deref().map(admin::read_token_text).transpose();
    let token = token.map_err(|error| Failure::new(REFUSED, &error).with_hint(error.hint()))?;
    let words = admin::change(&asked, token.as_deref(), &change)
        .map_err(|error| Failure::new(REFUSED, &error).with_hint(error.hint()))?;
    print(&told(&named, &words))?;
    Ok(ExitCode::SUCCESS)
}

/// What holds now, in one line.
fn told(subject: &str, words: &Words) -> String {
    let one = |word: &Word| match word.expires {
        Some(expires) => format!("{} until {expires:.0}", word.setting),
        None => word.setting.to_string(),
    };
    let all: Vec<String> = words.words.iter().map(one).collect();
    format!("{subject}: {}\n", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::administration;

    #[test]
    fn what_holds_is_told_in_one_line() {
        let moment = |text: &str| text.parse().expect("a moment");
        let word = |setting, expires| administration::Word {
            target: Subject::Backend("myweb/web1".into()),
            setting,
            since: moment("2026-11-22T10:00:00.123Z"),
            expires,
            by: "ha1".into(),
        };
        let words = Words {
            words: vec![
                word(
                    administration::Setting::State(admin::status::AdminState::Drain),
                    Some(moment("2026-11-22T10:30:00.123Z")),
                ),
                word(administration::Setting::Weight(Some(5)), None),
            ],
        };
        assert_eq!(told("myweb/web1", &words), "myweb/web1: drain until 2026-11-22T10:30:00Z, weight 5\n");
    }
}
