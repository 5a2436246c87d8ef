//! The text that Prometheus reads, version 0.0.4 of its format.
//!
//! Every metric of the list has its help and type once, with all of its samples behind. Samples with the same labels are added up,
//! so that what lost its own label for the sake of a bound is not there twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::list::{METRICS, Metric};
use super::value::Distribution;

/// Labels of a sample: name and value, in the order they are written.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// A page that is being written.
#[derive(Default)]
pub struct Page {
    /// By the metric's name; each sample by its labels as written.
    samples: BTreeMap<&'static str, BTreeMap<String, Sample>>,
}

enum Sample {
    Value(f64),
    Distribution(Distribution),
}

impl Page {
    /// Adds a value to the sample with these labels.
    pub fn value(&mut self, metric: &Metric, labels: Labels<'_>, value: f64) {
        let samples = self.samples.entry(metric.name).or_default();
        match samples.entry(written(labels)).or_insert(Sample::Value(0.0)) {
            Sample::Value(sum) => *sum += value,
            Sample::Distribution(_) => {}
        }
    }

    /// Adds a count to the sample with these labels.
    pub fn count(&mut self, metric: &Metric, labels: Labels<'_>, count: u64) {
        self.value(metric, labels, count as f64);
    }

    /// Adds observations to the sample with these labels.
    pub fn distribution(&mut self, metric: &Metric, labels: Labels<'_>, more: Distribution) {
        let samples = self.samples.entry(metric.name).or_default();
        match samples.get_mut(&written(labels)) {
            Some(Sample::Distribution(sum)) => {
                sum.counts.iter_mut().zip(&more.counts).for_each(|(count, more)| *count += more);
                sum.sum_ns = sum.sum_ns.saturating_add(more.sum_ns);
            }
            Some(Sample::Value(_)) => {}
            None => {
                samples.insert(written(labels), Sample::Distribution(more));
            }
        }
    }

    /// The page.
    pub fn finish(self) -> String {
        let mut out = String::new();
        for metric in METRICS {
            let Metric { name, help, kind } = metric;
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
            for (labels, sample) in self.samples.get(name).into_iter().flatten() {
                match sample {
                    Sample::Value(value) => {
                        let _ = writeln!(out, "{name}{} {value}", braced(labels));
                    }
                    Sample::Distribution(distribution) => write_distribution(&mut out, name, labels, distribution),
                }
            }
        }
        out
    }
}

fn write_distribution(out: &mut String, name: &str, labels: &str, distribution: &Distribution) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut sum = 0;
    let ends = distribution.bounds.iter().map(|ns| seconds(*ns)).chain(std::iter::once("+Inf".to_owned()));
    for (end, count) in ends.zip(&distribution.counts) {
        sum += count;
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {sum}");
    }
    let _ = writeln!(out, "{name}_sum{} {}", braced(labels), seconds(distribution.sum_ns));
    let _ = writeln!(out, "{name}_count{} {sum}", braced(labels));
}

fn seconds(ns: u64) -> String {
    (ns as f64 / 1e9).to_string()
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn written(labels: Labels<'_>) -> String {
    let one = |(name, value): &(&str, &str)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    labels.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::list::{CONNECT, EVENTS_DROPPED, Kind, STREAMS};
    use super::*;

    #[test]
    fn a_page_has_help_type_and_samples_of_each_metric() {
        let mut page = Page::default();
        page.count(&STREAMS, &[("server", "a \"b\"\\\n")], 2);
        page.count(&STREAMS, &[("server", "other")], 1);
        page.count(&STREAMS, &[("server", "other")], 3);
        page.count(&EVENTS_DROPPED, &[], 7);
        let text = page.finish();
        assert!(text.contains(
            "# HELP audio_stream_streams Streams that exist now.\n# TYPE audio_stream_streams gauge\n\
             audio_stream_streams{server=\"a \\\"b\\\"\\\\\\n\"} 2\naudio_stream_streams{server=\"other\"} 4\n"
        ));
        assert!(
            text.contains("# TYPE audio_stream_events_dropped_total counter\naudio_stream_events_dropped_total 7\n")
        );
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len());
    }

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let bounds = match CONNECT.kind {
            Kind::Histogram(bounds) => bounds,
            kind => unreachable!("{kind:?}"),
        };
        let mut counts = vec![0; bounds.len() + 1];
        (counts[0], counts[2], counts[bounds.len()]) = (1, 2, 3);
        let mut page = Page::default();
        for _ in 0..2 {
            let distribution = Distribution { bounds, counts: counts.clone(), sum_ns: 1_500_000_000 };
            page.distribution(&CONNECT, &[("server", "s")], distribution);
        }
        let text = page.finish();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("audio_stream_connect_seconds")).collect();
        assert_eq!(lines[0], r#"audio_stream_connect_seconds_bucket{server="s",le="0.005"} 2"#);
        assert_eq!(lines[2], r#"audio_stream_connect_seconds_bucket{server="s",le="0.025"} 6"#);
        assert_eq!(lines[bounds.len()], r#"audio_stream_connect_seconds_bucket{server="s",le="+Inf"} 12"#);
        assert_eq!(lines[bounds.len() + 1], r#"audio_stream_connect_seconds_sum{server="s"} 3"#);
        assert_eq!(lines[bounds.len() + 2], r#"audio_stream_connect_seconds_count{server="s"} 12"#);
    }
}
