//! Reloads: the file changes under a daemon that holds its VIP and serves its clients.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, LabError, Node, Sandbox, TARGET};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, POST, Scene, backend};

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "reload::a_hundred_reloads_under_load_lose_no_request_and_move_no_vip",
        a_hundred_reloads_lose_nothing,
    )
    .within(Duration::from_secs(120)),
    Test::inside(
        "reload::a_lower_priority_hands_over_and_the_old_one_takes_back",
        a_lower_priority_hands_over,
    ),
    Test::inside("reload::backends_come_go_and_change_their_share_while_clients_ask", backends_come_and_go),
    Test::inside(
        "reload::an_open_connection_outlives_the_removal_of_its_backend",
        an_open_connection_goes_on,
    ),
    Test::inside("reload::a_file_with_a_mistake_changes_nothing_and_is_reported", a_mistake_changes_nothing),
    Test::inside(
        "reload::what_only_a_restart_can_change_is_refused_by_name",
        what_needs_a_restart_is_refused,
    ),
    Test::inside("reload::what_operators_have_said_still_holds", what_operators_said_holds),
    Test::inside("reload::a_check_that_is_added_counts_and_one_that_is_removed_does_not", checks_come_and_go),
    Test::inside("reload::services_come_and_go_and_listen_elsewhere_while_clients_ask", services_come_and_go),
    Test::inside("reload::said_for_the_cluster_every_node_reads_its_own_file_once", the_whole_cluster),
];

/// Runs `chinthe reload` on `node`: its exit status, and what it said on both outputs.
fn reload(node: &Node) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let output = node.command().arg("reload").arg("--config").arg(node.config()).output()?;
    Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

/// Gives `node` another file, and has it read: what it says of that.
fn change(node: &Node, config: &str) -> Result<String, Box<dyn Error>> {
    fs::write(node.config(), config)?;
    match reload(node)? {
        (Some(0), said) => Ok(said),
        (status, said) => Err(format!("{status:?}: {said}").into()),
    }
}

/// What `node` runs by, from its own file.
fn file(node: &Node) -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(node.config())?)
}

/// `text` with `to` in place of `from`, which has to be there.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replace(from, to)
}

/// The digest of `node`'s configuration, as it says itself.
fn digest(node: &Node) -> Result<String, LabError> {
    let status = node.status()?;
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let own = members.iter().find(|member| member["self"] == true);
    Ok(own.and_then(|own| own["config"].as_str()).unwrap_or_default().to_owned())
}

fn term(node: &Node) -> Result<u64, LabError> {
    Ok(node.status()?["vips"][0]["term"].as_u64().unwrap_or_default())
}

fn shows(node: &Node, web: &str, health: &str) -> bool {
    backend(node, web).is_ok_and(|backend| backend["health"] == health)
}

fn reloads(node: &Node, result: &str) -> Result<Option<f64>, LabError> {
    node.metric(&format!("chinthe_config_reloads_total{{result=\"{result}\"}}"))
}

/// Both of ha1's backends are up, and served by it.
fn ready(scene: &Scene) -> Result<(), LabError> {
    let ha1 = scene.node("ha1")?;
    scene.lab.wait_for("both backends to be up", PATIENCE, || {
        ["web1", "web2"].into_iter().all(|web| shows(ha1, web, "up"))
    })
}

/// Waits until the client has had answers to so many requests begun after `since`, none of which failed.
fn answers(scene: &Scene, since: Instant, enough: u64) -> Result<[u64; 2], LabError> {
    let tally = || scene.prober.tally(since);
    scene.lab.wait_for("the client's answers", PATIENCE, || tally().answered() >= enough)?;
    let tally = tally();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    Ok(["web1", "web2"].map(|web| tally.answers.get(web).copied().unwrap_or_default()))
}

/// Each with another weight than the one before, and every tenth by a signal.
fn a_hundred_reloads_lose_nothing(sandbox: Sandbox) -> Outcome {
    const MANY: u32 = 100;
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let other = with(&original, "name = \"web1\"", "name = \"web1\"\nweight = 2");
    let (began, first_term) = (Instant::now(), term(ha1)?);
    let descriptors = || ha1.metric("process_open_fds");
    let connections = "chinthe_backend_connections_total{service=\"myweb\",backend=\"web2\"}";
    let mut counted = ha1.metric(connections)?;
    // Whatever is opened once and for all.
    change(ha1, &original)?;
    let before = descriptors()?.ok_or("no descriptors")?;
    for round in 1..=MANY {
        let text = if round % 2 == 0 { &original } else { &other };
        if round % 10 == 0 {
            let done = reloads(ha1, "success")?;
            fs::write(ha1.config(), text)?;
            ha1.reload()?;
            scene.lab.wait_for("the signal's reload", PATIENCE, || {
                reloads(ha1, "success").is_ok_and(|now| now > done)
            })?;
        } else {
            change(ha1, text)?;
        }
        let now = ha1.metric(connections)?;
        assert!(now >= counted, "a counter went back: {counted:?}, {now:?}");
        counted = now;
    }
    answers(&scene, began, 50)?;
    assert_eq!(term(ha1)?, first_term, "nobody elected anybody");
    assert_eq!(reloads(ha1, "success")?, Some(f64::from(MANY + 1)));
    // A few belong to clients who are being served.
    let after = descriptors()?.ok_or("no descriptors")?;
    assert!(after < before + 30.0, "{before} descriptors before, {after} after");
    scene.lab.wait_for("the log to have the last signal's reload", PATIENCE, || {
        ha1.log_text().matches("by=\"SIGHUP\"").count() == MANY as usize / 10
    })?;
    let log = ha1.log_text();
    assert!(!log.contains("vip.released") && !log.contains("node.not_ready"), "{log}");
    scene.assert_one_answerer();
    Ok(())
}

fn a_lower_priority_hands_over(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let (ha1, ha2) = (scene.node("ha1")?, scene.node("ha2")?);
    let original = file(ha1)?;
    let lower = with(&original, "ha1 = 101", "ha1 = 90");
    let before = digest(ha1)?;
    let lowered = |lab: &chinthe::lab::Lab| {
        let said = change(lab.node("ha1")?, &lower)
            .map_err(|error| LabError::Answer { node: "ha1".into(), problem: error.to_string() })?;
        assert!(said.starts_with("reloaded: vi_1: priority (config "), "{said}");
        Ok(())
    };
    let (began, _) = scene.moves_to("ha2", FAILOVER, lowered)?;
    scene.assert_only_in_flight_failed(began);
    let now = digest(ha1)?;
    assert_ne!(before, now);
    assert_eq!(ha1.status()?["vips"][0]["effective_priority"], 92);
    scene.lab.wait_for("ha2 to see what ha1 runs by", PATIENCE, || {
        ha2.status().is_ok_and(|status| status["members"].to_string().contains(&now))
    })?;
    // The views of a member with another file count nothing; by the same file they do again.
    change(ha2, &with(&file(ha2)?, "ha1 = 101", "ha1 = 90"))?;
    scene.lab.wait_for("ha1 to know what ha2 sees", PATIENCE, || {
        backend(ha1, "web1").is_ok_and(|backend| backend["views"]["ha2"] == "up")
    })?;
    scene.moves_to("ha1", FAILOVER, |lab| {
        change(lab.node("ha1")?, &original)
            .map_err(|error| LabError::Answer { node: "ha1".into(), problem: error.to_string() })?;
        Ok(())
    })?;
    assert_eq!(digest(ha1)?, before);
    scene.assert_one_answerer();
    Ok(())
}

fn backends_come_and_go(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let began = Instant::now();

    let web2 = original.find("\n[[service.backend]]\nname = \"web2\"").ok_or("no web2")?;
    let alone = &original[..web2];
    let said = change(ha1, alone)?;
    assert!(said.starts_with("reloaded: backend myweb/web2 removed (config "), "{said}");
    assert!(backend(ha1, "web2").is_err());
    assert!(!ha1.metrics()?.contains("backend=\"web2\""), "its series are gone with it");
    let [_, web2] = answers(&scene, Instant::now(), 50)?;
    assert_eq!(web2, 0);

    let said = change(ha1, &original)?;
    assert!(said.starts_with("reloaded: backend myweb/web2 added (config "), "{said}");
    scene.lab.wait_for("web2 to be up", PATIENCE, || shows(ha1, "web2", "up"))?;
    let [web1, web2] = answers(&scene, Instant::now(), 50)?;
    assert!(web1.abs_diff(web2) <= 2, "{web1} and {web2}");

    let heavy = with(&original, "name = \"web1\"", "name = \"web1\"\nweight = 3");
    change(ha1, &heavy)?;
    let [web1, web2] = answers(&scene, Instant::now(), 80)?;
    assert!(web1.abs_diff(3 * web2) <= 6, "{web1} and {web2}");

    // The two change places: what is found at an address is asked for anew.
    let (one, two) = (scene.lab.machine("web1")?.address(), scene.lab.machine("web2")?.address());
    let swapped = with(&original, &format!("{one}:80"), "SWAPPED");
    let swapped = with(&swapped, &format!("{two}:80"), &format!("{one}:80"));
    let swapped = with(&swapped, "SWAPPED", &format!("{two}:80"));
    let third = with(&swapped, "name = \"web1\"", "name = \"web1\"\nweight = 0");
    change(ha1, &original)?;
    answers(&scene, began, 50)?;
    let said = change(ha1, &third)?;
    assert!(said.contains("myweb/web1: address, myweb/web1: weight, myweb/web2: address"), "{said}");
    scene.lab.wait_for("both to be up again", PATIENCE, || {
        ["web1", "web2"].into_iter().all(|web| shows(ha1, web, "up"))
    })?;
    // What is called web2 is now where web1 is.
    let [web1, web2] = answers(&scene, Instant::now(), 20)?;
    assert!(web1 > 0 && web2 == 0, "{web1} and {web2}");
    Ok(())
}

fn an_open_connection_goes_on(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let space = scene.lab.machine("client")?.space();
    let open = || {
        let mut stream = TcpStream::connect(TARGET)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n")?;
        Ok::<_, std::io::Error>(stream)
    };
    let streams: Vec<TcpStream> = (0..4).map(|_| space.within(open)).collect::<Result<_, _>>()?;
    scene.lab.wait_for("web2 to have some of them", PATIENCE, || {
        backend(ha1, "web2").is_ok_and(|backend| backend["connections_active"].as_u64() >= Some(2))
    })?;
    let web2 = original.find("\n[[service.backend]]\nname = \"web2\"").ok_or("no web2")?;
    change(ha1, &original[..web2])?;
    let mut answers = Vec::new();
    for mut stream in streams {
        stream.write_all(b"\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answers.push(answer.trim().rsplit('\n').next().unwrap_or_default().to_owned());
    }
    assert!(answers.iter().any(|answer| answer == "web2"), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.starts_with("web")), "{answers:?}");
    Ok(())
}

fn a_mistake_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let (began, before, first_term) = (Instant::now(), digest(ha1)?, term(ha1)?);
    fs::write(ha1.config(), with(&original, "name = \"web1\"", "nam = \"web1\""))?;
    // Its socket is named in no file that can be read: the usual place is looked at.
    let socket = node_socket(&original);
    let output = ha1.command().args(["reload", "--socket", &socket]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains(": unknown key `nam`"), "{said}");
    assert!(said.contains("\nhint: did you mean `name`?"), "{said}");
    scene.lab.wait_for("the log to have it", PATIENCE, || {
        ha1.log_text().contains("config.reload_failed error=")
    })?;
    assert_eq!(reloads(ha1, "failure")?, Some(1.0));
    assert_eq!(ha1.metric("chinthe_config_last_reload_successful")?, Some(0.0));

    fs::remove_file(ha1.config())?;
    let output = ha1.command().args(["reload", "--socket", &socket]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it doesn't exist\nhint: "), "{said}");

    answers(&scene, began, 50)?;
    assert_eq!((digest(ha1)?, term(ha1)?), (before, first_term));
    change(ha1, &original)?;
    assert_eq!(ha1.metric("chinthe_config_last_reload_successful")?, Some(1.0));
    Ok(())
}

/// Where a lab's node listens to its operators, by its own file.
fn node_socket(config: &str) -> String {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("socket = "));
    line.map_or_else(|| "/run/chinthe/admin.sock".into(), |line| line.trim_matches('"').to_owned())
}

fn what_needs_a_restart_is_refused(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let (began, before) = (Instant::now(), digest(ha1)?);
    let other = with(&original, "192.168.56.69", "192.168.56.70");
    // What could be changed isn't, either.
    fs::write(ha1.config(), with(&other, "ha1 = 101", "ha1 = 90"))?;
    let (status, said) = reload(ha1)?;
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.starts_with("error: a daemon that runs can't change `vip.address` of `vi_1`\nhint: "),
        "{said}"
    );
    answers(&scene, began, 50)?;
    assert_eq!(digest(ha1)?, before);
    assert_eq!(ha1.status()?["vips"][0]["base_priority"], 101);
    Ok(())
}

fn what_operators_said_holds(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let drained = ha1.command().args(["drain", "myweb/web1"]).output()?;
    assert!(drained.status.success(), "{drained:?}");
    let maint = ha1.command().args(["maint", "myweb/web2"]).output()?;
    assert!(maint.status.success(), "{maint:?}");
    let is = |web: &str, admin: &str, health: &str| {
        backend(ha1, web).is_ok_and(|backend| backend["admin"] == admin && backend["health"] == health)
    };
    // Their probes begin anew, but for those that nobody wants.
    change(ha1, &with(&original, "fall = 3", "fall = 4"))?;
    assert!(is("web1", "drain", "up") && is("web2", "maint", "unknown"), "{:?}", ha1.status()?);
    change(ha1, &original)?;
    assert!(is("web1", "drain", "up") && is("web2", "maint", "unknown"), "{:?}", ha1.status()?);
    let ready = ha1.command().args(["ready", "*/web2"]).output()?;
    assert!(!ready.status.success() || !is("web2", "maint", "unknown"), "{ready:?}");
    let ready = ha1.command().args(["ready", "myweb/web2"]).output()?;
    assert!(ready.status.success(), "{ready:?}");
    scene.lab.wait_for("web2 to be up by a new probe", PATIENCE, || is("web2", "ready", "up"))?;
    let [web1, web2] = answers(&scene, Instant::now(), 30)?;
    assert!(web1 == 0 && web2 > 0, "{web1} and {web2}");
    Ok(())
}

fn checks_come_and_go(sandbox: Sandbox) -> Outcome {
    let config = with(
        POST,
        "[[vip]]",
        "[[check]]\nname = \"old\"\ncommand = [\"true\"]\ninterval = \"50ms\"\n\n[[vip]]",
    );
    let scene = Scene::of(scene::post(sandbox).config(ConfigSource::Text(config)))?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let original = file(ha1)?;
    let up = |check: &str| ha1.metric(&format!("chinthe_check_up{{check=\"{check}\"}}"));
    scene.lab.wait_for("the old check", PATIENCE, || up("old").is_ok_and(|up| up == Some(1.0)))?;
    let other =
        with(&original, "name = \"old\"\ncommand = [\"true\"]", "name = \"new\"\ncommand = [\"false\"]");
    let other = with(&other, "track = [", "track = [{ check = \"new\", weight = -10 }, ");
    let said = change(ha1, &other)?;
    assert!(said.starts_with("reloaded: check new added, check old removed, vi_1: track (config "), "{said}");
    assert_eq!(up("old")?, None);
    // 103 - 10 is less than the other node's 102.
    scene.await_holder("ha2", PATIENCE)?;
    assert_eq!(up("new")?, Some(0.0));
    change(ha1, &original)?;
    scene.await_home()?;
    assert_eq!(up("new")?, None);
    scene.assert_one_answerer();
    Ok(())
}

fn the_whole_cluster(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let (ha1, ha2) = (scene.node("ha1")?, scene.node("ha2")?);
    let (began, original) = (Instant::now(), file(ha1)?);
    let cluster = |node: &Node| -> Result<(Option<i32>, String), Box<dyn Error>> {
        let output = node.command().args(["reload", "--cluster", "--config"]).arg(node.config()).output()?;
        Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
    };
    // A file that the node itself refuses goes no further.
    fs::write(ha2.config(), with(&original, "192.168.56.69", "192.168.56.70"))?;
    assert_eq!(cluster(ha2)?.0, Some(1));

    let other = with(&original, "name = \"web1\"", "name = \"web1\"\nweight = 2");
    fs::write(ha1.config(), &other)?;
    fs::write(ha2.config(), &other)?;
    let (status, said) = cluster(ha1)?;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.starts_with("reloaded: myweb/web1: weight (config ") && said.contains("\nasked: ha2;"),
        "{said}"
    );
    scene
        .lab
        .wait_for("ha2 to follow", PATIENCE, || reloads(ha2, "success").is_ok_and(|n| n == Some(1.0)))?;
    scene.lab.wait_for("ha2 to show the same file", PATIENCE, || {
        digest(ha1).is_ok_and(|it| digest(ha2).is_ok_and(|is| is == it))
    })?;
    scene
        .lab
        .wait_for("ha2 to say for whom", PATIENCE, || ha2.log_text().contains("by=\"operator on ha1\""))?;

    // Again, from the other side; whoever asks isn't asked in turn.
    fs::write(ha1.config(), &original)?;
    fs::write(ha2.config(), &original)?;
    assert_eq!(cluster(ha2)?.0, Some(0));
    scene.lab.wait_for("ha1 to follow", PATIENCE, || {
        digest(ha1).is_ok_and(|it| digest(ha2).is_ok_and(|is| is == it))
    })?;
    answers(&scene, began, 50)?;
    assert_eq!((reloads(ha1, "success")?, reloads(ha2, "success")?), (Some(2.0), Some(2.0)));
    scene.assert_one_answerer();
    Ok(())
}

fn services_come_and_go(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    ready(&scene)?;
    let ha1 = scene.node("ha1")?;
    let (original, began, first_term) = (file(ha1)?, Instant::now(), term(ha1)?);
    let web1 = scene.lab.machine("web1")?.address();
    let space = scene.lab.machine("client")?.space();
    let ask = |port: u16| -> Result<String, std::io::Error> {
        let mut stream = space.within(|| TcpStream::connect((scene::VIP, port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.trim().rsplit('\n').next().unwrap_or_default().to_owned())
    };
    assert!(ask(8080).is_err());

    // Before the other one, so that each has another place.
    let second = format!(
        "[[service]]\nname = \"second\"\nlisten = [\"0.0.0.0:8080\"]\n\n\
         [[service.backend]]\nname = \"web1\"\naddress = \"{web1}:80\"\n\n"
    );
    let both = with(&original, "[[service]]", &format!("{second}[[service]]"));
    let said = change(ha1, &both)?;
    assert!(said.starts_with("reloaded: service second added (config "), "{said}");
    scene.lab.wait_for("the second service", PATIENCE, || ask(8080).is_ok_and(|who| who == "web1"))?;
    let counted =
        |service: &str| ha1.metric(&format!("chinthe_service_connections_total{{service=\"{service}\"}}"));
    assert!(counted("second")? >= Some(1.0) && counted("myweb")? >= Some(1.0));
    assert!(!ha1.log_text().contains("node.not_ready"), "{}", ha1.log_text());

    let elsewhere = with(&both, "0.0.0.0:8080", "0.0.0.0:8081");
    let said = change(ha1, &elsewhere)?;
    assert!(said.starts_with("reloaded: second: listen (config "), "{said}");
    scene.lab.wait_for("the new port", PATIENCE, || ask(8081).is_ok_and(|who| who == "web1"))?;
    scene.lab.wait_for("the old port to be closed", PATIENCE, || ask(8080).is_err())?;

    // What somebody else has is refused, and nothing is opened or closed.
    let theirs =
        scene.lab.machine("ha1")?.space().within(|| std::net::TcpListener::bind(("0.0.0.0", 8082)))?;
    fs::write(ha1.config(), with(&both, "0.0.0.0:8080", "0.0.0.0:8082"))?;
    let (status, said) = reload(ha1)?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with("error: 0.0.0.0:8082 is in use\nhint: "), "{said}");
    drop(theirs);
    assert_eq!(ask(8081)?, "web1");

    let said = change(ha1, &original)?;
    assert!(said.starts_with("reloaded: service second removed (config "), "{said}");
    scene.lab.wait_for("its port to be closed", PATIENCE, || ask(8081).is_err())?;
    assert_eq!(counted("second")?, None);
    let [web1, web2] = answers(&scene, began, 100)?;
    assert!(web1 > 0 && web2 > 0);
    assert_eq!(term(ha1)?, first_term);
    Ok(())
}
