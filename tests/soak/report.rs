//! The report: a line for the terminal, and one HTML file with a drawing of each figure over the time.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Soak;
use crate::drawing::{Axis, Lane, Svg, escape};
use crate::figures::{Growth, Sample, median};
use crate::support::passage::RATE;

/// Pixels of a drawing.
const SIZE: (f64, f64) = (1_160.0, 118.0);
/// Pixels left of it for its name.
const GUTTER: f64 = 150.0;

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The totals of the innocent calls.
struct Innocent {
    calls: usize,
    captured_s: f64,
    captured_lost: usize,
    lost_by_module: usize,
    played_s: f64,
    played_lost: usize,
    turns: u64,
    lost_by_switch: u64,
}

impl Innocent {
    fn of(soak: &Soak) -> Self {
        let sum = |of: fn(&crate::Outcome) -> usize| soak.outcomes.iter().map(of).sum::<usize>();
        let seconds = |samples: usize| samples as f64 / RATE as f64;
        Self {
            calls: soak.outcomes.len(),
            captured_s: seconds(sum(|outcome| outcome.captured.arrived)),
            captured_lost: sum(|outcome| outcome.captured.lost),
            lost_by_module: sum(|outcome| outcome.lost_by_module),
            played_s: seconds(sum(|outcome| outcome.played.arrived)),
            played_lost: sum(|outcome| outcome.played.lost + outcome.played.foreign),
            turns: soak.outcomes.iter().map(|outcome| outcome.turns).sum(),
            lost_by_switch: soak.outcomes.iter().map(|outcome| outcome.lost_by_switch).sum(),
        }
    }
}

fn worst(soak: &Soak, figure: impl Fn(&Sample) -> f64) -> (f64, f64) {
    let values: Vec<_> = soak.samples.iter().map(figure).collect();
    (median(values.clone()), values.into_iter().fold(0.0, f64::max))
}

/// What is worth knowing, in a few lines.
pub fn summary(soak: &Soak) -> String {
    let busy = soak.busy.as_secs_f64();
    let tally = &soak.tally;
    let innocent = Innocent::of(soak);
    let mut out = format!(
        "{}: {:.0} min, seed {}: {} starts of streams and conversations ({:.1} a second, {} refused) on {} calls, {} hang-ups, \
         {} stops\n",
        soak.name,
        busy / 60.0,
        soak.seed,
        count(&tally.starts),
        count(&tally.starts) as f64 / busy,
        count(&tally.refused),
        count(&tally.calls),
        count(&tally.hangups),
        count(&tally.stops),
    );
    let after = soak.calms.len() - soak.warm_up.min(soak.calms.len());
    let _ = write!(out, "  at rest, in {after} calms after the warm-up:");
    for (what, Growth { before, after }) in soak.growth() {
        let (unit, divisor) = if what == "memory" { (" MB", 1e3) } else { ("", 1.0) };
        let percent = Growth { before, after }.percent();
        let digits = usize::from(divisor > 1.0);
        let _ = write!(
            out,
            " {what} {:.digits$} → {:.digits$}{unit} ({percent:+.2} %);",
            before / divisor,
            after / divisor
        );
    }
    let _ = write!(
        out,
        "\n  {} innocent calls: of {:.0} s captured {} samples are missing at the server, {} of which {} delivered (it counts {} \
         packets that it lost itself); of {:.0} s played {} are missing or wrong at the caller, {} turns answered\n",
        innocent.calls,
        innocent.captured_s,
        innocent.captured_lost,
        innocent.lost_by_module,
        soak.name,
        innocent.lost_by_switch,
        innocent.played_s,
        innocent.played_lost,
        innocent.turns,
    );
    let (capture, playback) = (worst(soak, |sample| sample.capture_ms), worst(soak, |sample| sample.playback_ms));
    let callback = worst(soak, |sample| sample.callback_us);
    let _ = write!(
        out,
        "  their delays, of the worst call each second: capture {:.1} ms median, {:.1} ms most; playback {:.1} ms, {:.1} ms; \
         callback p99 {:.1} µs, {:.1} µs\n  {}",
        capture.0,
        capture.1,
        playback.0,
        playback.1,
        callback.0,
        callback.1,
        match soak.faults.len() {
            0 => "nothing grows, nothing is lost".to_owned(),
            number => format!("{number} FAULTS"),
        }
    );
    out
}

/// A drawing: its name, its unit, and the figure.
type Figure = (&'static str, &'static str, fn(&Sample) -> f64);

/// What is drawn; of the first ones also the calms.
const AT_REST: usize = 4;
const FIGURES: [Figure; 9] = [
    ("Memory", "MB", |sample| sample.rss_kb as f64 / 1e3),
    ("Descriptors", "", |sample| sample.descriptors as f64),
    ("Threads", "", |sample| sample.threads as f64),
    ("Clock threads", "", |sample| sample.clock_threads as f64),
    ("Streams", "", |sample| sample.streams as f64),
    ("Capture delay", "ms", |sample| sample.capture_ms),
    ("Playback delay", "ms", |sample| sample.playback_ms),
    ("Callback p99", "µs", |sample| sample.callback_us),
    ("Load", "", |sample| sample.load),
];

/// The whole report.
pub fn html(soak: &Soak) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Soak of mod_audio_stream</title><style>{}</style><main>\
         <h1>Soak of mod_audio_stream</h1><p class=\"lead\">Filled: once a second, in the rounds. Diamonds: at rest between \
         rounds, when all calls but one are gone. Delays are those of the worst innocent call.</p><pre>{}</pre>",
        include_str!("../demo/report.css"),
        escape(&summary(soak))
    );
    for (index, figure) in FIGURES.into_iter().enumerate() {
        let calms = if index < AT_REST { &soak.calms[..] } else { &[] };
        let _ = write!(out, "<figure class=\"call\">{}</figure>", drawing(soak, figure, calms));
    }
    if !soak.faults.is_empty() {
        let _ = write!(out, "<h2>Faults</h2><pre>{}</pre>", escape(&soak.faults.join("\n")));
    }
    out.push_str("</main></html>\n");
    out
}

fn drawing(soak: &Soak, (name, unit, figure): Figure, calms: &[Sample]) -> String {
    let (width, height) = SIZE;
    let last = soak.samples.iter().chain(&soak.calms).map(|sample| sample.at).fold(1.0, f64::max);
    let axis = Axis { from: 0.0, to: last, left: GUTTER, right: width - 10.0 };
    let lane = Lane::new(6.0, height - 30.0);
    let values: Vec<_> = soak.samples.iter().map(|sample| (sample.at, figure(sample))).collect();
    let most = values.iter().map(|value| value.1).chain(calms.iter().map(figure)).fold(0.0, f64::max);
    let mut svg = Svg::new(width, height);
    svg.rect("lane", (axis.left, lane.top()), (axis.right - axis.left, 2.0 * lane.half));
    // About ten ticks, whole minutes.
    let step = (last / 600.0).ceil() * 60.0;
    svg.ticks(axis, (lane.top(), lane.bottom()), step, (1.0 / 60.0, " min"), 0.0);
    svg.steps("queue", &values, axis, lane, most);
    for calm in calms {
        svg.diamond("answer", axis.x(calm.at), lane.bottom() - figure(calm) / most.max(1e-9) * 2.0 * lane.half);
    }
    svg.text("name", (0.0, lane.top() + 14.0), "start", name);
    svg.text("note", (0.0, lane.top() + 32.0), "start", &format!("most {most:.1} {unit}"));
    let middle = median(values.iter().map(|value| value.1).collect());
    svg.text("note", (0.0, lane.top() + 48.0), "start", &format!("median {middle:.1} {unit}"));
    svg.finish(&name.to_lowercase().replace(' ', "-"), name)
}
