//! Samples and their bytes on the wire: S16LE, whatever the machine's byte order.
//!
//! Pure; runs on the stream's worker.

/// `samples` as S16LE bytes. One allocation of twice their number.
pub(super) fn to_bytes(samples: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * 2);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// Cuts a stream of S16LE bytes into whole frames, whatever the sizes of its pieces: what is left of a frame at the
/// end of one piece waits for the next. At most one frame waits.
#[derive(Debug)]
pub(super) struct FrameReader {
    frame: usize,
    carry: [u8; 4],
    carried: usize,
}

impl FrameReader {
    /// For frames of `channels` samples, 1 or 2.
    pub(super) fn new(channels: u16) -> Self {
        Self { frame: usize::from(channels.clamp(1, 2)) * 2, carry: [0; 4], carried: 0 }
    }

    /// The whole frames that `bytes` completes, as samples.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<i16> {
        let total = self.carried + bytes.len();
        let whole = total - total % self.frame;
        let mut samples = Vec::with_capacity(whole / 2);
        let mut rest = bytes;
        if self.carried > 0 {
            let wanted = (self.frame - self.carried).min(rest.len());
            let (head, tail) = rest.split_at(wanted);
            self.carry[self.carried..self.carried + wanted].copy_from_slice(head);
            self.carried += wanted;
            rest = tail;
            if self.carried < self.frame {
                return samples;
            }
            samples.extend(decode(&self.carry[..self.frame]));
            self.carried = 0;
        }
        let (frames, tail) = rest.split_at(rest.len() - rest.len() % self.frame);
        samples.extend(decode(frames));
        self.carry[..tail.len()].copy_from_slice(tail);
        self.carried = tail.len();
        samples
    }

    /// Forgets what waits.
    pub(super) fn reset(&mut self) {
        self.carried = 0;
    }
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = i16> + '_ {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_little_endian() {
        assert_eq!(to_bytes(&[1, -2, i16::MIN]), [1, 0, 0xfe, 0xff, 0, 0x80]);
        assert_eq!(FrameReader::new(1).push(&[1, 0, 0xfe, 0xff, 0, 0x80]), [1, -2, i16::MIN]);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_samples(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(1usize..40, 1..80),
            channels in 1u16..=2,
        ) {
            let mut reader = FrameReader::new(channels);
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                let samples = reader.push(piece);
                prop_assert_eq!(samples.len() % usize::from(channels), 0);
                pieces.extend(samples);
                rest = tail;
            }
            let frame = usize::from(channels) * 2;
            let whole = &bytes[..bytes.len() - bytes.len() % frame];
            prop_assert_eq!(pieces, decode(whole).collect::<Vec<_>>());
        }
    }
}
