//! Settings of a section: those that are inherited and matter here, and a word on all others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Remarks;
use super::syntax::{Line, Section};
use super::time;

/// Longer than haproxy's timers can count, and what our file takes.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600 * 3600);

/// What a section passes on or has itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) mode: Option<String>,
    pub(super) balance: Option<(String, usize)>,
    /// `connect`, `client`, `server`, `check`, `tunnel`.
    pub(super) timeouts: BTreeMap<String, Duration>,
    pub(super) default_backend: Option<(String, usize)>,
    /// The parameters of `default-server`.
    pub(super) default_server: Vec<String>,
}

impl Settings {
    /// Takes a section's lines; `http` is the mode where it is known.
    pub(super) fn read(&mut self, section: &Section, http: Option<bool>, remarks: &mut Remarks<'_>) {
        for line in &section.lines {
            self.line(line, http, remarks);
        }
    }

    fn line(&mut self, line: &Line, http: Option<bool>, remarks: &mut Remarks<'_>) {
        let what = line.shown();
        match (line.word(0), line.word(1)) {
            ("mode", mode) => self.mode = Some(mode.to_owned()),
            ("balance", algorithm) => self.balance = Some((algorithm.to_owned(), line.number)),
            ("default_backend", name) => self.default_backend = Some((name.to_owned(), line.number)),
            ("default-server", _) => self.default_server.extend(line.after(1).into_iter().map(str::to_owned)),
            ("timeout", which) => self.timeout(which, line, remarks),
            // Read with the section as a whole.
            ("bind" | "server", _) if http.is_some() => {}
            ("option", option) => option_line(option, line, http, remarks),
            ("tcp-check", "connect") if line.words.len() == 2 => {}
            ("tcp-check" | "http-check", _) => {
                remarks.left_out(line.number, format!("{what}: a check opens a connection, and that is all"));
            }
            ("no", "log")
            | (
                "log"
                | "log-format"
                | "log-tag"
                | "errorfile"
                | "errorfiles"
                | "errorloc"
                | "errorloc302"
                | "errorloc303"
                | "stats"
                | "description"
                | "id"
                | "enabled"
                | "unique-id-format"
                | "hash-type"
                | "clitimeout"
                | "load-server-state-from-file"
                | "retry-on"
                | "backlog"
                | "monitor-net",
                _,
            ) => {
                remarks.note(line.number, format!("{what} isn't needed"));
            }
            ("retries", _) => {
                remarks.note(
                    line.number,
                    format!("{what}: a connection that fails is tried on the next backend"),
                );
            }
            (
                "http-request"
                | "http-response"
                | "http-after-response"
                | "reqadd"
                | "rspadd"
                | "reqrep"
                | "rsprep"
                | "redirect"
                | "cookie"
                | "capture"
                | "compression"
                | "monitor-uri"
                | "http-reuse"
                | "http-error"
                | "http-send-name-header"
                | "unique-id-header",
                _,
            ) => http_only(line, http, remarks),
            (
                "acl" | "use_backend" | "use-server" | "tcp-request" | "tcp-response" | "stick-table"
                | "stick" | "appsession" | "maxconn" | "fullconn" | "rate-limit" | "source" | "disabled"
                | "dispatch" | "server-template" | "persist" | "force-persist" | "ignore-persist" | "filter"
                | "email-alert",
                _,
            ) => {
                remarks.left_out(line.number, format!("{what} has no counterpart"));
            }
            _ => remarks.left_out(line.number, format!("{what} is not known")),
        }
    }

    fn timeout(&mut self, which: &str, line: &Line, remarks: &mut Remarks<'_>) {
        match which {
            "connect" | "client" | "server" | "check" | "tunnel" => match time(line.word(2)) {
                Some(time) if !time.is_zero() && time <= LONGEST_TIMEOUT => {
                    self.timeouts.insert(which.to_owned(), time);
                    if which == "tunnel" {
                        let text =
                            format!("{}: `timeout.client` and `timeout.server` take its place", line.shown());
                        remarks.note(line.number, text);
                    }
                }
                _ => remarks.left_out(line.number, format!("{} has no time that counts", line.shown())),
            },
            "http-request" | "http-keep-alive" | "queue" | "tarpit" => {
                remarks.note(line.number, format!("{}: there is nothing here to wait for so", line.shown()));
            }
            "client-fin" | "server-fin" => {
                remarks.left_out(line.number, format!("{} has no counterpart", line.shown()));
            }
            _ => remarks.left_out(line.number, format!("{} is not known", line.shown())),
        }
    }
}

fn option_line(option: &str, line: &Line, http: Option<bool>, remarks: &mut Remarks<'_>) {
    let what = line.shown();
    match option {
        "tcp-check" => {}
        "redispatch" => {
            remarks.note(
                line.number,
                format!("{what}: a connection that fails is tried on the next backend anyway"),
            );
        }
        "tcplog"
        | "httplog"
        | "dontlognull"
        | "dontlog-normal"
        | "log-health-checks"
        | "log-separate-errors"
        | "logasap"
        | "socket-stats"
        | "contstats"
        | "httpslog"
        | "splice-auto"
        | "splice-request"
        | "splice-response"
        | "tcp-smart-accept"
        | "tcp-smart-connect"
        | "abortonclose"
        | "prefer-last-server"
        | "allbackups"
        | "srvtcpka"
        | "clitcpka"
        | "tcpka"
        | "nolinger" => {
            remarks.note(line.number, format!("{what} isn't needed"));
        }
        "httpchk" | "ssl-hello-chk" | "smtpchk" | "mysql-check" | "pgsql-check" | "redis-check"
        | "ldap-check" | "external-check" | "spop-check" => {
            remarks.left_out(line.number, format!("{what}: a check opens a connection, and that is all"));
        }
        "forwardfor"
        | "httpclose"
        | "http-server-close"
        | "http-keep-alive"
        | "forceclose"
        | "originalto"
        | "http-pretend-keepalive"
        | "http-no-delay"
        | "http-buffer-request"
        | "http-use-htx"
        | "http-ignore-probes"
        | "accept-invalid-http-request"
        | "accept-invalid-http-response"
        | "disable-h2-upgrade"
        | "forwarded"
        | "http_proxy"
        | "http-use-proxy-header" => {
            http_only(line, http, remarks);
        }
        _ => remarks.left_out(line.number, format!("{what} is not known")),
    }
}

/// What haproxy does to requests: it matters where a section is in mode http only.
fn http_only(line: &Line, http: Option<bool>, remarks: &mut Remarks<'_>) {
    let what = line.shown();
    if http == Some(true) {
        remarks.left_out(
            line.number,
            format!("{what}: connections are carried, nothing inside HTTP is looked at"),
        );
    } else {
        remarks.note(line.number, format!("{what} has no effect outside of `mode http`"));
    }
}

/// `global` is about haproxy's own process.
pub(super) fn globals(section: &Section, remarks: &mut Remarks<'_>) {
    for line in &section.lines {
        let what = line.shown();
        match line.word(0) {
            "log" | "log-tag" | "log-send-hostname" => {
                remarks.note(line.number, format!("{what}: chinthe logs to its standard error"));
            }
            "chroot"
            | "user"
            | "group"
            | "uid"
            | "gid"
            | "daemon"
            | "pidfile"
            | "master-worker"
            | "nbproc"
            | "nbthread"
            | "cpu-map"
            | "thread-groups"
            | "ulimit-n"
            | "quiet"
            | "debug"
            | "node"
            | "description"
            | "hard-stop-after"
            | "presetenv"
            | "setenv"
            | "unix-bind"
            | "localpeer"
            | "mworker-max-reloads"
            | "server-state-file"
            | "server-state-base"
            | "insecure-fork-wanted"
            | "stats-file"
            | "set-dumpable"
            | "zero-warning"
            | "strict-limits"
            | "spread-checks"
            | "maxpipes"
            | "external-check"
            | "insecure-setuid-wanted"
            | "h1-case-adjust-file"
            | "fd-hard-limit"
            | "noepoll"
            | "nosplice" => {
                remarks.note(line.number, format!("{what} is about haproxy's own process"));
            }
            "stats" => remarks.note(line.number, format!("{what}: chinthe has its own admin socket")),
            "ca-base" | "crt-base" | "key-base" | "issuers-chain-path" => {
                remarks.note(line.number, format!("{what}: no certificate is used here"));
            }
            keyword if keyword.starts_with("ssl-") || keyword.starts_with("tune.ssl") => {
                remarks.note(line.number, format!("`{keyword}`: TLS passes through as it is"));
            }
            keyword if keyword.starts_with("tune.") || keyword.starts_with("lua-") => {
                remarks.note(line.number, format!("{what} is about haproxy's own process"));
            }
            "maxconn" | "maxconnrate" | "maxsslconn" | "maxsslrate" | "maxsessrate" => {
                remarks.left_out(line.number, format!("{what}: the number of connections is not limited"));
            }
            _ => remarks.left_out(line.number, format!("{what} is not known")),
        }
    }
}
