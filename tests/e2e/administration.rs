//! What operators say to a node, and what then goes over the wire.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox, TARGET};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, POST, Scene, backend, is_ready};
use crate::sniffer::Sniffer;

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "administration::a_drained_backend_gets_no_new_connection_and_keeps_its_open_ones",
        a_drained_backend_keeps_its_open_connections,
    ),
    Test::inside("administration::probes_go_on_in_drain_and_stop_in_maint", probes_go_on_in_drain_alone),
    Test::inside("administration::ready_from_maint_is_up_at_once_by_a_new_probe", ready_from_maint),
    Test::inside("administration::a_word_with_an_end_runs_out_by_itself", a_word_runs_out),
    Test::inside("administration::a_weight_of_0_gets_nothing_until_it_is_the_default_again", a_weight_of_0),
    Test::inside("administration::a_drained_node_hands_its_vip_over_and_gets_it_back", a_drained_node),
    Test::inside("administration::over_tcp_the_token_opens_and_nothing_else", over_tcp_the_token_opens),
    Test::inside("administration::a_token_that_others_can_read_stops_the_start", an_open_token),
    Test::inside("administration::a_slip_changes_nothing_and_says_what_was_meant", a_slip_changes_nothing),
];

/// From a command's end to the last new connection that it forbids.
const TAKES_EFFECT: Duration = Duration::from_secs(1);

/// Runs a client command on `node`: its exit status, and what it said on both outputs.
fn say(node: &Node, words: &[&str]) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let output = node.command().args(words).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(said)?))
}

/// As [`say`], of what has to go well.
fn well(node: &Node, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let (status, said) = say(node, words)?;
    if status == Some(0) { Ok(said) } else { Err(format!("{words:?}: {status:?}: {said}").into()) }
}

fn shows(node: &Node, web: &str, admin: &str, health: &str) -> bool {
    backend(node, web).is_ok_and(|backend| backend["admin"] == admin && backend["health"] == health)
}

fn admin_metric(node: &Node, web: &str, state: &str) -> Result<Option<f64>, LabError> {
    node.metric(&format!(
        "chinthe_backend_admin_state{{service=\"myweb\",backend=\"{web}\",state=\"{state}\"}}"
    ))
}

/// Waits until the client has had answers to so many requests begun after `since`; how many each backend gave.
fn answers(scene: &Scene, since: Instant) -> Result<[u64; 2], LabError> {
    const ENOUGH: u64 = 50;
    scene
        .lab
        .wait_for("the client's answers", PATIENCE, || scene.prober.tally(since).answered() >= ENOUGH)?;
    let tally = scene.prober.tally(since);
    assert_eq!(tally.failed(), 0, "{tally:?}");
    Ok(["web1", "web2"].map(|web| tally.answers.get(web).copied().unwrap_or_default()))
}

/// Connections by way of the VIP whose request has only begun.
fn open_connections(lab: &Lab) -> Result<Vec<TcpStream>, Box<dyn Error>> {
    const MANY: usize = 8;
    let open = || {
        let mut stream = TcpStream::connect(TARGET)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n")?;
        Ok(stream)
    };
    let space = lab.machine("client")?.space();
    Ok((0..MANY).map(|_| space.within(open)).collect::<Result<_, _>>()?)
}

/// Ends the request: who answers.
fn finish(mut stream: TcpStream) -> Result<String, Box<dyn Error>> {
    stream.write_all(b"\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(body.trim().to_owned())
}

fn a_drained_backend_keeps_its_open_connections(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    scene.lab.wait_for("both backends to be up", PATIENCE, || {
        ["web1", "web2"].into_iter().all(|web| shows(ha1, web, "ready", "up"))
    })?;
    let accepted = scene.lab.web("web1")?.accepted();
    let open = open_connections(&scene.lab)?;
    scene.lab.wait_for("web1 to have some of them", PATIENCE, || {
        scene.lab.web("web1").is_ok_and(|web| web.accepted() > accepted)
            && backend(ha1, "web1").is_ok_and(|b| b["connections_active"].as_u64() >= Some(2))
    })?;

    assert_eq!(well(ha1, &["drain", "myweb/web1"])?, "myweb/web1: drain\n");
    let told = Instant::now();
    assert!(shows(ha1, "web1", "drain", "up"));
    let [web1, web2] = answers(&scene, told + TAKES_EFFECT)?;
    assert_eq!(web1, 0, "beside {web2} of web2's");
    assert_eq!(admin_metric(ha1, "web1", "drain")?, Some(1.0));
    assert_eq!(admin_metric(ha1, "web1", "ready")?, Some(0.0));
    let up = "chinthe_backend_up{service=\"myweb\",backend=\"web1\"}";
    assert_eq!(ha1.metric(up)?, Some(0.0));

    // They have been open all the time, and are answered by whom they were begun with.
    let answers_to_open: Vec<String> = open.into_iter().map(finish).collect::<Result<_, _>>()?;
    for web in ["web1", "web2"] {
        assert!(answers_to_open.iter().any(|answer| answer == web), "{answers_to_open:?}");
    }

    assert_eq!(well(ha1, &["ready", "myweb/web1"])?, "myweb/web1: ready\n");
    let [web1, _] = answers(&scene, Instant::now() + TAKES_EFFECT)?;
    assert!(web1 > 0);
    let log = ha1.log_text();
    assert!(
        log.contains("operator.said of=\"myweb/web1\" says=\"drain\" lasting=\"until changed\" by=\"user "),
        "{log}"
    );
    Ok(())
}

/// Said on the node that has no clients, and counted at the web servers: each connection that it asks for is a probe.
fn probes_go_on_in_drain_alone(sandbox: Sandbox) -> Outcome {
    let config = POST.replace("interval = \"2s\"", "interval = \"200ms\"");
    assert_ne!(config, POST);
    let scene = Scene::of(scene::post(sandbox).config(ConfigSource::Text(config)))?;
    let ha2 = scene.node("ha2")?;
    let address = scene.lab.machine("ha2")?.address();
    let mut at = ["web1", "web2"].map(|web| scene.lab.machine(web).map(Sniffer::at));
    let [Ok(Ok(web1)), Ok(Ok(web2))] = &mut at else { return Err("no sniffers".into()) };
    let probes = |sniffer: &mut Sniffer| {
        sniffer.heard().iter().filter(|p| p.opens() && p.from == address && p.port == 80).count()
    };
    scene.lab.wait_for("web1 to be up", PATIENCE, || shows(ha2, "web1", "ready", "up"))?;

    well(ha2, &["drain", "myweb/web1"])?;
    probes(web1);
    let mut seen = 0;
    scene.lab.wait_for("probes of a drained backend", PATIENCE, || {
        seen += probes(web1);
        seen >= 3
    })?;
    assert!(shows(ha2, "web1", "drain", "up"));

    well(ha2, &["maint", "myweb/web1"])?;
    // The one that may have been under way.
    scene.lab.wait_for("probes of web2", PATIENCE, || probes(web2) > 0)?;
    probes(web1);
    let (mut paused, mut others) = (0, 0);
    scene.lab.wait_for("probes of web2", PATIENCE, || {
        paused += probes(web1);
        others += probes(web2);
        others >= 10
    })?;
    assert_eq!(paused, 0, "beside {others} of web2");
    assert!(shows(ha2, "web1", "maint", "unknown"));
    assert_eq!(admin_metric(ha2, "web1", "maint")?, Some(1.0));
    Ok(())
}

fn ready_from_maint(sandbox: Sandbox) -> Outcome {
    // So rarely that whoever waits for the next regular probe is too late.
    let config = POST.replace("interval = \"2s\"", "interval = \"10m\"");
    let scene = Scene::of(scene::post(sandbox).config(ConfigSource::Text(config)))?;
    let ha1 = scene.node("ha1")?;
    scene.lab.wait_for("web1 to be up", PATIENCE, || shows(ha1, "web1", "ready", "up"))?;
    assert_eq!(well(ha1, &["maint", "*/web1"])?, "*/web1: maint\n");
    assert!(shows(ha1, "web1", "maint", "unknown"));
    well(ha1, &["ready", "*/web1"])?;
    scene.lab.wait_for("web1 to be up", PATIENCE, || shows(ha1, "web1", "ready", "up"))?;
    let log = ha1.log_text();
    assert!(log.contains("backend.up service=\"myweb\" backend=\"web1\" from=\"unknown\""), "{log}");
    // It never was by way of down.
    assert!(!log.contains("backend.down"), "{log}");

    // A dead one doesn't come back by a word.
    well(ha1, &["maint", "myweb/web1"])?;
    scene.lab.web("web1")?.stop()?;
    well(ha1, &["ready", "myweb/web1"])?;
    scene.lab.wait_for("web1 to be down", PATIENCE, || shows(ha1, "web1", "ready", "down"))?;
    Ok(())
}

fn a_word_runs_out(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let said = well(ha1, &["drain", "myweb/web1", "--for", "1s"])?;
    assert!(said.starts_with("myweb/web1: drain until 20") && said.ends_with("Z\n"), "{said}");
    scene.lab.wait_for("it to run out", PATIENCE, || shows(ha1, "web1", "ready", "up"))?;
    assert_eq!(ha1.get("/api/v1/administration")?, "{\"words\":[]}\n");
    let [web1, _] = answers(&scene, Instant::now() + TAKES_EFFECT)?;
    assert!(web1 > 0);
    Ok(())
}

fn a_weight_of_0(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let weighs = |weight: u64| backend(ha1, "web1").is_ok_and(|backend| backend["weight"] == weight);
    assert_eq!(well(ha1, &["weight", "myweb/web1", "0"])?, "myweb/web1: weight 0\n");
    assert!(weighs(0));
    let [web1, _] = answers(&scene, Instant::now() + TAKES_EFFECT)?;
    assert_eq!(web1, 0);
    well(ha1, &["weight", "myweb/web1", "3"])?;
    assert!(weighs(3));
    let [web1, web2] = answers(&scene, Instant::now() + TAKES_EFFECT)?;
    assert!(web1 > 2 * web2 && web2 > 0, "{web1} and {web2}");
    assert_eq!(well(ha1, &["weight", "myweb/web1", "default"])?, "myweb/web1: weight as configured\n");
    assert!(weighs(1));
    Ok(())
}

fn a_drained_node(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let say = |words: &'static [&'static str]| {
        move |lab: &Lab| {
            let said = well(lab.node("ha1")?, words);
            said.map(drop).map_err(|e| LabError::Answer { node: "ha1".into(), problem: e.to_string() })
        }
    };
    let (began, _) = scene.moves_to("ha2", FAILOVER, say(&["drain", "--node", "ha1"]))?;
    scene.assert_only_in_flight_failed(began);
    let ha1 = scene.node("ha1")?;
    let status = ha1.status()?;
    assert_eq!((&status["vips"][0]["state"], &status["ready"]), (&"initialize".into(), &true.into()));
    assert_eq!(status["members"][0]["admin"], "drain", "{status}");
    assert!(ha1.log_text().contains("to=\"initialize\" cause=\"drain\""), "{}", ha1.log_text());
    let (code, table) = self::say(ha1, &["status"])?;
    assert!(code.is_some() && table.contains("alive (drain)"), "{table}");
    scene.moves_to("ha1", FAILOVER, say(&["ready", "--node", "ha1"]))?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

/// One daemon with a token, which is in a file of this mode.
fn with_token(sandbox: Sandbox, mode: u32) -> Result<Lab, Box<dyn Error>> {
    let lab = scene::post(sandbox).nodes(1).without_daemons().start()?;
    let ha1 = lab.node("ha1")?;
    let path = ha1.config().with_extension("token");
    fs::write(&path, format!("{TOKEN}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    let admin = format!("[admin]\ntoken_file = \"{}\"\n\n[[vip]]", path.display());
    fs::write(ha1.config(), POST.replacen("[[vip]]", &admin, 1))?;
    ha1.start()?;
    Ok(lab)
}

const TOKEN: &str = "0123456789abcdef-of-the-lab";
const URL: &str = "http://127.0.0.1:7781";

fn over_tcp_the_token_opens(sandbox: Sandbox) -> Outcome {
    let lab = with_token(sandbox, 0o600)?;
    let ha1 = lab.node("ha1")?;
    lab.wait_for("the node to be ready", PATIENCE, || is_ready(ha1))?;
    let right = ha1.config().with_extension("token");
    let wrong = ha1.config().with_extension("wrong");
    fs::write(&wrong, format!("{TOKEN}x"))?;
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600))?;
    let [right, wrong] = [&right, &wrong].map(|path| path.to_string_lossy().into_owned());

    let drain = ["drain", "myweb/web1", "--admin", URL];
    let (status, said) = say(ha1, &[&drain[..], &["--token-file", &wrong]].concat())?;
    assert!(status == Some(1) && said.contains("the token is wrong"), "{said}");
    let (status, said) = say(ha1, &drain)?;
    assert!(status == Some(1) && said.contains("hint: `--token-file FILE`"), "{said}");
    assert!(backend(ha1, "web1")?["admin"] == "ready");

    well(ha1, &[&drain[..], &["--token-file", &right]].concat())?;
    assert!(backend(ha1, "web1")?["admin"] == "drain");
    // The configuration says where the token is, too.
    let config = ha1.config().to_string_lossy().into_owned();
    well(ha1, &["ready", "myweb/web1", "--admin", URL, "--config", &config])?;
    assert!(backend(ha1, "web1")?["admin"] == "ready");
    assert!(ha1.log_text().contains("by=\"token from 127.0.0.1\""), "{}", ha1.log_text());
    Ok(())
}

fn an_open_token(sandbox: Sandbox) -> Outcome {
    let lab = with_token(sandbox, 0o644)?;
    let ha1 = lab.node("ha1")?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(2));
    lab.wait_for("its last words", PATIENCE, || ha1.log_text().contains("hint: `chmod 640` it"))?;
    Ok(())
}

fn a_slip_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    for (words, part) in [
        (&["drain", "myweb/wep1"][..], "there is no backend of `myweb` called `wep1`: did you mean `web1`?"),
        (&["drain", "mywep/web1"], "there is no service called `mywep`: did you mean `myweb`?"),
        (&["maint", "*/web11"], "there is no backend called `web11`: did you mean `web1`?"),
        (&["drain", "--node", "ha3"], "there is no node called `ha3`: did you mean `ha1`?"),
        (&["drain", "web1"], "`SERVICE/BACKEND`"),
        (&["drain", "myweb/web1", "--for", "30"], "has no unit"),
        // Without a configured token the network changes nothing.
        (&["drain", "myweb/web1", "--admin", URL], "admin.token_file"),
    ] {
        let (status, said) = say(ha1, words)?;
        assert_eq!(status, Some(1), "{words:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(part) && said.contains("\nhint: "), "{said}");
    }
    assert_eq!(ha1.get("/api/v1/administration")?, "{\"words\":[]}\n");
    assert!(shows(ha1, "web1", "ready", "up"));
    Ok(())
}
