//! Finds what was said in what the server received, and what the server sent in what the caller heard; measures between them.
//!
//! All audio is looked at as 8 kHz mono. Times are seconds since the call was given to the demonstration. Where a sample belongs
//! is found by cross-correlation; when it passed is the time of the packet or message that carried it.

use std::ops::Range;
use std::time::Instant;

use serde_json::Value;

use crate::echo::Log;
use crate::line::{Packet, RATE};
use crate::support::audio::{find, rms};

/// Samples no louder than this are silence: -60 dB of full scale.
pub const QUIET: u16 = 33;
/// A pause longer than this ends an utterance; the sentence's own are shorter.
const PAUSE: usize = RATE as usize / 2;
/// How much of an answer is looked for in what was heard: the second one is cut.
const EXCERPT: usize = RATE as usize * 4 / 5;
/// Packets up to this much early or late follow each other; further off there was a gap.
const JITTER: usize = RATE as usize / 10;
/// Less alike than this (1: the same wave) is not the same audio.
const ALIKE: f64 = 0.9;

/// A command given to the module.
#[derive(Clone, Debug)]
pub struct Command {
    /// When it was given.
    pub at: Instant,
    /// The words after `uuid_audio_stream <uuid>`.
    pub text: String,
    /// The module's answer.
    pub answer: String,
    /// How long the answer took.
    pub took_ms: f64,
}

/// Everything recorded of a call.
pub struct Recording {
    /// Time 0.
    pub origin: Instant,
    /// What runs the module.
    pub host: String,
    /// How audio crosses between phone and FreeSWITCH.
    pub medium: String,
    /// The call's uuid.
    pub uuid: String,
    /// Where the server listened.
    pub url: String,
    /// What the phone sent.
    pub said: Vec<Packet>,
    /// What the phone was given.
    pub heard: Vec<Packet>,
    /// The server's side.
    pub server: Log,
    /// Commands, in order.
    pub commands: Vec<Command>,
    /// The module's events.
    pub events: Vec<crate::line::Event>,
    /// Playback waiting in the module, ms, as `health` reported it.
    pub queue: Vec<(Instant, f64)>,
    /// `health` just before the end.
    pub health: Value,
    /// `version`.
    pub version: Value,
    /// When the call was hung up.
    pub hung_up: Instant,
}

impl Recording {
    /// Seconds since the origin.
    pub fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// When the command that begins with `word` was given.
    pub fn command(&self, word: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.text.starts_with(word))
    }

    /// When the first event of this name was fired.
    pub fn event(&self, name: &str) -> Option<Instant> {
        self.events.iter().find(|event| event.name == name).map(|event| event.at)
    }
}

/// Audio and when each part of it passed.
pub struct Track {
    /// S16 at 8 kHz, parts joined.
    pub samples: Vec<i16>,
    /// Time in seconds and first sample of each part.
    parts: Vec<(f64, usize)>,
}

impl Track {
    fn new(parts: impl Iterator<Item = (f64, Vec<i16>)>) -> Self {
        let mut track = Self { samples: Vec::new(), parts: Vec::new() };
        for (at, samples) in parts {
            track.parts.push((at, track.samples.len()));
            track.samples.extend(samples);
        }
        track
    }

    /// Index, time and samples of the part that carried a sample.
    fn part(&self, sample: usize) -> (usize, f64, Range<usize>) {
        let index = self.parts.partition_point(|(_, first)| *first <= sample).saturating_sub(1);
        let (at, first) = self.parts.get(index).copied().unwrap_or_default();
        let end = self.parts.get(index + 1).map_or(self.samples.len(), |(_, next)| *next);
        (index, at, first..end)
    }

    /// When the part with this sample passed.
    pub fn passed(&self, sample: usize) -> f64 {
        self.part(sample).1
    }

    /// When this sample sounded: a part sounds from when it passed.
    pub fn sounded(&self, sample: usize) -> f64 {
        let (_, at, samples) = self.part(sample);
        at + sample.saturating_sub(samples.start) as f64 / f64::from(RATE)
    }

    /// The samples of the parts that passed from one time on and before another.
    fn between(&self, from: f64, to: f64) -> Range<usize> {
        let first = |time: f64| {
            let index = self.parts.partition_point(|(at, _)| *at < time);
            self.parts.get(index).map_or(self.samples.len(), |(_, first)| *first)
        };
        first(from)..first(to)
    }

    /// From the first to after the last sample louder than [`QUIET`] among these.
    fn loud(&self, range: Range<usize>) -> Option<Range<usize>> {
        let loud = |sample: &i16| sample.unsigned_abs() > QUIET;
        let samples = &self.samples[range.clone()];
        let (first, last) = (samples.iter().position(loud)?, samples.iter().rposition(loud)?);
        Some(range.start + first..range.start + last + 1)
    }

    /// The audio laid out in time, `seconds` long. `steady`: packets that are a little early or late follow each other, as a
    /// phone plays them; otherwise each lies exactly where it passed.
    pub fn laid_out(&self, seconds: f64, steady: bool) -> Vec<i16> {
        let length = (seconds * f64::from(RATE)) as usize;
        let mut out = vec![0; length];
        let mut cursor = 0_usize;
        for &(at, first) in &self.parts {
            let samples = &self.samples[self.part(first).2];
            let due = (at * f64::from(RATE)) as usize;
            let follows = steady && cursor > 0 && (cursor > due || due - cursor < JITTER);
            let from = if follows { cursor } else { due };
            for (place, sample) in out.iter_mut().skip(from).zip(samples) {
                *place = *sample;
            }
            cursor = from + samples.len();
        }
        out
    }
}

/// The least, the middle and the greatest of many.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Milliseconds.
    pub least: f64,
    /// Milliseconds.
    pub median: f64,
    /// Milliseconds.
    pub most: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { least: *values.first()?, median, most: *values.last()?, count: values.len() })
    }
}

/// One utterance's way.
#[derive(Clone, Debug)]
pub struct Trip {
    /// Its samples in what was said.
    pub said: Range<usize>,
    /// Its first sample in what the server received.
    pub received: usize,
    /// How alike the two are.
    pub received_alike: f64,
    /// When the server sent the answer.
    pub answered: f64,
    /// The answer, 8 kHz.
    pub answer: Vec<i16>,
    /// The answer's first sample in what was heard.
    pub heard: usize,
    /// How alike the heard excerpt and the answer's are.
    pub heard_alike: f64,
    /// After the last sample of it that was heard.
    pub heard_end: usize,
}

/// What was measured.
pub struct Figures {
    /// Everything that is drawn lies before this, seconds.
    pub length: f64,
    /// The phone's sending.
    pub said: Track,
    /// The server's receiving.
    pub received: Track,
    /// The phone's hearing.
    pub heard: Track,
    /// The two utterances.
    pub trips: Vec<Trip>,
    /// From a packet leaving the phone to its last sample's arrival at the server, over all packets with voice, ms.
    pub to_server: Spread,
    /// From an answer's sending to its first packet at the phone, each answer, ms.
    pub to_caller: Vec<f64>,
    /// When `clear` was given.
    pub clear: f64,
    /// When the last sound of the second answer had sounded.
    pub silence: f64,
    /// Of the second answer never heard, s.
    pub cleared: f64,
    /// From `start` to the event `connect`, ms.
    pub to_connect: f64,
}

impl Figures {
    /// From `clear` to silence, ms; 0 when the sound ended before.
    pub fn to_silence(&self) -> f64 {
        ((self.silence - self.clear) * 1e3).max(0.0)
    }
}

/// The voice in the samples, utterance by utterance, from the first to after the last sample louder than [`QUIET`].
pub fn utterances(samples: &[i16]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let loud = samples.iter().enumerate().filter(|(_, sample)| sample.unsigned_abs() > QUIET).map(|(index, _)| index);
    for index in loud {
        match found.last_mut() {
            Some(last) if index - last.end < PAUSE => last.end = index + 1,
            _ => found.push(index..index + 1),
        }
    }
    // A click is no utterance.
    found.retain(|range| range.len() > RATE as usize / 10);
    found
}

/// Every second sample: what came from 8 kHz has nothing above 4 kHz.
fn halved(samples: &[i16]) -> Vec<i16> {
    samples.iter().step_by(2).copied().collect()
}

/// Where `needle` begins in `samples`, looked for around `near`, and how alike they are there.
fn locate(samples: &[i16], near: &Range<usize>, needle: &[i16], what: &str) -> Result<(usize, f64), String> {
    let margin = RATE as usize / 5;
    let from = near.start.saturating_sub(margin);
    let to = (near.end + margin).max(from + needle.len() + 2 * margin).min(samples.len());
    let window = samples.get(from..to).filter(|window| window.len() >= needle.len());
    let (index, alike) = find(window.ok_or_else(|| format!("{what} is too short"))?, needle);
    if alike < ALIKE {
        return Err(format!("{what} is not what it should be: {alike:.3} alike"));
    }
    Ok((from + index, alike))
}

/// Measures the call; an error says what is not as it should be.
pub fn measure(call: &Recording) -> Result<Figures, String> {
    let since = |packets: &[Packet]| {
        let kept = packets.iter().filter(|packet| packet.at >= call.origin);
        Track::new(kept.map(|packet| (call.seconds(packet.at), packet.samples.clone())))
    };
    let (said, heard) = (since(&call.said), since(&call.heard));
    let arrivals = call.server.arrivals.iter();
    let received = Track::new(arrivals.map(|arrival| (call.seconds(arrival.at), halved(&arrival.samples))));
    let (spoken, arrived) = (utterances(&said.samples), utterances(&received.samples));
    let answers = &call.server.answers;
    // A parked caller is sent packets only while there is something to hear, so what is heard is distinguished by time.
    let sent = |index: usize| answers.get(index).map_or(f64::MAX, |answer| call.seconds(answer.at));
    let sounds = |index| heard.loud(heard.between(sent(index), sent(index + 1)));
    let audible: Vec<_> = (0..answers.len()).filter_map(sounds).collect();
    if [spoken.len(), arrived.len(), answers.len(), audible.len()] != [2; 4] {
        return Err(format!(
            "of 2 utterances {} were said, {} arrived at the server, {} were answered and {} were heard",
            spoken.len(),
            arrived.len(),
            answers.len(),
            audible.len()
        ));
    }

    let mut trips = Vec::new();
    let mut to_server = Vec::new();
    for (index, spoken) in spoken.into_iter().enumerate() {
        let needle = &said.samples[spoken.clone()];
        let (place, received_alike) = locate(&received.samples, &arrived[index], needle, "what the server received")?;
        let mut sample = spoken.start;
        while sample < spoken.end {
            let (_, sent, samples) = said.part(sample);
            let last = samples.end - 1;
            if last < spoken.end {
                to_server.push((received.passed(place + last - spoken.start) - sent) * 1e3);
            }
            sample = samples.end;
        }
        let answer = halved(&answers[index].samples);
        let onset = utterances(&answer).first().map_or(0, |voice| voice.start);
        let excerpt = &answer[onset..(onset + EXCERPT).min(answer.len())];
        let (voice, heard_alike) = locate(&heard.samples, &audible[index], excerpt, "what the caller heard")?;
        trips.push(Trip {
            said: spoken,
            received: place,
            received_alike,
            answered: call.seconds(answers[index].at),
            answer,
            heard: voice.saturating_sub(onset),
            heard_alike,
            heard_end: audible[index].end,
        });
    }
    let to_caller = trips.iter().map(|trip| (heard.passed(trip.heard) - trip.answered) * 1e3).collect();

    let missing = |what: &str| format!("there is no {what}");
    let clear = call.command("clear").ok_or_else(|| missing("clear"))?;
    let start = call.command("start").ok_or_else(|| missing("start"))?;
    let connect = call.event("connect").ok_or_else(|| missing("event connect"))?;
    call.event("disconnect").ok_or_else(|| missing("event disconnect"))?;
    let cut = &trips[1];
    let silence = heard.sounded(cut.heard_end - 1);
    let cleared = (cut.answer.len() as f64 - (cut.heard_end - cut.heard) as f64) / f64::from(RATE);
    if cleared < 0.3 {
        return Err(format!("clear has cut nothing: all but {cleared:.2} s of the second answer were heard"));
    }
    let after = &heard.samples[cut.heard_end..];
    if rms(after) > f64::from(QUIET) {
        return Err("after clear something is heard".to_owned());
    }
    Ok(Figures {
        length: call.seconds(call.hung_up) + 0.1,
        to_server: Spread::of(to_server).ok_or_else(|| missing("packet with voice"))?,
        to_caller,
        clear: call.seconds(clear.at),
        silence,
        cleared,
        to_connect: (call.seconds(connect) - call.seconds(start.at)) * 1e3,
        said,
        received,
        heard,
        trips,
    })
}
