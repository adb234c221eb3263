//! What can be said on the command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::telemetry::log::Format;

/// Where the configuration is unless said otherwise.
pub(super) const CONFIG_FILE: &str = "/etc/chinthe/chinthe.toml";

/// One daemon in place of the keepalived and haproxy pair, for any number of nodes.
#[derive(Debug, Parser)]
#[command(name = "chinthe", version, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    Run(RunArguments),
    /// Judge a configuration file alone: never the host, never the secret
    Check(CheckArguments),
    /// Turn keepalived's and haproxy's files into one of ours
    Import(ImportArguments),
    /// Run a whole cluster on this machine, without root
    Lab(LabArguments),
    /// Show the cluster as a node sees it; exit status 3 if it is degraded
    Status(StatusArguments),
    /// Show what has happened, as a node has told it
    Events(EventsArguments),
    /// Give a backend no new connections, or a node no VIP; open connections and probes go on
    Drain(StateArguments),
    /// As drain, and no probes either
    Maint(StateArguments),
    /// End drain and maint
    Ready(StateArguments),
    /// Change a backend's share of new connections, without a reload
    Weight(WeightArguments),
    /// Move a VIP to a node, and keep it there for a while, 10 minutes unless said
    Move(MoveArguments),
    /// Have a node read its configuration again, without closing a connection or moving a VIP
    Reload(ReloadArguments),
    /// Print a scrape configuration for Prometheus that finds the whole cluster
    PrometheusConfig(PrometheusArguments),
    /// The daemon's child that holds the addresses; started by the daemon itself
    #[command(hide = true)]
    Guard,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub(super) config: PathBuf,
    /// This node's name, where `[cluster.nodes]` and the hostname don't tell
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// How log lines look; `auto` is what `CHINTHE_LOG_FORMAT` says, else text
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = log_format())]
    pub(super) log: Format,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("files").required(true).multiple(true).args(["keepalived", "haproxy"]))]
pub(super) struct ImportArguments {
    /// keepalived's files, of one node or of all nodes
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) keepalived: Vec<PathBuf>,
    /// haproxy's files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) haproxy: Vec<PathBuf>,
    /// Where to write the configuration; standard output unless said
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct LabArguments {
    /// How many load balancers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(super) nodes: u8,
    /// How many web servers
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(super) backends: u8,
    /// Run these configurations in place of the built-in one
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) config: Vec<PathBuf>,
    /// Where the VIP is reachable on this machine: `http://127.0.0.1:PORT`
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(super) port: u16,
    /// Let things happen by themselves: `demo`, or a file with a step on each line
    #[arg(long, value_name = "NAME-or-FILE")]
    pub(super) script: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Print the document itself, as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) asked: AskedArguments,
}

#[derive(Debug, Args)]
pub(super) struct EventsArguments {
    /// Go on with whatever happens, until Ctrl-C
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Print each event as a JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) asked: AskedArguments,
}

#[derive(Debug, Args)]
pub(super) struct PrometheusArguments {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub(super) config: PathBuf,
}

/// Which node is asked.
#[derive(Debug, Args)]
pub(super) struct AskedArguments {
    /// The configuration that names the local node's socket
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub(super) config: PathBuf,
    /// The local node's socket, in place of the configured one
    #[arg(long, value_name = "PATH", conflicts_with = "admin")]
    pub(super) socket: Option<PathBuf>,
    /// Ask the node at this admin address instead of the local one
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true).args(["target", "node"]))]
pub(super) struct StateArguments {
    /// `SERVICE/BACKEND`, or `*/BACKEND` for the backends of this name on all services
    #[arg(value_name = "SERVICE/BACKEND")]
    pub(super) target: Option<String>,
    /// A node, in place of a backend
    #[arg(long, value_name = "NODE")]
    pub(super) node: Option<String>,
    #[command(flatten)]
    pub(super) say: SayArguments,
}

#[derive(Debug, Args)]
pub(super) struct WeightArguments {
    /// `SERVICE/BACKEND`, or `*/BACKEND` for the backends of this name on all services
    #[arg(value_name = "SERVICE/BACKEND")]
    pub(super) target: String,
    /// 0 to 256, or `default` for the configured one
    #[arg(value_name = "WEIGHT", value_parser = share)]
    pub(super) weight: Share,
    #[command(flatten)]
    pub(super) say: SayArguments,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["node", "home"]))]
pub(super) struct MoveArguments {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(super) vip: String,
    /// The node that is to hold it, whenever it can
    #[arg(value_name = "NODE")]
    pub(super) node: Option<String>,
    /// Leave it to the priorities again
    #[arg(long)]
    pub(super) home: bool,
    #[command(flatten)]
    pub(super) say: SayArguments,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Then have all other nodes do the same, each with its own file
    #[arg(long)]
    pub(super) cluster: bool,
    #[command(flatten)]
    pub(super) asked: AskedArguments,
    /// The token that a change over TCP needs, in place of the configuration's `admin.token_file`
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

/// A weight; `None` is the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(pub(super) Option<u16>);

fn share(text: &str) -> Result<Share, &'static str> {
    match text {
        "default" => Ok(Share(None)),
        number => match number.parse() {
            Ok(weight @ 0..=256) => Ok(Share(Some(weight))),
            Ok(_) | Err(_) => Err("use 0 to 256, or `default`"),
        },
    }
}

/// How something is said.
#[derive(Debug, Args)]
pub(super) struct SayArguments {
    /// How long it is to hold, as in `30m` or `2h`; until changed unless said
    #[arg(long = "for", value_name = "DURATION")]
    pub(super) lasting: Option<String>,
    #[command(flatten)]
    pub(super) asked: AskedArguments,
    /// The token that a change over TCP needs, in place of the configuration's `admin.token_file`
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

fn log_format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::WORDS).try_map(|word| word.parse::<Format>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map(|all| all.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_arguments_dont_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_takes_its_defaults() {
        let Ok(Command::Run(run)) = parse("chinthe run") else { panic!("it is a command") };
        assert_eq!(run.config, PathBuf::from("/etc/chinthe/chinthe.toml"));
        assert_eq!((run.node, run.log), (None, Format::Auto));
    }

    #[test]
    fn import_takes_several_files_after_one_flag() {
        let line = "chinthe import --keepalived a b --haproxy c --output d";
        let Ok(Command::Import(import)) = parse(line) else { panic!("it is a command") };
        assert_eq!(import.keepalived, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(import.haproxy, [PathBuf::from("c")]);
        assert_eq!(import.output, Some(PathBuf::from("d")));
    }

    #[test]
    fn import_wants_at_least_one_file() {
        assert_eq!(parse("chinthe import").err(), Some(ErrorKind::MissingRequiredArgument));
        assert!(parse("chinthe import --haproxy c").is_ok());
    }

    #[test]
    fn a_state_is_of_a_backend_or_of_a_node() {
        let Ok(Command::Drain(drain)) = parse("chinthe drain myweb/web1 --for 30m") else {
            panic!("it is a command")
        };
        assert_eq!(drain.target.as_deref(), Some("myweb/web1"));
        assert_eq!(drain.say.lasting.as_deref(), Some("30m"));
        assert!(parse("chinthe maint --node ha1 --admin http://ha2:7781 --token-file t").is_ok());
        assert_eq!(parse("chinthe ready").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("chinthe ready myweb/web1 --node ha1").err(), Some(ErrorKind::ArgumentConflict));
    }

    #[test]
    fn a_weight_is_a_number_in_range_or_the_default() {
        for (text, share) in [("0", Some(0)), ("256", Some(256)), ("default", None)] {
            let Ok(Command::Weight(weight)) = parse(&format!("chinthe weight */web1 {text}")) else {
                panic!("it is a command")
            };
            assert_eq!(weight.weight, Share(share));
        }
        for text in ["257", "-1", "x", "1.5"] {
            assert!(parse(&format!("chinthe weight a/b {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_vip_is_moved_to_a_node_or_left_to_the_priorities() {
        let Ok(Command::Move(there)) = parse("chinthe move vi_1 ha2 --for 1h") else {
            panic!("it is a command")
        };
        assert_eq!((there.vip.as_str(), there.node.as_deref()), ("vi_1", Some("ha2")));
        assert!(parse("chinthe move vi_1 --home").is_ok());
        assert_eq!(parse("chinthe move vi_1").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("chinthe move vi_1 ha2 --home").err(), Some(ErrorKind::ArgumentConflict));
    }

    #[test]
    fn a_log_format_that_doesnt_exist_is_a_usage_error() {
        assert_eq!(parse("chinthe run --log xml").err(), Some(ErrorKind::InvalidValue));
        let Ok(Command::Run(run)) = parse("chinthe run --log json") else { panic!("it is a command") };
        assert_eq!(run.log, Format::Json);
    }
}
