//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::contender::{CONTENDERS, Contender};
use crate::fault::{FAULTS, Fault};

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) faults: Vec<Fault>,
    pub(crate) contenders: Vec<Contender>,
    /// Of each row.
    pub(crate) runs: usize,
    /// Labs at a time, of those that don't share the machine anyway.
    pub(crate) jobs: usize,
    /// No fault lasts longer.
    pub(crate) longest: Duration,
    /// Where the logs of chinthe's nodes go, a file for each run.
    pub(crate) logs: Option<PathBuf>,
    /// Where the JSON goes.
    pub(crate) output: PathBuf,
    /// Whether it is only tried that everything works.
    pub(crate) smoke: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Run(Options),
    Help,
    List,
}

pub(crate) const HELP: &str = "\
Usage: cargo bench --bench failover -- [OPTIONS]

  --faults A,B      these faults; all that last no longer than a minute unless said
  --contenders X,Y  these contenders; all but those of IPv6 unless said
  --long            the faults that last for minutes, each once: heavy-loss and busy
  --longest N       no fault lasts longer than N seconds
  --runs N          runs of each row (10)
  --jobs N          labs at a time (1): more are faster, and noisier. What lasts long is suffered by all at once anyway
  --logs DIR        a file for each run of chinthe's that makes a failover: what its nodes logged. Of a run that
                    breaks it is printed anyway
  --output FILE     where the JSON goes (target/tmp/failover.json)
  --smoke           one quick fault, chinthe and keepalived once each, to see that all of it works
  --list            lists faults and contenders
";

impl Request {
    /// Reads it.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            faults: FAULTS.into_iter().filter(|fault| !fault.is_long()).collect(),
            contenders: CONTENDERS.into_iter().filter(|contender| !contender.ipv6).collect(),
            runs: 10,
            jobs: 1,
            longest: Duration::MAX,
            logs: None,
            output: PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/failover.json")),
            smoke: false,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--faults" => {
                    options.faults = each(&value()?, |name| {
                        Fault::named(name)
                            .ok_or_else(|| unknown("fault", name, FAULTS.map(Fault::name).as_slice()))
                    })?;
                }
                "--contenders" => {
                    options.contenders = each(&value()?, |name| {
                        let names = CONTENDERS.map(|contender| contender.name);
                        Contender::named(name).ok_or_else(|| unknown("contender", name, &names))
                    })?;
                }
                "--long" => {
                    options.faults = FAULTS.into_iter().filter(|fault| fault.is_long()).collect();
                    options.runs = 1;
                }
                "--longest" => options.longest = Duration::from_secs(number(&value()?)? as u64),
                "--runs" => options.runs = number(&value()?)?,
                "--jobs" => options.jobs = number(&value()?)?,
                "--logs" => options.logs = Some(directory(&value()?)?),
                "--output" => options.output = value()?.into(),
                "--smoke" => {
                    options.smoke = true;
                    (options.runs, options.jobs) = (1, 1);
                    options.faults = vec![Fault::Terminate];
                    options.contenders.retain(|contender| ["expert", "none-2"].contains(&contender.name));
                }
                "--list" => return Ok(Self::List),
                "--help" | "-h" => return Ok(Self::Help),
                // What cargo adds of its own accord.
                "--bench" => {}
                other => return Err(format!("`{other}` isn't an option\nhint: --help tells what is")),
            }
        }
        Ok(Self::Run(options))
    }
}

fn each<T>(list: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.split(',').map(one).collect()
}

/// A directory that is there from now on.
fn directory(path: &str) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path).map_err(|e| format!("{path}: {e}"))?;
    // Runs look for it from elsewhere.
    std::path::absolute(path).map_err(|e| format!("{path}: {e}"))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or(format!("`{text}` isn't a number above 0"))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("there is no {what} `{name}`\nhint: {}", known.join(", "))
}
