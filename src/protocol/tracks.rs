//! Captured audio as the vendors' media messages carry it: one payload for each leg, numbered and timed.
//!
//! Owned by a protocol; nothing waits here. Time is counted in captured audio, so it stands still while a stream is paused.

use super::{WireFormat, codec};

/// Numbers the messages of captured audio.
#[derive(Debug)]
pub(super) struct Tracks {
    format: WireFormat,
    chunk: u64,
    frames: u64,
}

/// One message's place in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    /// From 1, the same for both tracks.
    pub(super) number: u64,
    /// When its first sample was captured, ms since the first of all.
    pub(super) timestamp_ms: u64,
}

impl Tracks {
    pub(super) const fn new(format: WireFormat) -> Self {
        Self { format, chunk: 0, frames: 0 }
    }

    /// The form of the audio.
    pub(super) const fn format(&self) -> WireFormat {
        self.format
    }

    /// Begins at chunk 1 again.
    pub(super) const fn restart(&mut self) {
        self.chunk = 0;
        self.frames = 0;
    }

    /// The tracks there are: the caller's, and the other leg's where it is captured by itself.
    pub(super) const fn names(&self) -> &'static [&'static str] {
        if self.format.pcm.channels == 2 { &["inbound", "outbound"] } else { &["inbound"] }
    }

    /// The next message's place.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Chunk {
        let timestamp_ms = self.frames * 1_000 / u64::from(self.format.pcm.rate.hz());
        self.chunk += 1;
        self.frames += (bytes.len() / self.format.frame_bytes()) as u64;
        Chunk { number: self.chunk, timestamp_ms }
    }

    /// Each track's name and its part of `bytes`, as base64.
    pub(super) fn payloads<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = (&'static str, String)> + use<'b> {
        let (sample, frame) = (self.format.encoding.sample_bytes(), self.format.frame_bytes());
        self.names().iter().enumerate().map(move |(track, name)| {
            if sample == frame {
                return (*name, codec::encode(bytes));
            }
            let leg: Vec<u8> = bytes
                .chunks_exact(frame)
                .flat_map(|samples| &samples[track * sample..(track + 1) * sample])
                .copied()
                .collect();
            (*name, codec::encode(&leg))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::units::{Encoding, PcmFormat, SampleRate};

    #[test]
    fn the_legs_have_their_tracks_and_one_numbering() {
        let pcm = PcmFormat { rate: SampleRate::HZ_8000, channels: 2 };
        let mut tracks = Tracks::new(WireFormat { pcm, encoding: Encoding::S16Be, message_ms: 20 });
        let bytes: Vec<u8> = (0..=255).cycle().take(160 * 4).collect();
        assert_eq!(tracks.next(&bytes), Chunk { number: 1, timestamp_ms: 0 });
        assert_eq!(tracks.next(&bytes), Chunk { number: 2, timestamp_ms: 20 });
        let payloads: Vec<_> = tracks.payloads(&[1, 2, 3, 4, 5, 6, 7, 8]).collect();
        assert_eq!(payloads, [("inbound", codec::encode(&[1, 2, 5, 6])), ("outbound", codec::encode(&[3, 4, 7, 8]))]);
    }
}
