//! What of the agent's speech has been heard: the queue as the media side will play it, against its position.
//!
//! The media side counts what the caller was given, over the whole call, whatever it belonged to. Here each piece that was
//! queued has its place on that scale, so that an interruption knows how much of which item was heard. A flush takes
//! effect when the media thread sees it, up to a frame later: until it is confirmed, the position belongs to what was
//! flushed, and what is queued meanwhile begins where the confirmation says.
//!
//! Pure; owned by the agent. Positions are durations of audio. Holds one line for each piece of one turn.

use std::collections::VecDeque;
use std::time::Duration;

/// Whose audio a piece is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A content of a message of the model.
    Item { item_id: String, content_index: u32 },
    /// A sentence we had spoken.
    Sentence(u64),
}

#[derive(Clone, Debug)]
struct Piece {
    owner: Owner,
    length: Duration,
}

/// What was queued between two flushes or pauses.
#[derive(Clone, Debug, Default)]
pub(super) struct PlayedSegment {
    pieces: Vec<Piece>,
    /// What had no room, by owner.
    refused: Vec<Piece>,
    queued: Duration,
    /// How far it was heard; final once the segment is over.
    heard: Duration,
}

impl PlayedSegment {
    /// How much of an owner's audio was heard.
    pub(super) fn heard(&self, owner: &Owner) -> Duration {
        let mut start = Duration::ZERO;
        let mut sum = Duration::ZERO;
        for piece in &self.pieces {
            if piece.owner == *owner {
                sum += self.heard.saturating_sub(start).min(piece.length);
            }
            start += piece.length;
        }
        sum
    }

    /// How much was heard of all.
    pub(super) const fn heard_in_all(&self) -> Duration {
        self.heard
    }

    /// How much of it was queued.
    pub(super) fn received(&self, owner: &Owner) -> Duration {
        self.pieces.iter().filter(|piece| piece.owner == *owner).map(|piece| piece.length).sum()
    }

    /// How much of it had no room.
    pub(super) fn refused(&self, owner: &Owner) -> Duration {
        self.refused.iter().filter(|piece| piece.owner == *owner).map(|piece| piece.length).sum()
    }

    /// The owners, in the order they were first queued.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = Vec::new();
        for piece in &self.pieces {
            if !owners.contains(&piece.owner) {
                owners.push(piece.owner.clone());
            }
        }
        owners
    }
}

#[derive(Debug)]
struct Flushing {
    id: u64,
    segment: PlayedSegment,
}

/// The playback as the agent knows it.
#[derive(Debug, Default)]
pub(super) struct Playback {
    now: PlayedSegment,
    flushing: VecDeque<Flushing>,
    flushes: u64,
    /// The media side's count where the segment began, and the last one it reported.
    base: Duration,
    played: Duration,
}

impl Playback {
    /// Queued behind everything else.
    pub(super) fn push(&mut self, owner: Owner, length: Duration) {
        self.now.queued += length;
        match self.now.pieces.last_mut() {
            Some(last) if last.owner == owner => last.length += length,
            _ => self.now.pieces.push(Piece { owner, length }),
        }
    }

    /// The media side refused the end of what was pushed last.
    pub(super) fn not_queued(&mut self, length: Duration) {
        if let Some(last) = self.now.pieces.last_mut() {
            let lost = length.min(last.length);
            last.length -= lost;
            self.now.queued -= lost;
            let owner = last.owner.clone();
            self.refuse(owner, lost);
        }
    }

    /// This part of an owner's audio had no room.
    pub(super) fn refuse(&mut self, owner: Owner, length: Duration) {
        match self.now.refused.last_mut() {
            Some(last) if last.owner == owner => last.length += length,
            _ => self.now.refused.push(Piece { owner, length }),
        }
    }

    /// Whether some of an owner's audio had no room, so that what follows is not to be heard either.
    pub(super) fn has_no_room_for(&self, owner: &Owner) -> bool {
        !self.now.refused(owner).is_zero()
    }

    /// What the caller was given so far, over the call; `idle`: everything queued has been played.
    pub(super) fn position(&mut self, played: Duration, idle: bool) {
        self.played = self.played.max(played);
        match self.flushing.front_mut() {
            Some(flushing) => {
                let heard = self.played.saturating_sub(self.base).min(flushing.segment.queued);
                flushing.segment.heard = flushing.segment.heard.max(heard);
            }
            None => {
                let heard = self.played.saturating_sub(self.base).min(self.now.queued);
                // Resampling rounds: what is idle has been played, whatever the count says.
                self.now.heard = if idle { self.now.queued } else { self.now.heard.max(heard) };
                if idle {
                    // The next piece begins here.
                    self.base = self.played.saturating_sub(self.now.queued);
                }
            }
        }
    }

    /// Whether something queued has not been heard.
    pub(super) fn is_playing(&self) -> bool {
        self.now.heard < self.now.queued
    }

    /// Whether what an owner queued has begun to be heard.
    pub(super) fn has_begun(&self, owner: &Owner) -> bool {
        !self.now.heard(owner).is_zero()
    }

    /// The segment in progress.
    pub(super) fn current(&self) -> &PlayedSegment {
        &self.now
    }

    /// Everything queued is to be dropped; the id of the flush to ask the media side for.
    pub(super) fn flush(&mut self) -> u64 {
        self.flushes += 1;
        self.flushing.push_back(Flushing { id: self.flushes, segment: std::mem::take(&mut self.now) });
        self.flushes
    }

    /// The media side has flushed when it had given the caller `played`. The segments that ended with it, oldest first.
    pub(super) fn flushed(&mut self, id: u64, played: Duration) -> Vec<(u64, PlayedSegment)> {
        let mut ended = Vec::new();
        while self.flushing.front().is_some_and(|flushing| flushing.id <= id) {
            self.position(played, false);
            if let Some(Flushing { id, segment }) = self.flushing.pop_front() {
                ended.push((id, segment));
            }
            self.base = self.played;
        }
        ended
    }

    /// The end: what is being flushed, and what is queued, as far as they were heard.
    pub(super) fn end(&mut self) -> (Vec<(u64, PlayedSegment)>, PlayedSegment) {
        let flushing = self.flushing.drain(..).map(|flushing| (flushing.id, flushing.segment)).collect();
        (flushing, std::mem::take(&mut self.now))
    }

    /// The turn is over and everything heard: a new segment begins. The old one is given.
    pub(super) fn turn_over(&mut self) -> PlayedSegment {
        if self.flushing.is_empty() {
            self.base = self.played;
        }
        std::mem::take(&mut self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn item(id: &str) -> Owner {
        Owner::Item { item_id: id.into(), content_index: 0 }
    }

    #[test]
    fn an_interruption_knows_how_much_of_which_item_was_heard() {
        let mut playback = Playback::default();
        playback.position(ms(5_000), true);
        playback.push(item("a"), ms(400));
        playback.push(item("a"), ms(600));
        playback.push(item("b"), ms(1_000));
        playback.position(ms(6_200), false);
        assert!(playback.is_playing());
        let id = playback.flush();
        let [(_, segment)] = &playback.flushed(id, ms(6_220))[..] else { unreachable!("one segment") };
        assert_eq!((segment.heard(&item("a")), segment.received(&item("a"))), (ms(1_000), ms(1_000)));
        assert_eq!((segment.heard(&item("b")), segment.received(&item("b"))), (ms(220), ms(1_000)));
        assert_eq!(segment.owners(), [item("a"), item("b")]);
    }

    #[test]
    fn what_is_queued_before_a_flush_is_confirmed_begins_behind_it() {
        let mut playback = Playback::default();
        playback.push(item("a"), ms(1_000));
        playback.position(ms(100), false);
        let id = playback.flush();
        playback.push(item("b"), ms(500));
        playback.position(ms(120), false);
        assert_eq!(playback.current().heard(&item("b")), ms(0), "that was still the old one");
        let ended = playback.flushed(id, ms(120));
        assert_eq!(ended[0].1.heard(&item("a")), ms(120));
        playback.position(ms(320), false);
        assert_eq!(playback.current().heard(&item("b")), ms(200));
        playback.position(ms(620), true);
        assert!(!playback.is_playing());
    }

    #[test]
    fn flushes_confirmed_together_end_both_segments() {
        let mut playback = Playback::default();
        playback.push(item("a"), ms(1_000));
        playback.flush();
        playback.push(item("b"), ms(1_000));
        let id = playback.flush();
        let ended = playback.flushed(id, ms(40));
        assert_eq!(ended.iter().map(|(_, s)| s.heard).collect::<Vec<_>>(), [ms(40), ms(0)]);
    }

    #[test]
    fn what_had_no_room_is_known_by_its_owner() {
        let mut playback = Playback::default();
        playback.push(item("a"), ms(1_000));
        playback.push(item("b"), ms(1_000));
        playback.not_queued(ms(600));
        playback.refuse(item("b"), ms(50));
        assert_eq!((playback.has_no_room_for(&item("a")), playback.has_no_room_for(&item("b"))), (false, true));
        let segment = playback.turn_over();
        assert_eq!((segment.received(&item("b")), segment.refused(&item("b"))), (ms(400), ms(650)));
        assert!(!playback.has_no_room_for(&item("b")), "the next turn has room");
    }

    #[test]
    fn an_idle_media_side_has_played_all_after_rounding_or_refusal() {
        let mut playback = Playback::default();
        playback.push(item("a"), ms(1_000));
        playback.not_queued(ms(300));
        playback.position(ms(699), true);
        assert!(!playback.is_playing());
        assert_eq!(playback.turn_over().heard(&item("a")), ms(700));
        playback.push(item("b"), ms(100));
        playback.position(ms(749), false);
        assert_eq!(playback.current().heard(&item("b")), ms(50));
    }
}
