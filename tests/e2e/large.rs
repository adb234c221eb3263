//! The page of a large cluster in a real browser: 100 members, 10 VIPs, 200 backends. The admin server is the daemon's
//! own; what it shows is made up, since no machine has room for that many.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chinthe::admin::{Entry, Listeners, Sources, Status, Token, Words, read_token, serve};
use chinthe::lab::Sandbox;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Outcome, Test};
use crate::page::is_here;
use crate::scene;

pub(crate) const TESTS: &[Test] =
    &[Test::inside("page::of_a_hundred_members_it_stays_usable", stays_usable).within(LONG).alone()];

/// A browser's start takes seconds, on a busy machine many.
const LONG: Duration = Duration::from_secs(120);

const MEMBERS: usize = 100;
const VIPS: usize = 10;
const SERVICES: usize = 20;
const BACKENDS: usize = 10;

/// What an update may take in the browser, from asking to the last change on the page: far more than it does, and
/// still little enough to be looked at.
const UPDATE_MS: f64 = 2000.0;

const TOKEN: &str = "0123456789abcdef-of-a-large-one";
const PORT: u16 = 7781;

fn stays_usable(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    // For its hub, where the browser is.
    let lab = scene::post(sandbox).without_daemons().start()?;
    let holder = Arc::new(AtomicUsize::new(0));
    let token = token(&lab.logs().with_file_name("token"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let shown = Arc::clone(&holder);
    // It ends with the test's process.
    thread::spawn(move || answer(listener, shown, token));

    let browser = Browser::start(&lab.logs().with_file_name("browser"))?;
    browser.open(&format!("http://127.0.0.1:{PORT}/"))?;
    let count =
        |selector: &str| browser.run(&format!("return document.querySelectorAll('{selector}').length"));
    assert_eq!(count("#nodes tbody tr")?, MEMBERS);
    assert_eq!(count(".service tbody tr")?, SERVICES * BACKENDS);

    let took = browser.run(
        "return (async () => {
            const took = [];
            for (let update = 0; update < 9; update++) {
                while (looking) await new Promise((done) => setTimeout(done, 5));
                const began = performance.now();
                await look();
                document.body.getBoundingClientRect(); // laid out, too
                took.push(performance.now() - began);
            }
            return took;
        })()",
    )?;
    let mut took: Vec<f64> = took.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    took.sort_by(f64::total_cmp);
    let bytes =
        browser.run("return fetch('/').then((answer) => answer.text()).then((text) => text.length)")?;
    eprintln!("updates of {bytes} characters took {took:.0?} ms");
    assert_eq!(took.len(), 9);
    assert!(took[4] < UPDATE_MS, "{took:.0?} ms");

    holder.store(42, Ordering::Relaxed);
    browser.wait_for(
        "node042 to be shown",
        "document.querySelector('.vip .holder strong').textContent === 'node042'",
    )?;
    // What an operator does there works as in a small one.
    browser.write("#operate input", TOKEN)?;
    browser.click("#operate form button")?;
    browser.click("button[data-name='vip9'][data-state='move']")?;
    assert_eq!(count("#ask-to option")?, MEMBERS - 1);
    browser.click("#ask-no")?;
    browser.click("button[data-name='service19/web9'][data-state='drain']")?;
    assert_eq!(browser.run("return document.querySelector('#ask').open")?, true);
    assert_eq!(browser.run("return document.querySelector('#stale').hidden")?, true);
    let said = browser.console()?;
    assert!(said.is_empty(), "{said:#?}");
    Ok(())
}

fn token(path: &Path) -> Result<Token, Box<dyn Error>> {
    fs::write(path, TOKEN)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(read_token(path)?)
}

/// Answers as a node of that cluster would.
fn answer(listener: TcpListener, holder: Arc<AtomicUsize>, token: Token) {
    let looks = AtomicUsize::new(0);
    let sources = Sources {
        metrics: Box::new(|_, _| String::new()),
        status: Box::new(move || {
            Arc::new(status(holder.load(Ordering::Relaxed), looks.fetch_add(1, Ordering::Relaxed)))
        }),
        alive: Box::new(|| Ok(())),
        ready: Box::new(|| vec![("listening".to_owned(), true)]),
        targets: Box::new(Vec::new),
        words: Box::new(Words::default),
        change: Box::new(|_, _, _| {}),
        reload: Box::new(|_, _, _| {}),
        events: Box::pin(stream::iter((0..500).map(event)).chain(stream::pending())),
        events_dropped: Box::new(|| 0),
        token: Some(token),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    listener.set_nonblocking(true).expect("it is a socket");
    let Err(error) = runtime.block_on(serve(Listeners { tcp: Some(listener), socket: None }, sources));
    eprintln!("the server has ended: {error}");
}

fn event(number: usize) -> Entry {
    let document = json!({
        "timestamp": "2026-11-22T10:00:00Z", "level": "INFO", "event": "member.joined",
        "member": format!("node{number:03}"), "address": "192.0.2.1", "state": "alive",
    });
    let Value::Object(document) = document else { unreachable!("an object was written") };
    Entry { at: "2026-11-22T10:00:00Z".parse().expect("a moment"), document }
}

/// What there is to see; every look finds some of it otherwise.
fn status(holder: usize, look: usize) -> Status {
    let node = |at: usize| format!("node{at:03}");
    let health = |up: bool| if up { "up" } else { "down" };
    let members = (0..MEMBERS).map(|at| {
        json!({
            "name": node(at), "address": format!("192.0.2.{at}"), "version": "0.1.0", "config": "5f2c5f2c5f2c5f2c",
            "state": if at == (look + 50) % MEMBERS { "suspect" } else { "alive" }, "self": at == 0,
        })
    });
    let vips = (0..VIPS).map(|at| {
        let candidates = (0..MEMBERS).map(|at| {
            json!({ "node": node(at), "effective_priority": 100 + (at + look) % 20, "eligible": true })
        });
        json!({
            "name": format!("vip{at}"), "addresses": [format!("198.51.100.{at}/24")], "interface": "eth1",
            "state": if holder == 0 { "active" } else { "backup" }, "holder": node(holder), "base_priority": 100,
            "effective_priority": 100, "term": look, "since": "2026-11-22T10:00:00Z", "fence": "on",
            "candidates": candidates.collect::<Vec<_>>(),
        })
    });
    let services = (0..SERVICES).map(|service| {
        let backends = (0..BACKENDS).map(|at| {
            let odd = (look + at + service) % MEMBERS;
            let views: serde_json::Map<String, Value> =
                (0..MEMBERS).map(|member| (node(member), health(member != odd).into())).collect();
            json!({
                "name": format!("web{at}"), "address": format!("203.0.113.{at}:80"), "health": health(odd != 0),
                "admin": "ready", "agreed": "up", "views": views, "weight": 1, "connections_active": look,
            })
        });
        json!({
            "name": format!("service{service}"), "connections_active": look, "connections_total": 1000 * look,
            "backends": backends.collect::<Vec<_>>(),
        })
    });
    let status = json!({
        "cluster": "large", "node": node(0), "ready": true, "quorum": "none",
        "members": members.collect::<Vec<_>>(), "vips": vips.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
    });
    serde_json::from_value(status).expect("it is a status")
}
