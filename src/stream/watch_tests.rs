use super::*;

/// A stream that is looked at every second: what it does in between is up to the test.
struct Looked {
    start: Instant,
    second: u64,
    vitals: Vitals,
    watch: Watch,
}

impl Looked {
    fn new(talk: Option<State>) -> Self {
        let start = Instant::now();
        let vitals = Vitals {
            state: StreamState::Streaming,
            talk,
            held: false,
            still: Duration::from_millis(15),
            counts: Counts::default(),
            waits: false,
            taken: 0,
            received: 0,
            sent: 0,
            loud: false,
            worker: Duration::from_millis(3),
        };
        Self { start, second: 0, vitals, watch: Watch::new(start, Duration::from_secs(20)) }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    /// A second passes in which frames are captured and sent, and `happens`; what is reported then, in words.
    fn second(&mut self, happens: impl FnOnce(&mut Vitals)) -> Vec<String> {
        self.second += 1;
        self.vitals.counts.captured += 50;
        self.vitals.sent += 50;
        happens(&mut self.vitals);
        let word = |event| match event {
            Event::Stalled(Stalled { part, stalled, stalled_ms }) => {
                format!("{} {stalled} {}", part.as_str(), stalled_ms / 1_000)
            }
            Event::HealthChanged(changed) => format!("{} {}", changed.health.as_str(), changed.why()),
            other => format!("{other:?}"),
        };
        self.watch.look(self.now(), &self.vitals).into_iter().map(word).collect()
    }

    /// The seconds in which something is reported, and what.
    fn seconds(&mut self, count: u64, happens: impl Fn(&mut Vitals)) -> Vec<(u64, Vec<String>)> {
        let told = (0..count).map(|_| (self.second(&happens), self.second)).collect::<Vec<_>>();
        told.into_iter().filter(|(told, _)| !told.is_empty()).map(|(told, second)| (second, told)).collect()
    }

    fn troubles(&self) -> Vec<&'static str> {
        self.watch.troubles(self.now(), &self.vitals).iter().map(|trouble| trouble.as_str()).collect()
    }
}

fn told(second: u64, words: &[&str]) -> (u64, Vec<String>) {
    (second, words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn a_loss_counts_for_half_a_minute_and_not_for_good() {
    let mut stream = Looked::new(None);
    assert_eq!(stream.seconds(100, |_| ()), []);
    assert_eq!(stream.second(|now| now.counts.overflows += 1), ["DEGRADED overflow"]);
    assert_eq!(stream.seconds(40, |_| ()), [told(131, &["HEALTHY "])]);
    assert_eq!(stream.second(|now| now.counts.send_dropped_ms += 301), ["DEGRADED send_drops"]);
    assert_eq!(stream.seconds(40, |_| ()), [told(172, &["HEALTHY "])]);
}

#[test]
fn the_limits_of_health_hold_at_their_edges() {
    let after = |change: fn(&mut Vitals)| {
        let mut stream = Looked::new(None);
        // 29 s of frames, and the second in which it happens.
        assert_eq!(stream.seconds(29, |now| now.counts.voiced += 50), []);
        stream.second(change).join("; ")
    };
    assert_eq!(after(|now| (now.counts.voiced, now.counts.starved) = (1_900, 100)), "", "exactly 5 %");
    assert_eq!(after(|now| (now.counts.voiced, now.counts.starved) = (1_899, 100)), "DEGRADED underruns");
    assert_eq!(after(|now| (now.counts.captured, now.counts.dropped) = (1_980, 20)), "", "exactly 1 %");
    assert_eq!(after(|now| (now.counts.captured, now.counts.dropped) = (1_979, 20)), "DEGRADED capture_drops");
    assert_eq!(after(|now| now.counts.send_dropped_ms = 300), "", "exactly 1 % of 30 s");
    assert_eq!(after(|now| now.counts.send_dropped_ms = 301), "DEGRADED send_drops");
    assert_eq!(after(|now| now.counts.overflows = 1), "DEGRADED overflow");
    assert_eq!(after(|now| now.talk = Some(State::Reconnecting)), "UNHEALTHY reconnecting");
    assert_eq!(after(|now| now.state = StreamState::Reconnecting), "UNHEALTHY reconnecting");
    assert_eq!(after(|now| now.talk = Some(State::Error)), "UNHEALTHY failed");
    let both = after(|now| (now.talk, now.counts.overflows) = (Some(State::Reconnecting), 1));
    assert_eq!(both, "UNHEALTHY reconnecting,overflow", "the worse of two counts");
    assert_eq!(after(|now| now.state = StreamState::Paused), "");
    assert_eq!(after(|now| now.state = StreamState::Connecting), "");
}

#[test]
fn a_stream_that_has_ended_is_unhealthy_and_says_nothing() {
    let mut stream = Looked::new(None);
    for (state, word) in [(StreamState::Disconnected, "disconnected"), (StreamState::Error, "failed")] {
        stream.vitals.state = state;
        assert_eq!(stream.troubles(), [word]);
    }
    stream.watch.end();
    assert_eq!(stream.seconds(60, |_| ()), []);
}

#[test]
fn capture_without_frames_is_a_stall_until_the_next_frame() {
    let mut stream = Looked::new(None);
    let still = |now: &mut Vitals| now.still += Duration::from_secs(1);
    assert_eq!(stream.seconds(10, still), [told(6, &["capture true 6", "UNHEALTHY capture_stalled"])]);
    stream.vitals.still = Duration::ZERO;
    assert_eq!(stream.troubles(), Vec::<&str>::new(), "a frame has come since the last look");
    assert_eq!(stream.second(|_| ()), ["capture false 11", "HEALTHY "]);
}

#[test]
fn hold_and_pause_are_no_stall_and_neither_is_their_end() {
    let mut stream = Looked::new(Some(State::Listening));
    stream.vitals.waits = true;
    let held = |now: &mut Vitals| {
        now.held = true;
        now.still += Duration::from_secs(1);
    };
    assert_eq!(stream.seconds(60, held), []);
    // The first frame afterwards may take its time.
    stream.vitals.held = false;
    assert_eq!(stream.seconds(3, |now| now.still += Duration::from_secs(1)), []);
    assert_eq!(stream.troubles(), Vec::<&str>::new());
    // While a stream is paused frames come, and playback that is paused waits for nobody.
    let paused = |now: &mut Vitals| {
        (now.state, now.waits, now.loud) = (StreamState::Paused, false, true);
        (now.still, now.sent) = (Duration::ZERO, 0);
    };
    assert_eq!(stream.seconds(60, paused), []);
}

#[test]
fn playback_that_nobody_takes_is_a_stall() {
    let mut stream = Looked::new(None);
    let taken = |now: &mut Vitals| {
        now.waits = true;
        now.taken += 8_000;
    };
    assert_eq!(stream.seconds(60, taken), []);
    assert_eq!(stream.seconds(10, |_| ()), [told(66, &["playback true 6", "UNHEALTHY playback_stalled"])]);
    assert_eq!(stream.second(taken), ["playback false 11", "HEALTHY "]);
    assert_eq!(stream.seconds(20, |now| now.waits = false), [], "nothing waits");
}

#[test]
fn a_worker_without_ticks_is_a_stall() {
    let mut stream = Looked::new(None);
    let late = |now: &mut Vitals| now.worker += Duration::from_secs(1);
    assert_eq!(stream.seconds(4, late), [told(2, &["worker true 2", "UNHEALTHY worker_stalled"])]);
    assert_eq!(stream.second(|now| now.worker = Duration::ZERO), ["worker false 5", "HEALTHY "]);
}

#[test]
fn a_service_that_says_nothing_to_a_caller_is_a_stall() {
    let mut stream = Looked::new(Some(State::Listening));
    assert_eq!(stream.seconds(90, |_| ()), [], "a caller who says nothing needs no answer");
    assert_eq!(stream.second(|now| now.loud = true), Vec::<String>::new());
    assert_eq!(stream.seconds(60, |now| now.loud = false), [], "a cough is no speech");
    // Two seconds of speech, and nothing comes.
    assert_eq!(stream.seconds(2, |now| now.loud = true), []);
    let silent = stream.seconds(30, |now| now.loud = false);
    assert_eq!(silent, [told(172, &["service true 21", "UNHEALTHY service_stalled"])]);
    assert_eq!(stream.second(|now| now.received += 1), ["service false 33", "HEALTHY "]);
    // A service that speaks, or answers, is there.
    stream.vitals.loud = true;
    assert_eq!(stream.seconds(60, |now| now.received += 1), []);
    assert_eq!(stream.seconds(60, |now| now.talk = Some(State::Speaking)), []);
}

#[test]
fn what_the_watch_itself_has_missed_is_not_judged() {
    let mut stream = Looked::new(Some(State::Listening));
    stream.seconds(5, |now| now.waits = true);
    stream.second += 60;
    let all_still = |now: &mut Vitals| (now.still, now.worker) = (Duration::from_secs(60), Duration::from_secs(60));
    assert_eq!(stream.second(all_still), Vec::<String>::new());
}
