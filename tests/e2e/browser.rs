//! A real browser, driven by its own driver: Chromium by `WebDriver`, which is JSON over HTTP.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use chinthe::lab::holds_within;
use serde_json::{Value, json};

use crate::scene::PATIENCE;

/// Where the driver answers, on the hub's loopback.
const PORT: u16 = 9515;
/// For the browser's first start on a busy machine.
const START: Duration = Duration::from_secs(40);

/// What the tests need, and what is missing when it isn't there.
pub(crate) const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

/// A browser with one page; it ends with this.
pub(crate) struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts driver and browser in the lab's hub, with `folder` for all that they write.
    pub(crate) fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir(folder)?;
        let log = File::create(folder.join("log"))?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={PORT}"))
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut browser = Self { driver, session: String::new() };
        if !holds_within(START, || ask("GET", "/status", &Value::Null).is_ok()) {
            return Err("the driver doesn't answer".into());
        }
        // A browser breaks off what it asks for when an address comes up beside it, and doesn't ask again for a change.
        if !holds_within(PATIENCE, addresses_are_settled) {
            return Err("an address of IPv6 is still being tried out".into());
        }
        let options = json!({
            "binary": "/usr/bin/chromium",
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--window-size=1280,900",
                format!("--user-data-dir={}", folder.join("profile").display()),
            ],
            "perfLoggingPrefs": { "enableNetwork": true },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let answer = ask("POST", "/session", &wanted)?;
        answer["sessionId"].as_str().ok_or("no session")?.clone_into(&mut browser.session);
        Ok(browser)
    }

    fn say(&self, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// Loads a page.
    pub(crate) fn open(&self, url: &str) -> Result<(), Box<dyn Error>> {
        self.say("/url", &json!({ "url": url })).map(drop)
    }

    /// What a function's body returns, run in the page.
    pub(crate) fn run(&self, script: &str) -> Result<Value, Box<dyn Error>> {
        self.say("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until such an expression is true in the page.
    pub(crate) fn wait_for(&self, what: &str, expression: &str) -> Result<(), Box<dyn Error>> {
        let mut last = Value::Null;
        let seen = holds_within(PATIENCE, || {
            last = self.run(&format!("return {expression}")).unwrap_or_else(|e| e.to_string().into());
            last == true
        });
        if seen { Ok(()) } else { Err(format!("waited for {what}; `{expression}` is {last}").into()) }
    }

    /// Clicks on what a selector finds, as a person does: it has to be there, in view and uncovered.
    pub(crate) fn click(&self, selector: &str) -> Result<(), Box<dyn Error>> {
        let element = self.find(selector)?;
        self.say(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into what a selector finds.
    pub(crate) fn write(&self, selector: &str, text: &str) -> Result<(), Box<dyn Error>> {
        let element = self.find(selector)?;
        self.say(&format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    fn find(&self, selector: &str) -> Result<String, Box<dyn Error>> {
        let found = self.say("/element", &json!({ "using": "css selector", "value": selector }))?;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        Ok(element.ok_or("no element")?.to_owned())
    }

    /// What the page has said on the console since the last look: level and sentence of each. Without what the browser
    /// says of its own machine, whose addresses are still being settled when it starts.
    pub(crate) fn console(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let log = self.say("/se/log", &json!({ "type": "browser" }))?;
        let entries = log.as_array().cloned().unwrap_or_default();
        let said = entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"]));
        Ok(said.filter(|line| !line.contains("net::ERR_NETWORK_CHANGED")).collect())
    }

    /// The addresses that the browser has asked for since the last look.
    pub(crate) fn requests(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let log = self.say("/se/log", &json!({ "type": "performance" }))?;
        let messages = log.as_array().into_iter().flatten().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            (message["message"]["method"] == "Network.requestWillBeSent")
                .then(|| message["message"]["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        Ok(messages.collect())
    }

    /// Gives the browser an order of its own protocol.
    pub(crate) fn order(&self, order: &str, parameters: &Value) -> Result<Value, Box<dyn Error>> {
        self.say("/goog/cdp/execute", &json!({ "cmd": order, "params": parameters }))
    }

    /// Draws the whole page into a PNG.
    pub(crate) fn picture(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        let drawn =
            self.order("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }))?;
        Ok(fs::write(file, decoded(drawn["data"].as_str().ok_or("no picture")?))?)
    }
}

/// Whether every address of IPv6 here has been found to be nobody else's (RFC 4862, section 5.4), in fields of the kernel:
/// address, interface, length of the prefix, scope, flags, name; numbers are hexadecimal.
fn addresses_are_settled() -> bool {
    const TENTATIVE: u32 = 0x40;
    let Ok(addresses) = fs::read_to_string("/proc/thread-self/net/if_inet6") else { return true };
    addresses.lines().all(|line| {
        let flags = line.split_whitespace().nth(4).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & TENTATIVE == 0)
    })
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver would leave it behind.
        let _ = ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// One request to the driver; the value that it answers with.
fn ask(method: &str, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(START))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{PORT}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    // It may leave the connection open, whatever it was asked for.
    while complete(&answer).is_none() {
        let mut portion = [0; 8 << 10];
        match stream.read(&mut portion)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            length => answer.extend_from_slice(&portion[..length]),
        }
    }
    let document: Value = serde_json::from_slice(complete(&answer).unwrap_or_default())?;
    match document["value"]["error"].as_str() {
        Some(error) => Err(format!("{path}: {error}: {}", document["value"]["message"]).into()),
        None => Ok(document["value"].clone()),
    }
}

/// An answer's body, when all of it is there.
fn complete(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    answer.get(end..).filter(|body| body.len() >= length)
}

/// The bytes of base64 text.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let word = four.iter().fold(0, |word, digit| word << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        word.to_be_bytes().into_iter().skip(1).take(four.len() - 1)
    });
    bytes.collect()
}

/// Leaves the page alone for a while: what is drawn from looks a second apart needs some of them.
pub(crate) fn let_it_draw(seconds: u64) {
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
        thread::park_timeout(left);
    }
}
