//! Whether a stream's call is on hold, and how long it was. A call whose media bypasses FreeSWITCH counts as on hold, too.
//!
//! While a call is on hold, FreeSWITCH does not read it or send to it. The caller's phone puts it on hold by a re-INVITE, or a command does.
//! No callback says so. Where no frame comes, the shard's tick has the event thread look at the call ([`HoldWatch`]), which writes
//! the answer here; the stream's task and `health` read it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::event::HoldCause;
use crate::media::link::MediaLink;

/// A call that gave no frame for so long is looked at: a few packets that are late together are less.
const STILL: Duration = Duration::from_millis(100);
/// Between two looks at a call that still gives no frame, or that is on hold.
const AGAIN: Duration = Duration::from_millis(200);

/// Whether the call is on hold. One writer, the event thread.
#[derive(Debug, Default)]
pub struct Hold {
    on: AtomicBool,
    asked: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    since: Option<Instant>,
    /// All holds before.
    before: Duration,
    /// Of the latest hold.
    cause: HoldCause,
}

impl Hold {
    /// Whether the call was on hold when it was last looked at.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// How long the call was on hold since the stream started.
    pub fn total(&self, now: Instant) -> Duration {
        let times = self.times.lock();
        times.before + times.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Why the call is on hold, or last was.
    pub fn cause(&self) -> HoldCause {
        self.times.lock().cause
    }

    /// Whether somebody has to be asked to look: nobody has been yet.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// The answer: why it is on hold, if it is. Returns whether a hold has begun or ended.
    pub fn answer(&self, cause: Option<HoldCause>, now: Instant) -> bool {
        let on = cause.is_some();
        let changed = self.is_on() != on;
        if changed {
            let mut times = self.times.lock();
            if let Some(cause) = cause {
                (times.since, times.cause) = (Some(now), cause);
            } else if let Some(since) = times.since.take() {
                times.before += now.saturating_duration_since(since);
            }
            self.on.store(on, Ordering::Release);
        }
        self.asked.store(false, Ordering::Release);
        changed
    }
}

/// When to look whether a call is on hold. Owned by the shard's tick.
#[derive(Debug)]
pub struct HoldWatch {
    frame: u64,
    /// With no other frame until then, the call is still.
    still_at: Instant,
    not_sent: u64,
    look_at: Instant,
}

impl HoldWatch {
    /// For a stream that begins now.
    pub fn new(media: &MediaLink, now: Instant) -> Self {
        Self { frame: media.capture.last_frame(), still_at: now + STILL, not_sent: media.not_sent(), look_at: now }
    }

    /// Whether the call has to be looked at. At the end of a hold it is looked at with its first frame.
    pub fn is_due(&mut self, now: Instant, media: &MediaLink, held: bool) -> bool {
        let frame = media.capture.last_frame();
        if frame != self.frame {
            if now >= self.still_at {
                self.look_at = now;
            }
            (self.frame, self.still_at) = (frame, now + STILL);
        }
        let not_sent = std::mem::replace(&mut self.not_sent, media.not_sent()) != self.not_sent;
        let due = (held || not_sent || now >= self.still_at) && now >= self.look_at;
        if due {
            self.look_at = now + AGAIN;
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::media::capture_ring;
    use crate::media::link::ReadHalf;
    use crate::media::{CaptureFormat, playout_ring};
    use crate::units::SampleRate;
    use std::sync::Arc;

    #[test]
    fn holds_add_up_and_the_one_in_progress_counts() {
        let (hold, begin) = (Hold::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        let (on, off) = (Some(HoldCause::Hold), None);
        assert!(!hold.answer(off, at(0)));
        assert!(hold.answer(on, at(100)) && !hold.answer(on, at(200)) && hold.is_on());
        assert_eq!(hold.total(at(300)), Duration::from_millis(200));
        assert!(hold.answer(off, at(400)) && !hold.is_on());
        assert!(hold.answer(on, at(1_000)));
        assert_eq!(hold.total(at(1_050)), Duration::from_millis(350));
    }

    #[test]
    fn one_look_at_a_time_is_asked_for() {
        let hold = Hold::default();
        assert!(hold.ask() && !hold.ask());
        hold.answer(None, Instant::now());
        assert!(hold.ask());
    }

    #[test]
    fn a_call_is_looked_at_when_it_is_still_and_with_its_next_frame() {
        let (writer, _reader, capture) = capture_ring(1_600);
        let (_writer, _playout, playout) = playout_ring(SampleRate::HZ_8000, 960);
        let media = Arc::new(MediaLink::new(capture, playout));
        let mut half = ReadHalf::new(writer, media.clone());
        let mut frame = || half.frame(CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 }, &[0; 160]);
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut watch = HoldWatch::new(&media, begin);
        for ms in (0..1_000).step_by(20) {
            frame();
            assert!(!watch.is_due(at(ms), &media, false), "{ms} ms");
        }
        let looks = |watch: &mut HoldWatch, range: std::ops::Range<u64>, held| {
            range.step_by(4).filter(|ms| watch.is_due(at(*ms), &media, held)).collect::<Vec<_>>()
        };
        assert_eq!(looks(&mut watch, 980..1_500, false), [1_080, 1_280, 1_480]);
        assert_eq!(looks(&mut watch, 1_500..1_700, true), [1_680]);
        frame();
        assert_eq!(looks(&mut watch, 1_700..1_800, true), [1_700], "the hold is over");
        frame();
        assert_eq!(looks(&mut watch, 1_800..1_899, false), [0_u64; 0]);
    }
}
