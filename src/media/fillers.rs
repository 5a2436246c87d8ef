//! Frames that FreeSWITCH makes up where it has no packet, and the ones among them that are more than the call's time.
//!
//! FreeSWITCH reads a call once per agreed packet time, and where a reading finds no packet it makes up a frame of that length.
//! That is right for a lost packet and for a pause of the caller. But of a phone that was agreed to send 20 ms and sends 40 ms,
//! every other reading finds nothing: captured as they come, 40 ms of the call take 60 ms, with holes in the voice, and the delay
//! grows for as long as the phone goes on. So a packet that is longer than agreed lends the difference, and made-up frames pay it
//! back: they are withheld. Without long packets nothing is lent, and every made-up frame counts.
//!
//! Threads: the one that reads the session, in FreeSWITCH's hook on what has been read and in READ right after it. Another thread
//! may take the reading over at any frame; hence atomics. Nothing here waits or allocates.
//!
//! Owner: the session's own memory, shared by all attachments of the call, of which the first one measures each packet.

use super::sync::{AtomicBool, AtomicU64, Ordering};

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
    /// The frame that is being read is a packet that nobody has measured yet.
    unmeasured: AtomicBool,
}

impl Fillers {
    /// A frame has been read, and no attachment has seen it yet. `true`: it is `made_up` and is to be withheld from all.
    pub fn read(&self, made_up: bool) -> bool {
        self.unmeasured.store(!made_up, Ordering::Relaxed);
        let (lent, agreed) = (self.lent.load(Ordering::Relaxed), self.agreed.load(Ordering::Relaxed));
        let withheld = made_up && agreed > 0 && lent >= agreed;
        if withheld {
            self.lent.store(lent - agreed, Ordering::Relaxed);
        }
        withheld
    }

    /// The frame that was read has `length` ns of audio, where `agreed` ns are a packet. Counts once per packet, for the first
    /// caller, and not for a made-up frame.
    pub fn measured(&self, length: u64, agreed: u64) {
        if self.unmeasured.swap(false, Ordering::Relaxed) {
            let lent = (self.lent.load(Ordering::Relaxed) + length).saturating_sub(agreed);
            self.lent.store(lent.min(MOST_LENT), Ordering::Relaxed);
            self.agreed.store(agreed, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Milliseconds captured of these readings, each a packet of so many ms or nothing, where 20 ms were agreed.
    fn captured(readings: impl IntoIterator<Item = Option<u64>>) -> u64 {
        let fillers = Fillers::default();
        let mut captured = 0;
        for packet in readings {
            if !fillers.read(packet.is_none()) {
                let length = packet.unwrap_or(20);
                // Two attachments see the same frame.
                fillers.measured(length * MS, 20 * MS);
                fillers.measured(length * MS, 20 * MS);
                captured += length;
            }
        }
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
}
