//! What is shipped for Prometheus and Grafana, checked by the real programs where they are installed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mod_audio_stream::telemetry::metrics::METRICS;
use serde_json::Value;

use crate::calls::{Stream, pass_paced, playing};
use crate::http::{exchange, serving_with};
use crate::support::eventually;
use crate::support::signal;
use crate::support::websocket_server::{PATIENCE, Play, Script};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says so, past the capture of the test's output, where a program is not installed.
fn or_skipped<T>(started: std::io::Result<T>, program: &str, test: &str) -> Option<T> {
    let started = started.ok();
    if started.is_none() {
        let why = format!("{program} is not installed (Debian: prometheus)");
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}; '{test}' has tested nothing. ***");
    }
    started
}

/// What promtool says, with `input` as its input.
pub(crate) fn promtool(arguments: &[&str], input: &str, test: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = or_skipped(command.spawn(), "promtool", test)?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

fn passes(output: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("conf/grafana/audio_stream.json")).unwrap()).unwrap()
}

/// The expressions of the dashboard, with values in place of its variables.
fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let plain = |target: Value| {
        let expression = target["expr"].as_str().unwrap().to_owned();
        expression.replace("$instance", ".*").replace("$__rate_interval", "5m").replace("$__range", "3h")
    };
    targets.map(plain).collect()
}

/// The words of a text that begin as our metrics do.
fn metrics_of(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("audio_stream_")).collect()
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_exist() {
    let rules = fs::read_to_string(root().join("conf/prometheus/audio_stream.rules.yml")).unwrap();
    let expressions = expressions();
    assert!(expressions.len() > 40, "{}", expressions.len());
    let known = |word: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        METRICS.iter().any(|metric| metric.name == word || metric.name == base)
    };
    for text in expressions.iter().chain([&rules]) {
        let unknown: Vec<_> = metrics_of(text).into_iter().filter(|word| !known(word)).collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{text}");
    }
    let ids: BTreeSet<_> =
        dashboard()["panels"].as_array().unwrap().iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(ids.len(), dashboard()["panels"].as_array().unwrap().len(), "each panel has its own id");
}

#[test]
fn the_alerts_are_valid_and_come_when_due() {
    let test = "the_alerts_are_valid";
    let Some(checked) = promtool(&["check", "rules", "conf/prometheus/audio_stream.rules.yml"], "", test) else {
        return;
    };
    passes(&checked);
    passes(&promtool(&["test", "rules", "tests/prometheus/rules_test.yml"], "", test).unwrap());
    // The dashboard's expressions as rules, which promtool can read.
    let rules: Vec<_> = expressions()
        .iter()
        .enumerate()
        .map(|(at, expression)| format!("  - {{record: 'panel:{at}', expr: '{}'}}\n", expression.replace('\'', "''")))
        .collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.rules.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{}", rules.concat())).unwrap();
    passes(&promtool(&["check", "rules", file.to_str().unwrap()], "", test).unwrap());
}

/// A Prometheus that scrapes one address.
struct Prometheus {
    process: Child,
    folder: PathBuf,
    address: String,
}

impl Prometheus {
    fn start(target: &str, test: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let rules = root().join("conf/prometheus/audio_stream.rules.yml");
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
             - {{job_name: freeswitch, static_configs: [{{targets: ['{target}']}}]}}\n",
            rules.display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Some(Self { process: or_skipped(process, "prometheus", test)?, folder, address })
    }

    /// The reply to a request of its API; null while it does not answer.
    fn ask(&self, path: &str) -> Value {
        if std::net::TcpStream::connect(&self.address).is_err() {
            return Value::Null;
        }
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        serde_json::from_str(&exchange(&self.address, &request).body).unwrap_or_default()
    }

    /// The value of the first sample that an expression gives.
    fn value(&self, expression: &str) -> Option<f64> {
        self.ask(&format!("query?query={expression}"))["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_real_prometheus_scrapes_and_evaluates_the_alerts() {
    let (host, address) = serving_with("127.0.0.1:0", "");
    let call = host.call(playing());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    stream.play(Play::mono(signal::speech(8_000, 200, 3), 8_000));
    pass_paced(&call, &[&stream], 15, 20);
    let Some(prometheus) = Prometheus::start(&address, "a_real_prometheus_scrapes") else { return };
    // Until its first scrape it answers with nothing.
    let up = || prometheus.value("up") == Some(1.0) && prometheus.value("audio_stream_streams") == Some(1.0);
    assert!((0..6).any(|_| eventually(PATIENCE, up)), "{}", prometheus.ask("targets"));
    assert_eq!(prometheus.value("audio_stream_captured_frames_total"), Some(15.0));
    assert!(prometheus.value("audio_stream_process_resident_bytes").unwrap() > 1e6);
    let evaluated = || {
        let groups = prometheus.ask("rules")["data"]["groups"].clone();
        let rules = groups[0]["rules"].as_array().cloned().unwrap_or_default();
        rules.len() >= 15 && rules.iter().all(|rule| rule["health"] == "ok")
    };
    assert!((0..6).any(|_| eventually(PATIENCE, evaluated)), "{}", prometheus.ask("rules"));
}
