//! `haproxy_*`: what boards and alerts made for `HAProxy`'s own exporter ask for, of a proxy in TCP mode.
//!
//! A service is both a frontend and a backend there, a backend of ours is a server. What has no true number here
//! (highest rates ever seen, times in a queue that doesn't exist, anything of HTTP or TLS) is left out rather
//! than shown as zero.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::counts::BackendCounts;
use super::exposition::Page;
use super::families::Family;
use super::metrics::Metrics;
use super::process;
use super::sample::{BackendSample, Sample, ServiceSample};
use crate::core::{AdminState, Verdict};

const PROXY: &[&str] = &["proxy"];
const PROXY_STATE: &[&str] = &["proxy", "state"];
const SERVER: &[&str] = &["proxy", "server"];
const SERVER_STATE: &[&str] = &["proxy", "server", "state"];

macro_rules! families {
    ($($kind:ident $constant:ident $name:literal, $labels:expr, $help:literal;)*) => {
        $(const $constant: Family = Family::$kind($name, $labels, $help);)*
        /// All of them, for tests.
        #[cfg(test)]
        pub(super) const ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    gauge PROCESS_NBPROC "haproxy_process_nbproc", &[], "Number of processes; always 1.";
    gauge PROCESS_NBTHREAD "haproxy_process_nbthread", &[], "Threads that move bytes.";
    gauge PROCESS_START "haproxy_process_start_time_seconds", &[], "Start time since the epoch.";
    gauge PROCESS_UPTIME "haproxy_process_uptime_seconds", &[], "Time since the start.";
    gauge PROCESS_MAX_FDS "haproxy_process_max_fds", &[], "Descriptors that may be open.";
    gauge PROCESS_MAX_CONNECTIONS "haproxy_process_max_connections", &[], "Connections that may be open.";
    gauge PROCESS_HARD_MAX "haproxy_process_hard_max_connections", &[], "Connections that may be open, as at the start.";
    gauge PROCESS_CURRENT "haproxy_process_current_connections", &[], "Clients' connections that are open.";
    counter PROCESS_CONNECTIONS "haproxy_process_connections_total", &[], "Clients' connections accepted.";
    counter PROCESS_REQUESTS "haproxy_process_requests_total", &[], "Clients' connections accepted: a request each, in TCP.";
    counter PROCESS_BYTES_OUT "haproxy_process_bytes_out_total", &[], "Bytes sent to clients.";
    counter PROCESS_DROPPED_LOGS "haproxy_process_dropped_logs_total", &[], "Log lines given up.";

    gauge FRONTEND_STATUS "haproxy_frontend_status", PROXY_STATE, "State of the frontend: 1 for the one it is in.";
    gauge FRONTEND_CURRENT "haproxy_frontend_current_sessions", PROXY, "Clients' connections that are open.";
    gauge FRONTEND_LIMIT "haproxy_frontend_limit_sessions", PROXY, "Connections that may be open, over all frontends.";
    counter FRONTEND_SESSIONS "haproxy_frontend_sessions_total", PROXY, "Clients' connections accepted.";
    counter FRONTEND_CONNECTIONS "haproxy_frontend_connections_total", PROXY, "Clients' connections accepted.";
    counter FRONTEND_BYTES_IN "haproxy_frontend_bytes_in_total", PROXY, "Bytes from clients.";
    counter FRONTEND_BYTES_OUT "haproxy_frontend_bytes_out_total", PROXY, "Bytes to clients.";
    counter FRONTEND_DENIED "haproxy_frontend_denied_connections_total", PROXY, "Connections refused by a rule; there are none.";
    counter FRONTEND_DENIED_SESSIONS "haproxy_frontend_denied_sessions_total", PROXY, "Sessions refused by a rule; there are none.";
    counter FRONTEND_INTERNAL "haproxy_frontend_internal_errors_total", PROXY, "Connections closed for want of this host's resources.";

    gauge BACKEND_STATUS "haproxy_backend_status", PROXY_STATE, "State of the backend: 1 for the one it is in.";
    gauge BACKEND_ACTIVE "haproxy_backend_active_servers", PROXY, "Servers in use.";
    gauge BACKEND_BACKUP "haproxy_backend_backup_servers", PROXY, "Backup servers in use; there are none.";
    gauge BACKEND_WEIGHT "haproxy_backend_weight", PROXY, "Weight of the servers in use.";
    gauge BACKEND_UWEIGHT "haproxy_backend_uweight", PROXY, "Weight of the servers in use, as operators set it.";
    gauge BACKEND_CURRENT "haproxy_backend_current_sessions", PROXY, "Connections to servers that are open.";
    gauge BACKEND_QUEUE "haproxy_backend_current_queue", PROXY, "Requests in a queue; there is none.";
    gauge BACKEND_LIMIT "haproxy_backend_limit_sessions", PROXY, "Connections that may be open, over all backends.";
    gauge BACKEND_CONNECT_TIME "haproxy_backend_connect_time_average_seconds", PROXY, "How long a connect takes, on average since the start.";
    counter BACKEND_SESSIONS "haproxy_backend_sessions_total", PROXY, "Clients' connections handed to it.";
    counter BACKEND_ATTEMPTS "haproxy_backend_connection_attempts_total", PROXY, "Attempts to connect to a server.";
    counter BACKEND_ERRORS "haproxy_backend_connection_errors_total", PROXY, "Attempts to connect to a server that failed.";
    counter BACKEND_SELECTED "haproxy_backend_loadbalanced_total", PROXY, "Times that a server of it was selected.";
    counter BACKEND_RETRIES "haproxy_backend_retry_warnings_total", PROXY, "Further attempts at the same server; there are none.";
    counter BACKEND_REDISPATCHES "haproxy_backend_redispatch_warnings_total", PROXY, "Further attempts, at another server.";
    counter BACKEND_ABORTS "haproxy_backend_client_aborts_total", PROXY, "Clients that broke off before a server had answered.";
    counter BACKEND_INTERNAL "haproxy_backend_internal_errors_total", PROXY, "Connections closed for want of this host's resources.";
    counter BACKEND_UP_DOWN "haproxy_backend_check_up_down_total", PROXY, "Times that a server of it went down.";
    counter BACKEND_BYTES_IN "haproxy_backend_bytes_in_total", PROXY, "Bytes to servers.";
    counter BACKEND_BYTES_OUT "haproxy_backend_bytes_out_total", PROXY, "Bytes from servers.";

    gauge SERVER_STATUS "haproxy_server_status", SERVER_STATE, "State of the server: 1 for the one it is in.";
    gauge SERVER_WEIGHT "haproxy_server_weight", SERVER, "The server's weight.";
    gauge SERVER_UWEIGHT "haproxy_server_uweight", SERVER, "The server's weight, as operators set it.";
    gauge SERVER_CURRENT "haproxy_server_current_sessions", SERVER, "Connections to the server that are open.";
    gauge SERVER_USED "haproxy_server_used_connections_current", SERVER, "Connections to the server that are in use.";
    gauge SERVER_QUEUE "haproxy_server_current_queue", SERVER, "Requests in a queue; there is none.";
    gauge SERVER_CHECK_DURATION "haproxy_server_check_duration_seconds", SERVER, "How long the last check took that succeeded.";
    counter SERVER_SESSIONS "haproxy_server_sessions_total", SERVER, "Connections established.";
    counter SERVER_ATTEMPTS "haproxy_server_connection_attempts_total", SERVER, "Attempts to connect.";
    counter SERVER_ERRORS "haproxy_server_connection_errors_total", SERVER, "Attempts to connect that failed.";
    counter SERVER_SELECTED "haproxy_server_loadbalanced_total", SERVER, "Times that the server was selected.";
    gauge SERVER_LAST_CHANGE "haproxy_server_check_last_change_seconds", SERVER, "Time since the last change between up and down.";
    counter SERVER_CHECK_FAILURES "haproxy_server_check_failures_total", SERVER, "Checks that failed.";
    counter SERVER_UP_DOWN "haproxy_server_check_up_down_total", SERVER, "Times that it went down.";
    counter SERVER_BYTES_IN "haproxy_server_bytes_in_total", SERVER, "Bytes to the server.";
    counter SERVER_BYTES_OUT "haproxy_server_bytes_out_total", SERVER, "Bytes from the server.";
}

/// Puts all of it on the page.
pub(super) fn show(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    process(page, sample);
    let (absent, nothing) = (ServiceSample::default(), BackendSample::default());
    for (at, ((proxy, names), counts)) in metrics.layout.services.iter().zip(&metrics.services).enumerate() {
        let service = sample.services.get(at).unwrap_or(&absent);
        frontend(page, proxy, service, sample.proxy.connections_limit);
        backend(page, proxy, service, &counts.backends, sample.proxy.connections_limit);
        for (at, (name, counts)) in names.iter().zip(&counts.backends).enumerate() {
            server(page, proxy, name, service.backends.get(at).unwrap_or(&nothing), counts);
        }
    }
}

fn process(page: &mut Page, sample: &Sample) {
    let sum = |what: fn(&ServiceSample) -> u64| sample.services.iter().map(what).sum::<u64>();
    page.count(&PROCESS_NBPROC, &[], 1);
    page.count(&PROCESS_NBTHREAD, &[], sample.proxy.workers);
    for (family, value) in process::read() {
        match family.name {
            "process_start_time_seconds" => {
                page.add(&PROCESS_START, &[], value);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                page.add(&PROCESS_UPTIME, &[], (now.as_secs_f64() - value).max(0.0));
            }
            "process_max_fds" => page.add(&PROCESS_MAX_FDS, &[], value),
            _ => {}
        }
    }
    page.count(&PROCESS_MAX_CONNECTIONS, &[], sample.proxy.connections_limit);
    page.count(&PROCESS_HARD_MAX, &[], sample.proxy.connections_limit);
    page.count(&PROCESS_CURRENT, &[], sum(|service| service.connections_active));
    page.count(&PROCESS_CONNECTIONS, &[], sum(|service| service.connections_total));
    page.count(&PROCESS_REQUESTS, &[], sum(|service| service.connections_total));
    page.count(&PROCESS_BYTES_OUT, &[], sum(|service| service.bytes_out));
    page.count(&PROCESS_DROPPED_LOGS, &[], sample.log_lines_dropped);
}

fn frontend(page: &mut Page, proxy: &str, service: &ServiceSample, limit: u64) {
    page.flag(&FRONTEND_STATUS, &[proxy, "UP"], true);
    page.flag(&FRONTEND_STATUS, &[proxy, "DOWN"], false);
    page.count(&FRONTEND_CURRENT, &[proxy], service.connections_active);
    page.count(&FRONTEND_LIMIT, &[proxy], limit);
    page.count(&FRONTEND_SESSIONS, &[proxy], service.connections_total);
    page.count(&FRONTEND_CONNECTIONS, &[proxy], service.connections_total);
    page.count(&FRONTEND_BYTES_IN, &[proxy], service.bytes_in);
    page.count(&FRONTEND_BYTES_OUT, &[proxy], service.bytes_out);
    page.count(&FRONTEND_DENIED, &[proxy], 0);
    page.count(&FRONTEND_DENIED_SESSIONS, &[proxy], 0);
    page.count(&FRONTEND_INTERNAL, &[proxy], rejected(service, "resources"));
}

fn backend(page: &mut Page, proxy: &str, service: &ServiceSample, counts: &[Arc<BackendCounts>], limit: u64) {
    let used = || service.backends.iter().filter(|server| server.up);
    let sum = |what: fn(&BackendSample) -> u64| service.backends.iter().map(what).sum::<u64>();
    page.flag(&BACKEND_STATUS, &[proxy, "UP"], service.up);
    page.flag(&BACKEND_STATUS, &[proxy, "DOWN"], !service.up);
    page.count(&BACKEND_ACTIVE, &[proxy], used().count() as u64);
    page.count(&BACKEND_BACKUP, &[proxy], 0);
    let weight = used().map(|server| u64::from(server.weight)).sum();
    page.count(&BACKEND_WEIGHT, &[proxy], weight);
    page.count(&BACKEND_UWEIGHT, &[proxy], weight);
    page.count(&BACKEND_CURRENT, &[proxy], sum(|server| server.connections_active));
    page.count(&BACKEND_QUEUE, &[proxy], 0);
    page.count(&BACKEND_LIMIT, &[proxy], limit);
    let connects: u64 = service.connect_durations.buckets.iter().sum();
    let average = service.connect_durations.sum.as_secs_f64() / connects.max(1) as f64;
    page.add(&BACKEND_CONNECT_TIME, &[proxy], average);
    page.count(&BACKEND_SESSIONS, &[proxy], service.connections_total);
    page.count(&BACKEND_ATTEMPTS, &[proxy], sum(|server| server.connections_total + failures(server)));
    page.count(&BACKEND_SELECTED, &[proxy], sum(|server| server.connections_total + failures(server)));
    page.count(&BACKEND_ERRORS, &[proxy], sum(failures));
    page.count(&BACKEND_RETRIES, &[proxy], 0);
    page.count(&BACKEND_REDISPATCHES, &[proxy], service.connect_retries);
    page.count(&BACKEND_ABORTS, &[proxy], rejected(service, "client_gone"));
    page.count(&BACKEND_INTERNAL, &[proxy], rejected(service, "resources"));
    page.count(&BACKEND_UP_DOWN, &[proxy], counts.iter().map(|counts| went_down(counts)).sum());
    page.count(&BACKEND_BYTES_IN, &[proxy], service.bytes_in);
    page.count(&BACKEND_BYTES_OUT, &[proxy], service.bytes_out);
}

fn server(page: &mut Page, proxy: &str, server: &str, sample: &BackendSample, counts: &BackendCounts) {
    let labels = [proxy, server];
    let state = match (sample.admin, sample.up) {
        (Some(AdminState::Maint), _) => "MAINT",
        (Some(AdminState::Drain), _) => "DRAIN",
        (Some(AdminState::Ready) | None, true) => "UP",
        (Some(AdminState::Ready) | None, false) => "DOWN",
    };
    for known in ["UP", "DOWN", "MAINT", "DRAIN"] {
        page.flag(&SERVER_STATUS, &[proxy, server, known], known == state);
    }
    page.count(&SERVER_WEIGHT, &labels, sample.weight.into());
    page.count(&SERVER_UWEIGHT, &labels, sample.weight.into());
    page.count(&SERVER_CURRENT, &labels, sample.connections_active);
    page.count(&SERVER_USED, &labels, sample.connections_active);
    page.count(&SERVER_QUEUE, &labels, 0);
    let took = Duration::from_nanos(counts.check_duration.load(Ordering::Relaxed));
    page.seconds(&SERVER_CHECK_DURATION, &labels, took);
    page.count(&SERVER_SESSIONS, &labels, sample.connections_total);
    page.count(&SERVER_ATTEMPTS, &labels, sample.connections_total + failures(sample));
    page.count(&SERVER_SELECTED, &labels, sample.connections_total + failures(sample));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    page.seconds(&SERVER_LAST_CHANGE, &labels, now.saturating_sub(counts.since.get()));
    page.count(&SERVER_ERRORS, &labels, failures(sample));
    // The first result is success; the others are reasons.
    page.count(
        &SERVER_CHECK_FAILURES,
        &labels,
        counts.checks[1..].iter().map(super::counts::Count::get).sum(),
    );
    page.count(&SERVER_UP_DOWN, &labels, went_down(counts));
    page.count(&SERVER_BYTES_IN, &labels, sample.bytes_in);
    page.count(&SERVER_BYTES_OUT, &labels, sample.bytes_out);
}

fn went_down(counts: &BackendCounts) -> u64 {
    counts.transitions[Verdict::Down as usize].get()
}

fn failures(server: &BackendSample) -> u64 {
    server.connect_failures.iter().map(|(_, count)| count).sum()
}

fn rejected(service: &ServiceSample, why: &str) -> u64 {
    service.rejected.iter().filter(|(reason, _)| *reason == why).map(|(_, count)| count).sum()
}
