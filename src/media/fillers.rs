//! Frames that FreeSWITCH makes up where it has no packet, and the ones among them that are more than the call's time.
//!
//! FreeSWITCH reads a call once per agreed packet time, and where a reading finds no packet it makes up a frame of that length.
//! That is right for a lost packet and for a pause of the caller. But of a phone that was agreed to send 20 ms and sends 40 ms,
//! every other reading finds nothing: captured as they come, 40 ms of the call take 60 ms, with holes in the voice, and the delay
//! grows for as long as the phone goes on. So a packet that is longer than agreed lends the difference, and made-up frames pay it
//! back: they are withheld. Without long packets nothing is lent, and every made-up frame counts.
//!
//! Threads: the one that reads the session, in FreeSWITCH's hook on what has been read and in READ right after it. Another thread
//! may take the reading over at any frame; hence atomics. [`Fillers::measure`] and [`Fillers::stop`] come from the threads that put
//! media bugs on calls and take them off. Nothing here waits or allocates.
//!
//! Owner: the session's own memory, shared by all attachments of the call. Each counts the frames that it has seen, and the first
//! that sees a frame measures it.

use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Most that is lent at a time, ns: more than late packets bring at once, and little enough that a sender of more than real time does not
/// cost the caller's pauses afterwards.
const MOST_LENT: u64 = 500_000_000;

/// What a call's packets have lent.
#[derive(Debug, Default)]
pub struct Fillers {
    /// What packets were longer than agreed and no made-up frame has paid back, ns.
    lent: AtomicU64,
    /// The agreed packet time, ns; 0 before the first packet.
    agreed: AtomicU64,
    /// Frames measured.
    measured: AtomicU64,
    /// Attachments that measure.
    measuring: AtomicU32,
    /// [`Owing`] counts this call.
    counted: AtomicBool,
}

/// How many frames of a call an attachment has seen. See [`Fillers::measure`].
#[derive(Debug)]
pub struct Seen(u64);

/// How many calls owe a made-up frame. While it is none, nobody needs to look for the account of a call.
#[derive(Debug)]
pub struct Owing(AtomicU32);

#[cfg(not(loom))]
impl Owing {
    /// No call yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

impl Owing {
    /// Whether a made-up frame of some call is to be withheld.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Fillers {
    /// One more attachment measures, from the next frame on.
    pub fn measure(&self) -> Seen {
        if self.measuring.fetch_add(1, Ordering::Relaxed) == 0 {
            // What a frame that was just being measured has lent behind the last `stop`.
            self.lent.store(0, Ordering::Relaxed);
        }
        Seen(self.measured.load(Ordering::Relaxed))
    }

    /// An attachment measures no more. With the last one nothing is lent any more. Any thread; the one that reads the session may be
    /// measuring or withholding a frame meanwhile.
    pub fn stop(&self, owing: &Owing) {
        if self.measuring.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.owe(0, owing);
        }
    }

    /// A frame has been made up, and no attachment has seen it yet. `true`: it is to be withheld from all.
    pub fn is_surplus(&self, owing: &Owing) -> bool {
        let (lent, agreed) = (self.lent.load(Ordering::Relaxed), self.agreed.load(Ordering::Relaxed));
        let surplus = agreed > 0 && lent >= agreed && self.measuring.load(Ordering::Relaxed) > 0;
        if surplus {
            self.lend(lent - agreed, owing);
        }
        surplus
    }

    /// An attachment sees a frame of `length` ns, where `agreed` ns are a packet. Counts once per frame; a made-up one is as long as
    /// agreed and lends nothing.
    pub fn measured(&self, seen: &mut Seen, length: u64, agreed: u64, owing: &Owing) {
        let measured = self.measured.load(Ordering::Relaxed);
        // An attachment that has missed frames is behind the others, and catches up.
        seen.0 = measured.max(seen.0 + 1);
        if seen.0 > measured {
            self.measured.store(seen.0, Ordering::Relaxed);
            self.agreed.store(agreed, Ordering::Relaxed);
            let lent = (self.lent.load(Ordering::Relaxed) + length).saturating_sub(agreed);
            self.lend(lent.min(MOST_LENT), owing);
        }
    }

    fn lend(&self, lent: u64, owing: &Owing) {
        self.owe(lent, owing);
        // A `stop` that came between has been undone.
        if self.measuring.load(Ordering::Relaxed) == 0 {
            self.owe(0, owing);
        }
    }

    /// Releases and acquires: of two threads, the second to come here sees what the first had done before.
    fn owe(&self, lent: u64, owing: &Owing) {
        self.lent.store(lent, Ordering::Relaxed);
        let owes = lent > 0 && lent >= self.agreed.load(Ordering::Relaxed);
        if self.counted.swap(owes, Ordering::AcqRel) != owes {
            if owes {
                owing.0.fetch_add(1, Ordering::Relaxed);
            } else {
                owing.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Milliseconds captured of these readings, each a packet of so many ms or nothing, where 20 ms were agreed.
    fn captured(readings: impl IntoIterator<Item = Option<u64>>) -> u64 {
        let (fillers, owing) = (Fillers::default(), Owing::new());
        // Two attachments see the same frame.
        let mut attachments = [fillers.measure(), fillers.measure()];
        let mut captured = 0;
        for packet in readings {
            if !(packet.is_none() && owing.any() && fillers.is_surplus(&owing)) {
                let length = packet.unwrap_or(20);
                for seen in &mut attachments {
                    fillers.measured(seen, length * MS, 20 * MS, &owing);
                }
                captured += length;
            }
        }
        attachments.iter().for_each(|_| fillers.stop(&owing));
        assert!(!owing.any(), "nothing is owed to nobody");
        captured
    }

    #[test]
    fn long_packets_take_their_own_time() {
        for (packet, nothing) in [(40, 1), (60, 2), (120, 5)] {
            let readings = (0..100).flat_map(|_| std::iter::once(Some(packet)).chain((0..nothing).map(|_| None)));
            assert_eq!(captured(readings), 100 * packet, "packets of {packet} ms");
        }
        // 30 ms on a clock of 20: two packets, then a reading without one.
        let readings = (0..100).flat_map(|_| [Some(30), Some(30), None]);
        assert_eq!(captured(readings), 6_000, "packets of 30 ms");
        let readings = (0..100).flat_map(|_| [Some(20), Some(40), None]);
        assert_eq!(captured(readings), 6_000, "packets of 20 and 40 ms");
    }

    #[test]
    fn pauses_and_losses_of_usual_packets_are_kept() {
        let readings = (0..1_000).map(|n| (n % 3 == 0).then_some(20));
        assert_eq!(captured(readings), 20_000);
    }

    #[test]
    fn a_pause_after_long_packets_is_kept() {
        let long = (0..100).flat_map(|_| [Some(40), None]);
        assert_eq!(captured(long.chain((0..100).map(|_| None))), 4_000 + 2_000);
    }

    #[test]
    fn a_late_long_packet_shifts_what_follows_once() {
        // One reading too early finds nothing; then two packets wait.
        let late = [Some(40), None, None, Some(40), Some(40), None];
        assert_eq!(captured((0..50).flat_map(|_| late)), 50 * 120 + 20);
    }

    #[test]
    fn a_sender_of_twice_real_time_costs_half_a_second() {
        let fast = (0..1_000).map(|_| Some(40));
        assert_eq!(captured(fast.chain((0..100).map(|_| None))), 40_000 + 2_000 - 500);
    }

    #[test]
    fn packets_shorter_than_agreed_lend_nothing_and_take_back() {
        let readings = (0..100).flat_map(|_| [Some(30), Some(10)]).chain((0..10).map(|_| None));
        assert_eq!(captured(readings), 4_000 + 200);
    }

    #[test]
    fn attachments_that_come_and_go_measure_each_frame_once() {
        let (fillers, owing) = (Fillers::default(), Owing::new());
        let lent = || fillers.lent.load(Ordering::Relaxed) / MS;
        let mut first = fillers.measure();
        fillers.measured(&mut first, 30 * MS, 20 * MS, &owing);
        let mut second = fillers.measure();
        // FreeSWITCH may have the newer one before the older one or behind it.
        fillers.measured(&mut second, 30 * MS, 20 * MS, &owing);
        fillers.measured(&mut first, 30 * MS, 20 * MS, &owing);
        assert_eq!(lent(), 20);
        // The first one sees nothing of two frames, and then stands before the other.
        fillers.measured(&mut second, 30 * MS, 20 * MS, &owing);
        fillers.measured(&mut second, 30 * MS, 20 * MS, &owing);
        for _ in 0..2 {
            fillers.measured(&mut first, 30 * MS, 20 * MS, &owing);
            fillers.measured(&mut second, 30 * MS, 20 * MS, &owing);
        }
        assert_eq!(lent(), 60);
        fillers.stop(&owing);
        fillers.measured(&mut first, 20 * MS, 20 * MS, &owing);
        fillers.measured(&mut first, 30 * MS, 20 * MS, &owing);
        assert_eq!(lent(), 70);
    }

    #[test]
    fn calls_that_owe_are_counted_until_they_have_paid_or_end() {
        let (owing, calls) = (Owing::new(), [Fillers::default(), Fillers::default()]);
        let mut seen: Vec<_> = calls.iter().map(Fillers::measure).collect();
        for (call, seen) in calls.iter().zip(&mut seen) {
            call.measured(seen, 30 * MS, 20 * MS, &owing);
            assert!(!owing.any() || owing.0.load(Ordering::Relaxed) == 1, "half a packet is not owed");
            call.measured(seen, 30 * MS, 20 * MS, &owing);
        }
        assert_eq!(owing.0.load(Ordering::Relaxed), 2);
        assert!(calls[0].is_surplus(&owing) && !calls[0].is_surplus(&owing));
        assert_eq!(owing.0.load(Ordering::Relaxed), 1);
        calls[1].stop(&owing);
        assert!(!owing.any() && !calls[1].is_surplus(&owing));
    }

    /// The last attachment stops on one thread while the session is read on another.
    #[test]
    fn nothing_stays_owed_when_a_stop_meets_a_frame() {
        let owing = Owing::new();
        for _ in 0..2_000 {
            let call = Fillers::default();
            let mut seen = call.measure();
            call.measured(&mut seen, 40 * MS, 20 * MS, &owing);
            std::thread::scope(|scope| {
                scope.spawn(|| call.stop(&owing));
                call.is_surplus(&owing);
                call.measured(&mut seen, 60 * MS, 20 * MS, &owing);
            });
            assert!(!owing.any() && !call.is_surplus(&owing), "an account that nobody keeps");
            let mut seen = call.measure();
            call.measured(&mut seen, 20 * MS, 20 * MS, &owing);
            assert!(!owing.any() && !call.is_surplus(&owing), "the next attachment begins without a debt");
        }
    }

    #[test]
    fn a_frame_measured_after_the_last_stop_lends_nothing() {
        let (owing, call) = (Owing::new(), Fillers::default());
        let mut seen = call.measure();
        call.stop(&owing);
        call.measured(&mut seen, 60 * MS, 20 * MS, &owing);
        assert!(!owing.any() && !call.is_surplus(&owing));
    }
}
