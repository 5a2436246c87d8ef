//! Writes the report: one HTML file that needs nothing else, and the log of events.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::drawing::{Axis, Flag, Lane, Svg, escape, flags_height};
use crate::echo;
use crate::line::RATE;
use crate::measure::{Figures, Recording, Track};
use crate::support::signal::interleave;

/// Pixels of the drawing of the call; the report is at most that wide.
const WIDTH: f64 = 1_160.0;
/// Pixels left of it for the names of the lanes.
const GUTTER: f64 = 116.0;
/// Pixels of each drawing of a latency.
const CARD: (f64, f64) = (360.0, 168.0);

/// One thing that happened.
struct Moment {
    at: f64,
    who: &'static str,
    what: String,
    detail: String,
}

/// `events.log`: commands, events and the server's doings in order, times in seconds.
pub fn events_log(call: &Recording) -> String {
    let mut log = format!("# {}, call {}\n", call.host, call.uuid);
    for moment in moments(call, None) {
        let _ = writeln!(log, "{:8.3}  {:<8}  {}  {}", moment.at, moment.who, moment.what, moment.detail);
    }
    log
}

/// Everything that happened, in order.
fn moments(call: &Recording, figures: Option<&Figures>) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut add = |at: f64, who: &'static str, what: String, detail: String| {
        moments.push(Moment { at, who, what, detail });
    };
    add(0.0, "call", "parked".to_owned(), call.medium.clone());
    for command in &call.commands {
        let detail = format!("{} (after {:.1} ms)", command.answer, command.took_ms);
        add(call.seconds(command.at), "command", command.text.clone(), detail);
    }
    for event in &call.events {
        let headers: Vec<_> = event
            .headers
            .iter()
            .filter(|(name, _)| !["Audio-Stream-UUID", "Audio-Stream-Message"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let body = event.body.clone().unwrap_or_default();
        // The headers repeat the body; they are for the log.
        let detail = if figures.is_some() { body } else { [body, headers.join(", ")].join("  ") };
        add(call.seconds(event.at), "event", event.name.clone(), detail);
    }
    let server = &call.server;
    if let Some(opened) = server.opened {
        add(call.seconds(opened), "server", "connection open".to_owned(), call.url.clone());
    }
    if let Some(first) = server.arrivals.first() {
        let detail = format!("{} bytes of 16 kHz S16LE", first.samples.len() * 2);
        add(call.seconds(first.at), "server", "first audio out".to_owned(), detail);
    }
    for (index, answer) in server.answers.iter().enumerate() {
        let length = answer.samples.len() as f64 / f64::from(echo::RATE);
        let detail = format!("{length:.2} s of audio in one streamAudio message, then a text");
        add(call.seconds(answer.at), "server", format!("answer {}", index + 1), detail);
    }
    if let Some((at, how)) = &server.ended {
        add(call.seconds(*at), "server", "connection ended".to_owned(), how.clone());
    }
    add(call.seconds(call.hung_up), "call", "hung up".to_owned(), String::new());
    if let Some(figures) = figures {
        for (index, trip) in figures.trips.iter().enumerate() {
            let said = |sample| figures.said.sounded(sample);
            let heard = |sample| figures.heard.sounded(sample);
            let detail = format!("until {:.3} s", said(trip.said.end - 1));
            add(said(trip.said.start), "phone", format!("utterance {} said", index + 1), detail);
            let detail = format!("until {:.3} s", heard(trip.heard_end - 1));
            add(heard(trip.heard), "phone", format!("answer {} heard", index + 1), detail);
        }
    }
    moments.sort_by(|a, b| a.at.total_cmp(&b.at));
    moments
}

/// The report.
pub fn html(call: &Recording, figures: &Figures) -> String {
    let mut page = String::with_capacity(1 << 20);
    let css = include_str!("report.css");
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>A call through mod_audio_stream</title>\n\
         <style>\n{css}</style>\n</head>\n<body>\n<main>\n"
    );
    header(&mut page, call, figures);
    let _ = write!(page, "<figure class=\"call\">{}", the_call(call, figures));
    player(&mut page, figures);
    page.push_str("</figure>\n<section class=\"cards\">\n");
    cards(&mut page, figures);
    page.push_str("</section>\n<section class=\"tables\">\n");
    also(&mut page, call, figures);
    happened(&mut page, call, figures);
    let _ = write!(page, "</section>\n</main>\n<script>\n{}</script>\n</body>\n</html>\n", include_str!("report.js"));
    page
}

fn header(page: &mut String, call: &Recording, figures: &Figures) {
    let version = |field: &str| call.version["build"][field].as_str().unwrap_or("unknown").to_owned();
    let _ = write!(
        page,
        "<header>\n<h1>A call through mod_audio_stream</h1>\n<p class=\"lead\">A caller speaks twice; after {:.1} s of \
         silence the server sends the sentence back at once. <code>clear</code> drops the last {:.1} s of the second.</p>\n\
         <p class=\"run\"><b>{}</b> · {} · module {} <code>{}</code>, {} build · {}</p>\n</header>\n",
        echo::PAUSE.as_secs_f64(),
        figures.cleared,
        escape(&call.host),
        escape(&call.medium),
        escape(call.version["version"].as_str().unwrap_or("unknown")),
        escape(&version("commit")),
        escape(&version("profile")),
        utc_now()
    );
}

/// The whole call: flags, the caller's voice, the server, what waits, what is heard.
fn the_call(call: &Recording, figures: &Figures) -> String {
    // Room for the last flags at the right.
    let axis = Axis { from: 0.0, to: figures.length + 0.9, left: GUTTER, right: WIDTH - 6.0 };
    let event = |name: &str| call.event(name).map(|at| call.seconds(at));
    let command = |word: &str| call.command(word).map(|command| call.seconds(command.at));
    let trips = &figures.trips;
    let mut flags = vec![Flag::new(0.0, "call parked", "plain")];
    let mut flag = |at: Option<f64>, text: &str, class: &'static str| {
        flags.extend(at.map(|at| Flag::new(at, text, class)));
    };
    flag(command("start"), "start", "command");
    flag(event("connect"), "connect", "event");
    flag(call.server.arrivals.first().map(|first| call.seconds(first.at)), "first audio out", "said");
    flag(Some(trips[0].answered), "answer 1 sent", "server");
    flag(Some(figures.heard.passed(trips[0].heard)), "first audio heard", "heard");
    flag(Some(trips[1].answered), "answer 2 sent", "server");
    flag(Some(figures.clear), "clear", "alarm");
    flag(Some(figures.silence), "silence", "heard");
    flag(command("stop"), "stop", "command");
    flag(event("disconnect"), "disconnect", "event");
    flag(Some(call.seconds(call.hung_up)), "hang-up", "plain");
    flags.sort_by(|a, b| a.at.total_cmp(&b.at));

    let foot = flags_height(&flags, axis) + 4.0;
    let said = Lane::new(foot + 6.0, 104.0);
    let server = Lane::new(said.bottom() + 14.0, 30.0);
    let queue = Lane::new(server.bottom() + 14.0, 58.0);
    let heard = Lane::new(queue.bottom() + 14.0, 104.0);
    let bottom = heard.bottom() + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 22.0);
    for lane in [said, server, queue, heard] {
        svg.rect("lane", (GUTTER, lane.top()), (axis.right - GUTTER, lane.half * 2.0));
    }
    svg.ticks(axis, (foot + 6.0, bottom), 1.0, (1.0, " s"), 0.0);
    let mut name = |lane: Lane, first: &str, second: &str| {
        svg.text("name", (0.0, lane.middle - 2.0), "start", first);
        svg.text("note", (0.0, lane.middle + 14.0), "start", second);
    };
    name(said, "Caller says", "8 kHz, at the phone");
    name(server, "Server", "16 kHz, WebSocket");
    name(queue, "Queued", "in the module");
    name(heard, "Caller hears", "8 kHz, at the phone");

    let said_samples = figures.said.laid_out(figures.length, true);
    let heard_samples = figures.heard.laid_out(figures.length, true);
    let peak = said_samples.iter().chain(&heard_samples).map(|sample| sample.saturating_abs()).max().unwrap_or(1);
    svg.wave("wave said", &said_samples, axis, said, peak);

    // The server: connected, hearing voice, answering.
    if let (Some(from), Some((to, _))) = (call.server.opened, &call.server.ended) {
        let (from, to) = (axis.x(call.seconds(from)), axis.x(call.seconds(*to)));
        svg.rect("connected", (from, server.middle - 2.0), (to - from, 4.0));
    }
    for (index, trip) in trips.iter().enumerate() {
        let end = trip.received + trip.said.len() - 1;
        let (from, to) = (axis.x(figures.received.passed(trip.received)), axis.x(figures.received.passed(end)));
        svg.rect("receives", (from, server.middle - 9.0), (to - from, 18.0));
        svg.text(
            "inside",
            ((from + to) / 2.0, server.middle + 4.0),
            "middle",
            &format!("receives sentence {}", index + 1),
        );
        let pause = format!("{:.1} s", echo::PAUSE.as_secs_f64());
        svg.text("note", ((to + axis.x(trip.answered)) / 2.0, server.middle - 6.0), "middle", &pause);
        svg.diamond("answer", axis.x(trip.answered), server.middle);
    }

    let waits: Vec<_> = call.queue.iter().map(|(at, ms)| (call.seconds(*at), *ms)).collect();
    let most = waits.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    svg.steps("queue", &waits, axis, queue, most * 1.08);
    for trip in trips {
        let text = format!("{:.1} s", most / 1e3);
        svg.text("note", (axis.x(trip.answered) - 5.0, queue.top() + 13.0), "end", &text);
    }

    // What would have been heard: the rest of the second answer.
    let cut = &trips[1];
    let heard_part = cut.heard_end - cut.heard;
    let mut ghost = vec![0; (figures.silence * f64::from(RATE)) as usize];
    ghost.extend(&cut.answer[heard_part.min(cut.answer.len())..]);
    let rest = Axis { from: figures.silence, left: axis.x(figures.silence), ..axis };
    let ghost_end = figures.silence + figures.cleared;
    let rest = Axis { to: ghost_end.min(axis.to), right: axis.x(ghost_end), ..rest };
    svg.wave("ghost", &ghost, rest, heard, peak);
    svg.wave("wave heard", &heard_samples, axis, heard, peak);
    let label = format!("{:.1} s dropped by clear", figures.cleared);
    svg.text("dropped", (rest.left + 6.0, heard.bottom() - 5.0), "start", &label);

    svg.flags(&flags, axis, foot, bottom);
    svg.line("playhead", (axis.left, foot + 6.0), (axis.left, bottom));
    let title = "The call over time: what the caller says, what the server does, what waits in the module, what the caller hears";
    let drawing = svg.finish("call", title);
    let data = format!(
        "<svg data-left=\"{}\" data-right=\"{}\" data-width=\"{WIDTH}\" data-length=\"{}\" ",
        axis.left, axis.right, axis.to
    );
    drawing.replacen("<svg ", &data, 1)
}

fn player(page: &mut String, figures: &Figures) {
    let said = figures.said.laid_out(figures.length, true);
    let heard = figures.heard.laid_out(figures.length, true);
    let mut wav = std::io::Cursor::new(Vec::new());
    let spec =
        hound::WavSpec { channels: 2, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut wav, spec).expect("memory takes it");
    for sample in interleave(&said, &heard) {
        writer.write_sample(sample).expect("memory takes it");
    }
    writer.finalize().expect("memory takes it");
    let _ = write!(
        page,
        "\n<figcaption><audio controls preload=\"auto\" src=\"data:audio/wav;base64,{}\"></audio>\
         <span>Left ear: what the caller says. Right ear: what the caller hears. A click into the picture plays from there.</span>\
         </figcaption>",
        STANDARD.encode(wav.into_inner())
    );
}

fn card(page: &mut String, class: &str, name: &str, ms: f64, small: &str, drawing: &str, how: &str) {
    let _ = write!(
        page,
        "<article class=\"{class}\">\n<h2>{name}</h2>\n<p class=\"figure\">{ms:.1}<small> ms</small> <span>{small}</span></p>\n\
         {drawing}\n<p class=\"how\">{how}</p>\n</article>\n"
    );
}

/// The three latencies, each with the place in the audio where it can be seen.
fn cards(page: &mut String, figures: &Figures) {
    let (width, height) = CARD;
    let upper = Lane::new(22.0, 48.0);
    let lower = Lane::new(92.0, 48.0);
    let axis = |from: f64, to: f64| Axis { from, to, left: 1.0, right: width - 1.0 };
    let exactly = |track: &Track| track.laid_out(figures.length, false);
    let local = |samples: &[i16], axis: Axis| {
        let index = |seconds: f64| ((seconds.max(0.0) * f64::from(RATE)) as usize).min(samples.len());
        samples[index(axis.from)..index(axis.to)].iter().map(|sample| sample.saturating_abs()).max().unwrap_or(1)
    };
    let said = exactly(&figures.said);
    let received = exactly(&figures.received);
    let heard = exactly(&figures.heard);
    let trip = &figures.trips[0];

    // Said to server, at the first packet with voice.
    let sent = figures.said.passed(trip.said.start);
    let mut last = trip.said.start;
    while last + 1 < trip.said.end && figures.said.passed(last + 1) <= sent {
        last += 1;
    }
    let arrived = figures.received.passed(trip.received + last - trip.said.start);
    let view = axis(sent - 0.03, sent + 0.19);
    let mut svg = Svg::new(width, height);
    lanes(&mut svg, view, sent, [(upper, "leaves the phone"), (lower, "arrives at the server")]);
    let peak = local(&said, view);
    svg.wave("wave said", &said, view, upper, peak);
    svg.wave("wave said", &received, view, lower, peak);
    svg.line("pole said", (view.x(sent), upper.top()), (view.x(sent), lower.bottom()));
    svg.line("pole said", (view.x(arrived), upper.bottom()), (view.x(arrived), lower.bottom()));
    svg.measure("said", view, (sent, arrived), 81.0, &format!("{:.1} ms", (arrived - sent) * 1e3));
    let spread = figures.to_server;
    card(
        page,
        "said",
        "Said → server",
        spread.median,
        &format!("median of {} packets, {:.1} to {:.1}", spread.count, spread.least, spread.most),
        &svg.finish("to-server", "The beginning of the first sentence at the phone and at the server"),
        &format!(
            "From the moment a packet with voice leaves the phone until the server has the message with the packet’s last \
             sample. Cross-correlation finds the sample in what the server received ({:.4} alike, where 1 is the same wave). \
             The 20 ms in which a phone fills a packet are not counted. Drawn: the first packet.",
            figures.trips.iter().map(|trip| trip.received_alike).fold(1.0, f64::min)
        ),
    );

    // Server to heard, at the first answer.
    let (sent, given) = (trip.answered, figures.heard.passed(trip.heard));
    let view = axis(sent - 0.03, sent + 0.19);
    let mut answer = vec![0; (sent * f64::from(RATE)) as usize];
    answer.extend(&trip.answer);
    let mut svg = Svg::new(width, height);
    lanes(&mut svg, view, sent, [(upper, "the server’s answer"), (lower, "at the phone")]);
    let peak = local(&answer, view).max(local(&heard, view));
    svg.wave("wave server", &answer, view, upper, peak);
    svg.wave("wave heard", &heard, view, lower, peak);
    svg.line("pole server", (view.x(sent), upper.top()), (view.x(sent), lower.bottom()));
    svg.line("pole heard", (view.x(given), upper.bottom()), (view.x(given), lower.bottom()));
    svg.measure("heard", view, (sent, given), 81.0, &format!("{:.1} ms", (given - sent) * 1e3));
    let (first, second) = (figures.to_caller[0], figures.to_caller[1]);
    card(
        page,
        "heard",
        "Server → heard",
        first.max(second),
        &format!("the later of two, {first:.1} and {second:.1}"),
        &svg.finish("to-caller", "The beginning of the first answer at the server and at the phone"),
        &format!(
            "From just before the server writes the answer to its socket until the phone is given the packet with the answer’s \
             first sample, found by cross-correlation ({:.4} alike). Drawn: the first answer.",
            figures.trips.iter().map(|trip| trip.heard_alike).fold(1.0, f64::min)
        ),
    );

    // Clear to silence.
    let (clear, silence) = (figures.clear, figures.silence);
    let view = axis(clear - 0.12, clear + 0.12);
    let cut = &figures.trips[1];
    let mut ghost = vec![0; (silence * f64::from(RATE)) as usize];
    ghost.extend(&cut.answer[(cut.heard_end - cut.heard).min(cut.answer.len())..]);
    let mut svg = Svg::new(width, height);
    let lane = Lane::new(22.0, 118.0);
    lanes(&mut svg, view, clear, [(lane, "at the phone"), (lane, "")]);
    let peak = local(&heard, view).max(local(&ghost, view));
    let rest = Axis { from: silence, left: view.x(silence), ..view };
    svg.wave("ghost", &ghost, rest, lane, peak);
    svg.wave("wave heard", &heard, view, lane, peak);
    svg.line("pole alarm", (view.x(clear), lane.top()), (view.x(clear), lane.bottom()));
    svg.line("pole heard", (view.x(silence), lane.top()), (view.x(silence), lane.bottom()));
    let to_silence = figures.to_silence();
    svg.measure("alarm", view, (clear, silence.max(clear)), lane.bottom() - 8.0, &format!("{to_silence:.1} ms"));
    card(
        page,
        "alarm",
        "Clear → silence",
        to_silence,
        "one barge-in by hand",
        &svg.finish("to-silence", "What the caller hears around clear"),
        "From just before the command is given until the last sound louder than −60 dB of full scale has been played: the time \
         of the packet that carried it, plus its place in the packet. Faint: what would have been heard. The cut waits for \
         nothing but the next packet, and is a short fade.",
    );
}

/// Backgrounds, names and an axis in milliseconds around `zero`.
fn lanes(svg: &mut Svg, axis: Axis, zero: f64, lanes: [(Lane, &str); 2]) {
    for (lane, _) in lanes {
        svg.rect("lane", (axis.left, lane.top()), (axis.right - axis.left, lane.half * 2.0));
    }
    svg.ticks(axis, (lanes[0].0.top(), lanes[1].0.bottom()), 0.05, (1e3, " ms"), zero);
    for (lane, name) in lanes {
        svg.text("note", (axis.right - 2.0, lane.top() - 6.0), "end", name);
    }
}

fn also(page: &mut String, call: &Recording, figures: &Figures) {
    let health = |group: &str, field: &str| call.health[group][field].to_string();
    let clear = call.command("clear").map_or(0.0, |command| command.took_ms);
    let rows = [
        (
            "Start → connected",
            format!("{:.1} ms", figures.to_connect),
            "from giving the command <code>start</code> until a subscriber had the event <code>connect</code>"
                .to_owned(),
        ),
        (
            "Clear → answered",
            format!("{clear:.1} ms"),
            "the command’s own time, until it said <code>+OK</code>".to_owned(),
        ),
        (
            "Dropped by clear",
            format!("{:.2} s", figures.cleared),
            "samples of the second answer that were never heard; afterwards nothing louder than −60 dB was".to_owned(),
        ),
        (
            "In the media thread",
            format!("{} / {} µs", health("callback", "p50_us"), health("callback", "p99_us")),
            "half, and 99 of 100, of the module’s callbacks took at most this, as <code>health</code> tells".to_owned(),
        ),
        (
            "Lost on the way",
            format!(
                "{} / {} / {}",
                health("capture", "dropped_frames"),
                health("inject", "underrun_count"),
                health("inject", "overflow_count")
            ),
            "captured frames dropped, gaps in playback, overflows of the queue, as <code>health</code> tells"
                .to_owned(),
        ),
        (
            "Heard, by the module’s count",
            format!("{} ms", health("inject", "played_ms")),
            format!(
                "<code>played_ms</code>; by the phone’s count {:.0} ms from first to last sound",
                figures.trips.iter().map(|trip| trip.heard_end - trip.heard).sum::<usize>() as f64 * 1e3
                    / f64::from(RATE)
            ),
        ),
    ];
    page.push_str("<div>\n<h2>Also measured</h2>\n<table class=\"also\">\n");
    for (name, value, how) in rows {
        let _ = writeln!(page, "<tr><th>{name}</th><td class=\"value\">{}</td><td>{how}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n</div>\n");
}

fn happened(page: &mut String, call: &Recording, figures: &Figures) {
    page.push_str("<div>\n<h2>What happened</h2>\n<table class=\"happened\">\n");
    for moment in moments(call, Some(figures)) {
        let _ = writeln!(
            page,
            "<tr><td class=\"value\">{:.3} s</td><td><span class=\"who {who}\">{who}</span></td><td><b>{}</b></td>\
             <td class=\"detail\">{}</td></tr>",
            moment.at,
            escape(&moment.what),
            escape(&moment.detail),
            who = moment.who
        );
    }
    page.push_str("</table>\n<p class=\"how\">Times since the call was parked, all by this machine’s monotonic clock. Commands: \
                   when given; events: when they came to a subscriber; server: when read from or written to its socket; phone: the packets.</p>\n</div>\n");
}

/// Now, as `2026-01-31 12:34 UTC`.
fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years of 365 or 366 days, then months, counted off.
    let (mut year, mut day) = (1_970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", day + 1, minutes / 60, minutes % 60)
}
