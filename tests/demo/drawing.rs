//! SVG: waveforms, areas, flags and measures over an axis of time. Colours are classes of report.css.

use std::fmt::Write as _;
use std::ops::Range;

use crate::line::RATE;

/// Width of a character of flags and labels, in pixels, for keeping them apart; a little generous.
const CHARACTER: f64 = 6.6;
/// Height of a row of flags.
const FLAG: f64 = 19.0;

/// A drawing under way.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Seconds on the horizontal axis.
#[derive(Clone, Copy)]
pub struct Axis {
    /// Time at the left, seconds.
    pub from: f64,
    /// Time at the right.
    pub to: f64,
    /// Pixels.
    pub left: f64,
    /// Pixels.
    pub right: f64,
}

impl Axis {
    /// The pixel of a time, kept within the axis.
    pub fn x(&self, seconds: f64) -> f64 {
        let share = (seconds - self.from) / (self.to - self.from);
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }
}

/// A lane: its middle and half its height, pixels.
#[derive(Clone, Copy)]
pub struct Lane {
    /// Pixels from the top.
    pub middle: f64,
    /// Pixels.
    pub half: f64,
}

impl Lane {
    /// The lane of this top and height.
    pub fn new(top: f64, height: f64) -> Self {
        Self { middle: top + height / 2.0, half: height / 2.0 }
    }

    /// Its upper edge.
    pub fn top(&self) -> f64 {
        self.middle - self.half
    }

    /// Its lower edge.
    pub fn bottom(&self) -> f64 {
        self.middle + self.half
    }
}

/// A moment with a name.
pub struct Flag {
    /// Seconds.
    pub at: f64,
    /// A few words.
    pub text: String,
    /// Its class.
    pub class: &'static str,
}

impl Flag {
    /// A flag.
    pub fn new(at: f64, text: impl Into<String>, class: &'static str) -> Self {
        Self { at, text: text.into(), class }
    }
}

impl Svg {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// The element; `title` is what a screen reader says.
    pub fn finish(self, id: &str, title: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg id=\"{id}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            escape(title),
            self.body
        )
    }

    /// A line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// A rectangle with slightly round corners.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#
        );
    }

    /// A text whose `anchor` is start, middle or end.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escape(text)
        );
    }

    /// A small diamond.
    pub fn diamond(&mut self, class: &str, x: f64, y: f64) {
        let _ = write!(self.body, r#"<path class="{class}" d="M{x:.1} {:.1}l5 5l-5 5l-5 -5z"/>"#, y - 5.0);
    }

    /// The wave of 8 kHz `samples`, of which index 0 lies at time 0: a pixel wide column from the least to the greatest sample
    /// each. `peak` fills the lane.
    pub fn wave(&mut self, class: &str, samples: &[i16], axis: Axis, lane: Lane, peak: i16) {
        let scale = lane.half / f64::from(peak.max(1));
        let per_pixel = (axis.to - axis.from) / (axis.right - axis.left) * f64::from(RATE);
        let column = |pixel: usize| -> Range<usize> {
            let from = axis.from * f64::from(RATE) + pixel as f64 * per_pixel;
            let to = (from + per_pixel).ceil();
            (from.max(0.0) as usize).min(samples.len())..(to.max(0.0) as usize).min(samples.len())
        };
        let (mut above, mut below) = (String::new(), Vec::new());
        for pixel in 0..(axis.right - axis.left) as usize {
            let samples = &samples[column(pixel)];
            let (least, most) = samples.iter().fold((0, 0), |(l, m), &s| (s.min(l), s.max(m)));
            let x = axis.left + pixel as f64 + 0.5;
            // Never thinner than a hair, so that silence is a line.
            let y = lane.middle - (f64::from(most) * scale).max(0.4);
            let _ = write!(above, "{}{x:.1} {y:.1}", if above.is_empty() { "M" } else { "L" });
            below.push((x, lane.middle + (f64::from(least) * -scale).max(0.4)));
        }
        let mut path = above;
        for (x, y) in below.into_iter().rev() {
            let _ = write!(path, "L{x:.1} {y:.1}");
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}Z"/>"#);
    }

    /// An area under steps: each value holds until the next.
    pub fn steps(&mut self, class: &str, values: &[(f64, f64)], axis: Axis, lane: Lane, peak: f64) {
        let Some((first, _)) = values.first() else { return };
        let y = |value: f64| lane.bottom() - (value / peak.max(1.0)).min(1.0) * 2.0 * lane.half;
        let mut path = format!("M{:.1} {:.1}", axis.x(*first), lane.bottom());
        for (at, value) in values {
            let _ = write!(path, "H{:.1}V{:.1}", axis.x(*at), y(*value));
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{path}V{:.1}Z"/>"#, lane.bottom());
    }

    /// Ticks and numbers every `step` seconds below `y`, with faint lines up to `top`. `unit` is a factor and a name.
    pub fn ticks(&mut self, axis: Axis, (top, y): (f64, f64), step: f64, (factor, unit): (f64, &str), zero: f64) {
        let mut number = ((axis.from - zero) / step).ceil() as i64;
        loop {
            let seconds = zero + number as f64 * step;
            if seconds > axis.to + 1e-9 {
                return;
            }
            let x = axis.x(seconds);
            self.line("grid", (x, top), (x, y));
            let value = (seconds - zero) * factor;
            let sign = if zero > 0.0 && number > 0 { "+" } else { "" };
            let anchor = if x + 2.0 * CHARACTER > axis.right { "end" } else { "middle" };
            self.text("tick", (x, y + 14.0), anchor, &format!("{sign}{value:.0}{unit}"));
            number += 1;
        }
    }

    /// Flags on poles down to `bottom`, in as many rows as keep their texts apart; the lowest row ends at `foot`.
    pub fn flags(&mut self, flags: &[Flag], axis: Axis, foot: f64, bottom: f64) {
        let rows = arrange(flags, axis);
        for (flag, (row, to_left)) in flags.iter().zip(rows) {
            let x = axis.x(flag.at);
            let y = foot - row as f64 * FLAG;
            self.line(&format!("pole {}", flag.class), (x, y - FLAG + 5.0), (x, bottom));
            let (offset, anchor) = if to_left { (-4.0, "end") } else { (4.0, "start") };
            self.text(&format!("flag {}", flag.class), (x + offset, y - 5.0), anchor, &flag.text);
        }
    }

    /// A measure: a double arrow between two times at height `y`, with its text above it.
    pub fn measure(&mut self, class: &str, axis: Axis, (from, to): (f64, f64), y: f64, text: &str) {
        let (x1, x2) = (axis.x(from), axis.x(to));
        self.rect(&format!("span {class}"), (x1, y - 2.0), ((x2 - x1).max(1.0), 4.0));
        let near_right = x2 + text.len() as f64 * CHARACTER > axis.right;
        let (x, anchor) = if near_right { (x1 - 5.0, "end") } else { (x2 + 5.0, "start") };
        self.text(&format!("measure {class}"), (x, y + 4.0), anchor, text);
    }
}

/// Height of the flags' rows, in pixels.
pub fn flags_height(flags: &[Flag], axis: Axis) -> f64 {
    arrange(flags, axis).into_iter().map(|(row, _)| (row + 1) as f64 * FLAG).fold(0.0, f64::max)
}

/// The row of each flag, and whether its text stands left of its pole. Later flags stand lower where there is room, so that no
/// pole runs through a text.
fn arrange(flags: &[Flag], axis: Axis) -> Vec<(usize, bool)> {
    let mut ends: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    // From the right: a flag stands above all whose poles its text crosses.
    for flag in flags.iter().rev() {
        let width = flag.text.chars().count() as f64 * CHARACTER + 10.0;
        let x = axis.x(flag.at);
        let to_left = x + width > axis.right + 8.0;
        let (from, to) = if to_left { (x - width, x) } else { (x, x + width) };
        let row = ends.iter().rposition(|&taken| taken < to).map_or(0, |row| row + 1);
        if row == ends.len() {
            ends.push(from);
        } else {
            ends[row] = ends[row].min(from);
        }
        placed.push((row, to_left));
    }
    placed.reverse();
    placed
}

/// Text as HTML and SVG show it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
