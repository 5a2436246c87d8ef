//! A real Chromium without a window, driven over its debugging protocol: what a person would see on a page, and what the browser
//! complains about.
//!
//! One page per browser. Blocking: each call runs a small runtime until the browser has answered.

#![allow(unreachable_pub)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names under which systems install it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub struct Browser {
    process: Child,
    profile: PathBuf,
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    session: String,
    next: u64,
    /// What the browser had to complain of: errors of scripts, and loads that were refused.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Opens a page; `None` where no Chromium is installed.
    pub fn open(url: &str) -> Option<Self> {
        let profile = std::env::temp_dir().join(format!("browser-{}", std::process::id()));
        let start = |program: &&str| {
            Command::new(program)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
                .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
                .args(["--window-size=1280,340", "--remote-debugging-port=0"])
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg("about:blank")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .ok()
        };
        let mut process = PROGRAMS.iter().find_map(start)?;
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("DevTools listening on ").map(str::to_owned))
            .expect("Chromium says where it listens");
        // What else it says must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        let authority = address.strip_prefix("ws://").unwrap().split('/').next().unwrap().to_owned();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (socket, _) = runtime
            .block_on(async { client_async(address, TcpStream::connect(authority).await.unwrap()).await })
            .unwrap();
        let mut browser =
            Self { process, profile, runtime, socket, session: String::new(), next: 0, complaints: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.ask("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Log.enable", "Runtime.enable", "Page.enable"] {
            browser.ask(domain, json!({}));
        }
        browser.ask("Page.navigate", json!({ "url": url }));
        Some(browser)
    }

    /// One request of the debugging protocol and its result.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut request = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        let Self { runtime, socket, complaints, .. } = self;
        let answer = async {
            socket.send(Message::text(request.to_string())).await.unwrap();
            loop {
                let message = socket.next().await.expect("Chromium is there").unwrap();
                let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
                match message["method"].as_str() {
                    Some("Log.entryAdded") => complaints.push(message["params"]["entry"]["text"].to_string()),
                    Some("Runtime.exceptionThrown") => complaints.push(message["params"].to_string()),
                    _ if message["id"] == id => return message,
                    _ => {}
                }
            }
        };
        let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        let answer = answer.unwrap_or_else(|_| panic!("Chromium does not answer {method}"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// What an expression has as its value in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The text that a person reads on the page.
    pub fn text(&mut self) -> String {
        self.evaluate("document.body ? document.body.innerText : ''").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of the page fits, and returns it.
    #[track_caller]
    pub fn wait_text(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if fits(&text) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{text}\n{:?}", self.complaints);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A picture of the page as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let picture = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers end with it; both may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
