//! The page in a real browser, on a cluster that things happen to.

use std::env;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chinthe::lab::{Lab, LabError, Sandbox};
use serde_json::{Value, json};

use crate::browser::{Browser, PROGRAMS, let_it_draw};
use crate::harness::{self, Outcome, Test};
use crate::scene::{self, PATIENCE, POST, Scene, backend};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("page::a_failover_shows_within_a_second", a_failover_shows).within(LONG).alone(),
    Test::inside("page::a_drain_takes_the_token_and_a_wrong_one_is_refused", a_drain_takes_the_token)
        .within(LONG)
        .alone(),
    Test::inside("page::a_move_takes_a_vip_there_and_home_again", a_move).within(LONG).alone(),
    Test::inside("page::a_node_that_is_gone_is_plain_to_see", a_node_that_is_gone).within(LONG).alone(),
    Test::inside("page::without_scripts_it_is_a_page_of_tables", without_scripts).within(LONG).alone(),
];

/// A browser's start takes seconds, on a busy machine many.
const LONG: Duration = Duration::from_secs(120);

/// From the moment when the new holder has the address to the moment when a page shows it.
const SHOWN: u64 = 1000;

const TOKEN: &str = "0123456789abcdef-of-the-page";

/// ha2's page, as the hub sees it.
const PAGE: &str = "http://192.168.56.22:7781/";

/// Where pictures are wanted, if they are.
const PICTURES: &str = "CHINTHE_PICTURES";

/// Who holds the VIP, as the page says.
const HOLDER: &str = "document.querySelector('.vip .holder strong').textContent";

/// Whether there is a browser; where there is none the test is passed over, unless everything is required.
pub(crate) fn is_here() -> Result<bool, LabError> {
    for program in PROGRAMS {
        let mut version = Command::new(program);
        version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match version.status() {
            Ok(_) => {}
            Err(source) if harness::peers_are_required() => {
                return Err(LabError::System { doing: format!("start {program}"), source });
            }
            Err(e) => {
                println!(
                    "skipped: {program}: {e}; to install it: sudo apt-get install chromium chromium-driver"
                );
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The post's cluster, whose admin servers the hub can reach, and which has a token; and a browser with ha2's page.
fn start(sandbox: Sandbox) -> Result<(Scene, Browser), Box<dyn Error>> {
    let lab = scene::post(sandbox).without_daemons().start()?;
    let token = lab.logs().with_file_name("token");
    fs::write(&token, format!("{TOKEN}\n"))?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let admin =
        format!("[admin]\nlisten = \"0.0.0.0:7781\"\ntoken_file = \"{}\"\n\n[[vip]]", token.display());
    for node in lab.nodes() {
        fs::write(node.config(), POST.replacen("[[vip]]", &admin, 1))?;
        node.start()?;
    }
    let browser = Browser::start(&lab.logs().with_file_name("browser"))?;
    let scene = Scene::watch(lab)?;
    browser.open(PAGE)?;
    browser.wait_for("ha1 to be shown as the holder", &format!("{HOLDER} === 'ha1'"))?;
    Ok((scene, browser))
}

/// Nothing went wrong in the page, and it asked for nothing from elsewhere.
fn assert_well_behaved(browser: &Browser) -> Outcome {
    let said = browser.console()?;
    assert!(said.is_empty(), "{said:#?}");
    let elsewhere: Vec<String> =
        browser.requests()?.into_iter().filter(|url| !url.starts_with(PAGE) && is_sent(url)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
    Ok(())
}

/// Whether asking for it takes a network; a browser's own parts don't.
fn is_sent(url: &str) -> bool {
    !(url.starts_with("chrome://") || url.starts_with("data:"))
}

/// When ha2 says that it took the VIP, in milliseconds of the Unix epoch.
fn acquired(lab: &Lab) -> Result<u64, Box<dyn Error>> {
    let events: Value = serde_json::from_str(&lab.node("ha2")?.get("/api/v1/events")?)?;
    let taken =
        events["events"].as_array().and_then(|all| all.iter().rfind(|e| e["event"] == "vip.acquired"));
    Ok(taken.and_then(|taken| taken["id"].as_u64()).ok_or("it hasn't said so")? / 1000)
}

fn a_failover_shows(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    let (scene, browser) = start(sandbox)?;
    browser.run(&format!(
        "new MutationObserver(() => {{ if ({HOLDER} === 'ha2') window.shownAt ??= Date.now() }})
            .observe(document.querySelector('main'), {{ subtree: true, childList: true, characterData: true }})"
    ))?;
    scene.node("ha1")?.kill9_daemon()?;
    browser.wait_for("ha2 to be shown as the holder", "window.shownAt !== undefined")?;
    let shown = browser.run("return window.shownAt")?.as_u64().ok_or("no time")?;
    let late = shown.saturating_sub(acquired(&scene.lab)?);
    eprintln!("the page shows the new holder {late} ms after it has the address");
    assert!(late < SHOWN, "{late} ms");

    browser.wait_for(
        "the failover among the events",
        "document.querySelector('#events').textContent.includes('failover.complete')",
    )?;
    browser.wait_for(
        "what is wrong",
        "document.querySelector('#troubles .degraded').textContent.includes('ha1 is dead')",
    )?;
    browser.wait_for("the tab to say it", "document.title.startsWith('! vi_1 on ha2')")?;
    pictures(&browser)?;
    assert_well_behaved(&browser)
}

fn a_drain_takes_the_token(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    let (scene, browser) = start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    let button = "button[data-name='myweb/web1'][data-state='drain']";
    let shown = format!("document.querySelector(\"{button}\").checkVisibility()");
    assert_eq!(browser.run(&format!("return {shown}"))?, false, "nobody has shown a token");
    let drain = |token: &str| -> Outcome {
        browser.write("#operate input", token)?;
        browser.click("#operate form button")?;
        browser.click(button)?;
        browser.click("#ask-yes")
    };
    drain("a-token-that-is-wrong")?;
    let said = "document.querySelector('#said').textContent";
    browser.wait_for("the refusal", &format!("{said} === 'Refused: the token is wrong.'"))?;
    assert_eq!(backend(ha2, "web1")?["admin"], "ready");
    assert_eq!(browser.run(&format!("return {shown}"))?, false, "the token is forgotten");
    let errors = browser.console()?;
    assert!(errors.len() == 1 && errors[0].contains("401"), "{errors:#?}");

    drain(TOKEN)?;
    browser.wait_for("the answer", &format!("{said} === 'myweb/web1: drain.'"))?;
    scene
        .lab
        .wait_for("it to hold", PATIENCE, || backend(ha2, "web1").is_ok_and(|b| b["admin"] == "drain"))?;
    browser
        .wait_for("it on the page", "document.querySelector('.service .said')?.textContent === 'drain'")?;
    browser.click("button[data-name='myweb/web1'][data-state='ready']")?;
    browser.click("#ask-yes")?;
    browser.wait_for("the answer", &format!("{said} === 'myweb/web1: ready.'"))?;

    // A node that holds nothing any more: the page's own clicks move the VIP.
    browser.click("button[data-name='ha1'][data-state='drain']")?;
    browser.click("#ask-yes")?;
    browser.wait_for("ha2 to be shown as the holder", &format!("{HOLDER} === 'ha2'"))?;
    assert_well_behaved(&browser)
}

fn a_move(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    let (_scene, browser) = start(sandbox)?;
    let button = "button[data-name='vi_1'][data-state='move']";
    let found = format!("document.querySelector(\"{button}\")");
    assert_eq!(browser.run(&format!("return {found}.checkVisibility()"))?, false, "nobody has shown a token");
    browser.write("#operate input", TOKEN)?;
    browser.click("#operate form button")?;
    browser.click(button)?;
    assert_eq!(browser.run("return document.querySelector('#ask-to').textContent")?, "ha2");
    browser.click("#ask-no")?;
    assert_eq!(browser.run(&format!("return {HOLDER}"))?, "ha1");

    browser.click(button)?;
    browser.click("#ask-yes")?;
    let said = "document.querySelector('#said').textContent";
    browser.wait_for("the answer", &format!("{said} === 'vi_1: to be on ha2 for 10m.'"))?;
    browser.wait_for("ha2 to be shown as the holder", &format!("{HOLDER} === 'ha2'"))?;
    browser
        .wait_for("what was said", "document.querySelector('.vip').textContent.includes('wanted on ha2')")?;
    operating_pictures(&browser, button)?;

    browser.click(button)?;
    browser.click("#ask-to option[value='']")?;
    browser.click("#ask-yes")?;
    browser.wait_for("the answer", &format!("{said} === 'vi_1: wherever its priority is highest.'"))?;
    browser.wait_for("ha1 to be shown as the holder", &format!("{HOLDER} === 'ha1'"))?;

    // Where nobody else could hold it there is nothing to be said.
    browser.click("button[data-name='ha2'][data-state='drain']")?;
    browser.click("#ask-yes")?;
    browser.wait_for("the button to be off", &format!("{found}.disabled"))?;
    assert_well_behaved(&browser)
}

fn a_node_that_is_gone(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    let (scene, browser) = start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    let stale = "!document.querySelector('#stale').hidden";
    assert_eq!(browser.run(&format!("return {stale}"))?, false);
    ha2.kill9_daemon()?;
    browser.wait_for("the page to say that it is old", stale)?;
    ha2.start()?;
    browser.wait_for("the page to be up to date again", &format!("!({stale})"))?;
    Ok(())
}

fn without_scripts(sandbox: Sandbox) -> Outcome {
    if !is_here()? {
        return Ok(());
    }
    let (_scene, browser) = start(sandbox)?;
    browser.order("Emulation.setScriptExecutionDisabled", &json!({ "value": true }))?;
    browser.open(PAGE)?;
    // Asked by the driver, which needs no script of the page's.
    browser.wait_for("the holder", &format!("{HOLDER} === 'ha1'"))?;
    let shown = |selector: &str| {
        browser.run(&format!("return document.querySelector(\"{selector}\").checkVisibility()"))
    };
    assert_eq!(shown("#nodes table")?, true);
    assert_eq!(shown(".service table")?, true);
    assert_eq!(shown("#operate")?, false, "what needs a script isn't there");
    let anew = "document.querySelector('meta[http-equiv=refresh]')?.content === '5'";
    browser.wait_for("the page to load itself anew", anew)
}

/// Draws what only an operator sees; only where that is asked for.
fn operating_pictures(browser: &Browser, button: &str) -> Outcome {
    let Ok(folder) = env::var(PICTURES) else { return Ok(()) };
    browser.picture(&Path::new(&folder).join("page-operator.png"))?;
    browser.click(button)?;
    browser.picture(&Path::new(&folder).join("page-move.png"))?;
    browser.click("#ask-no")
}

/// Draws the page as people see it, for the README; only where that is asked for.
fn pictures(browser: &Browser) -> Outcome {
    let Ok(folder) = env::var(PICTURES) else { return Ok(()) };
    let folder = Path::new(&folder);
    let_it_draw(30);
    let look = |scheme: &str, width: u32, height: u32, mobile: bool| -> Outcome {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.order("Emulation.setEmulatedMedia", &json!({ "features": features }))?;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        browser.order("Emulation.setDeviceMetricsOverride", &metrics)?;
        let device = if mobile { "phone" } else { "desk" };
        browser.picture(&folder.join(format!("page-{scheme}-{device}.png")))
    };
    look("light", 900, 700, false)?;
    look("dark", 900, 700, false)?;
    look("light", 390, 844, true)?;
    look("dark", 390, 844, true)?;
    browser.order("Emulation.clearDeviceMetricsOverride", &json!({})).map(drop)
}
