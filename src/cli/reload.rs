//! `chinthe reload`: a node reads its configuration again.

use std::process::ExitCode;

use super::arguments::ReloadArguments;
use super::asked;
use super::output::{Failure, complain, print};
use crate::admin::{self, ClientError, Reloaded};

/// The node goes on as before, or nobody knows.
const REFUSED: u8 = 1;

pub(super) fn run(arguments: &ReloadArguments) -> Result<ExitCode, Failure> {
    let asked = asked::target(&arguments.asked)?;
    let file = asked::token_file(arguments.token_file.clone(), &asked, &arguments.asked);
    let token = file.as_deref().map(admin::read_token_text).transpose();
    let token = token.map_err(|error| Failure::new(REFUSED, &error).with_hint(error.hint()))?;
    match admin::reload(&asked, token.as_deref(), arguments.cluster) {
        Ok(reloaded) => {
            print(&told(&reloaded))?;
            Ok(ExitCode::SUCCESS)
        }
        // The node's own report: every mistake, with its hint.
        Err(ClientError::NotReloaded { report }) => {
            complain(&format!("{}\n", report.trim_end()));
            Ok(ExitCode::from(REFUSED))
        }
        Err(error) => Err(Failure::new(REFUSED, &error).with_hint(error.hint())),
    }
}

/// What the node goes on by, in a line, and who has been asked to follow, in another.
fn told(Reloaded { config, changed, asked }: &Reloaded) -> String {
    let short = config.get(..8).unwrap_or(config);
    let reloaded = match changed[..] {
        [] => format!("reloaded: nothing has changed (config {short})\n"),
        _ => format!("reloaded: {} (config {short})\n", changed.join(", ")),
    };
    match asked[..] {
        [] => reloaded,
        _ => format!("{reloaded}asked: {}; `chinthe status` shows what each runs by\n", asked.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_is_told_after_what_has_changed() {
        let asked = vec!["ha2".into(), "ha3".into()];
        assert_eq!(
            told(&Reloaded { config: "5f2c00ab12345678".into(), changed: Vec::new(), asked }),
            "reloaded: nothing has changed (config 5f2c00ab)\nasked: ha2, ha3; `chinthe status` shows what each runs by\n"
        );
    }

    #[test]
    fn what_has_changed_is_told_in_one_line() {
        let told = |changed: &[&str]| {
            let changed = changed.iter().map(ToString::to_string).collect();
            told(&Reloaded { config: "5f2c00ab12345678".into(), changed, asked: Vec::new() })
        };
        assert_eq!(told(&[]), "reloaded: nothing has changed (config 5f2c00ab)\n");
        assert_eq!(
            told(&["myweb/web1: weight", "metrics"]),
            "reloaded: myweb/web1: weight, metrics (config 5f2c00ab)\n"
        );
    }
}
