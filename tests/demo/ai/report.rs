//! Writes the report: one HTML file that needs nothing else.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::drawing::{Axis, Flag, Lane, Svg, escape, flags_height};
use crate::line::RATE;
use crate::measure::{Figures, Recording, laid_out};
use crate::support::signal::interleave;
use crate::{SILENCE_MS, THINKING};

/// Pixels of the drawing, and left of it for the names of the lanes.
const WIDTH: f64 = 1_160.0;
const GUTTER: f64 = 116.0;

/// The report.
pub fn html(call: &Recording, figures: &Figures) -> String {
    let css = include_str!("../report.css");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>A conversation through mod_audio_stream</title>\n\
         <style>\n{css}.state {{ fill: var(--queue); }}\n.state.SPEAKING {{ fill: var(--heard); }}\n\
         .state.PROCESSING {{ fill: var(--server); }}\n</style>\n</head>\n<body>\n<main>\n"
    );
    let _ = write!(
        page,
        "<header>\n<h1>A conversation through mod_audio_stream</h1>\n<p class=\"lead\">A caller asks, an agent answers; the \
         caller interrupts it, and is answered again.</p>\n<p class=\"run\"><b>{}</b> · {} · module {} · service: the scripted \
         Realtime server of the tests, which waits for {SILENCE_MS} ms of silence and thinks for {} ms · voices: {}</p>\n\
         </header>\n<figure class=\"call\">{}",
        escape(&call.host),
        escape(&call.medium),
        escape(call.version["version"].as_str().unwrap_or("unknown")),
        THINKING.as_millis(),
        escape(&call.voices),
        drawing(call, figures)
    );
    player(&mut page, call, figures);
    page.push_str("</figure>\n<section class=\"cards\">\n");
    for (index, turn) in figures.turns.iter().enumerate() {
        card(
            &mut page,
            "heard",
            &format!("Turn {}: end of speech → first audio", index + 1),
            turn.to_first_audio(),
            &format!("{:.0} until the service has sent audio, {:.1} from there", turn.service_ms(), turn.way_back_ms()),
            "From the last sound of the caller’s sentence at the phone until the phone was given the first sound of the answer. \
             The service’s part is the silence it waits for and the time it thinks, and the way there.",
        );
    }
    let cut = &figures.cut;
    card(
        &mut page,
        "alarm",
        "Interruption → silence",
        cut.to_silence(),
        &format!("{:.0} from the caller’s first sound", (cut.silence - cut.said) * 1e3),
        &format!(
            "From the moment the service reported that it hears the caller until the last sound of the answer was over. Of the answer \
             {:.0} ms were heard, first to last sound; the service was sent {} ms.",
            cut.heard_ms, cut.told_ms
        ),
    );
    page.push_str("</section>\n<section class=\"tables\">\n");
    turns(&mut page, figures);
    told(&mut page, call, figures);
    happened(&mut page, call);
    let script = include_str!("../report.js");
    let _ = write!(page, "</section>\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n");
    page
}

fn drawing(call: &Recording, figures: &Figures) -> String {
    let axis = Axis { from: 0.0, to: figures.length, left: GUTTER, right: WIDTH - 6.0 };
    let mut flags = Vec::new();
    for (index, turn) in figures.turns.iter().enumerate() {
        let number = index + 1;
        flags.push(Flag::new(turn.said_to, format!("end of speech {number}"), "said"));
        flags.push(Flag::new(turn.stopped, "turn found", "server"));
        flags.push(Flag::new(turn.first_delta, "audio sent", "server"));
        flags.push(Flag::new(turn.heard_from, format!("answer {number} heard"), "heard"));
    }
    let cut = &figures.cut;
    flags.push(Flag::new(cut.said, "caller interrupts", "said"));
    flags.push(Flag::new(cut.noticed, "noticed", "alarm"));
    flags.push(Flag::new(cut.silence, "silence", "heard"));
    flags.sort_by(|a, b| a.at.total_cmp(&b.at));
    let foot = flags_height(&flags, axis) + 4.0;
    let said = Lane::new(foot + 6.0, 104.0);
    let server = Lane::new(said.bottom() + 14.0, 34.0);
    let state = Lane::new(server.bottom() + 14.0, 26.0);
    let heard = Lane::new(state.bottom() + 14.0, 104.0);
    let bottom = heard.bottom() + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 22.0);
    for lane in [said, server, state, heard] {
        svg.rect("lane", (GUTTER, lane.top()), (axis.right - GUTTER, lane.half * 2.0));
    }
    svg.ticks(axis, (foot + 6.0, bottom), 1.0, (1.0, " s"), 0.0);
    for (lane, first, second) in [
        (said, "Caller says", "at the phone"),
        (server, "Service", "sends audio"),
        (state, "Conversation", "ai_state"),
        (heard, "Caller hears", "at the phone"),
    ] {
        svg.text("name", (0.0, lane.middle - 2.0), "start", first);
        svg.text("note", (0.0, lane.middle + 14.0), "start", second);
    }
    let said_samples = laid_out(call, &call.said, figures.length);
    let heard_samples = laid_out(call, &call.heard, figures.length);
    let peak = |samples: &[i16]| samples.iter().map(|sample| sample.saturating_abs()).max().unwrap_or(1);
    svg.wave("wave said", &said_samples, axis, said, peak(&said_samples));
    svg.wave("wave heard", &heard_samples, axis, heard, peak(&heard_samples));
    // Each delta as wide as its audio lasts would overlap: a line for each.
    for (at, _) in call.far("response.output_audio.delta") {
        svg.rect("receives", (axis.x(at), server.top() + 4.0), (2.0, server.half * 2.0 - 8.0));
    }
    for (at, _) in call.far("response.done") {
        svg.diamond("answer", axis.x(at), server.middle);
    }
    let states = call.states();
    for (index, (from, name)) in states.iter().enumerate() {
        let to = states.get(index + 1).map_or(figures.length, |(at, _)| *at);
        let (left, right) = (axis.x(*from), axis.x(to));
        svg.rect(&format!("state {}", escape(name)), (left, state.top()), ((right - left).max(1.0), state.half * 2.0));
        if right - left > name.len() as f64 * 7.5 {
            svg.text("inside", ((left + right) / 2.0, state.middle + 4.0), "middle", name);
        }
    }
    svg.flags(&flags, axis, foot, bottom);
    svg.line("playhead", (axis.left, foot + 6.0), (axis.left, bottom));
    let title =
        "The call over time: what the caller says, when the service sends audio, the states, what the caller hears";
    let data = format!(
        "<svg data-left=\"{}\" data-right=\"{}\" data-width=\"{WIDTH}\" data-length=\"{}\" ",
        axis.left, axis.right, axis.to
    );
    svg.finish("call", title).replacen("<svg ", &data, 1)
}

fn player(page: &mut String, call: &Recording, figures: &Figures) {
    let said = laid_out(call, &call.said, figures.length);
    let heard = laid_out(call, &call.heard, figures.length);
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

fn card(page: &mut String, class: &str, name: &str, ms: f64, small: &str, how: &str) {
    let _ = write!(
        page,
        "<article class=\"{class}\">\n<h2>{name}</h2>\n<p class=\"figure\">{ms:.0}<small> ms</small> <span>{small}</span></p>\n\
         <p class=\"how\">{how}</p>\n</article>\n"
    );
}

fn turns(page: &mut String, figures: &Figures) {
    page.push_str("<div>\n<h2>The turns</h2>\n<table class=\"happened\">\n");
    for (index, turn) in figures.turns.iter().enumerate() {
        let interrupted = if index == 0 { " — interrupted" } else { "" };
        for (from, to, who, words) in [
            (turn.said_from, turn.said_to, "caller", turn.caller.clone()),
            (turn.heard_from, turn.heard_to, "agent", format!("{}{interrupted}", turn.agent)),
        ] {
            let _ = writeln!(
                page,
                "<tr><td class=\"value\">{from:.2} s</td><td><span class=\"who\">{who}</span></td><td><b>{}</b></td>\
                 <td class=\"detail\">until {to:.2} s</td></tr>",
                escape(&words)
            );
        }
    }
    page.push_str("</table>\n</div>\n");
}

/// What the module itself says of its turns, beside what was measured at the phone.
fn told(page: &mut String, call: &Recording, figures: &Figures) {
    page.push_str(
        "<div>\n<h2>The module's own numbers</h2>\n<table class=\"happened\">\n<tr><th>turn</th><th>last sound to answer</th>\
         <th>at the phone</th><th>model</th><th>interruption to silence</th><th>heard</th></tr>\n",
    );
    let ms = |ms: Option<u64>| ms.map_or_else(String::new, |ms| format!("{ms} ms"));
    for (index, told) in call.told().iter().enumerate() {
        let measured =
            figures.turns.get(index).map_or_else(String::new, |turn| format!("{:.0} ms", turn.to_first_audio()));
        let _ = writeln!(
            page,
            "<tr><td class=\"value\">{}</td><td>{}</td><td>{measured}</td><td>{}</td><td>{}</td><td>{} ms</td></tr>",
            index + 1,
            ms(told.answer_ms),
            ms(told.model_ms),
            ms(told.silence_ms),
            told.heard_ms
        );
    }
    page.push_str("</table>\n</div>\n");
}

fn happened(page: &mut String, call: &Recording) {
    let mut moments: Vec<(f64, &str, String, String)> = Vec::new();
    for event in &call.events {
        moments.push((call.seconds(event.at), "event", event.name.clone(), event.body.clone().unwrap_or_default()));
    }
    for (at, event) in &call.service_told {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        moments.push((call.seconds(*at), "module", kind, event.to_string()));
    }
    for (at, event) in &call.service_said {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        if !kind.ends_with(".delta") && !kind.starts_with("session") {
            moments.push((call.seconds(*at), "server", kind, String::new()));
        }
    }
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    page.push_str("<div>\n<h2>What happened</h2>\n<table class=\"happened\">\n");
    for (at, who, what, detail) in moments {
        let _ = writeln!(
            page,
            "<tr><td class=\"value\">{at:.3} s</td><td><span class=\"who {who}\">{who}</span></td><td><b>{}</b></td>\
             <td class=\"detail\">{}</td></tr>",
            escape(&what),
            escape(&detail)
        );
    }
    page.push_str(
        "</table>\n<p class=\"how\">Times since the call was placed, all by this machine’s monotonic clock. Module: read by the service \
         from its socket, but for the caller’s audio; server: written to it, but for deltas.</p>\n</div>\n",
    );
}
