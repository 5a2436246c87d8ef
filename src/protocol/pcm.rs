//! Whole samples out of a stream of bytes cut anywhere.
//!
//! Pure; runs on the stream's worker. Independent of the machine's byte order.

use super::ByteOrder;

/// Cuts a stream of S16 bytes into whole frames, whatever the sizes of its pieces: what is left of a frame at the
/// end of one piece waits for the next. At most one frame waits.
#[derive(Debug)]
pub(crate) struct FrameReader {
    order: ByteOrder,
    frame: usize,
    carry: [u8; 4],
    carried: usize,
}

impl FrameReader {
    /// For little-endian frames of `channels` samples, 1 or 2.
    pub(crate) fn new(channels: u16) -> Self {
        Self::ordered(channels, ByteOrder::Little)
    }

    /// For frames of `channels` samples, 1 or 2, in that byte order.
    pub(super) fn ordered(channels: u16, order: ByteOrder) -> Self {
        Self { order, frame: usize::from(channels.clamp(1, 2)) * 2, carry: [0; 4], carried: 0 }
    }

    /// The whole frames that `bytes` completes, as samples.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<i16> {
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
            decode(self.order, &self.carry[..self.frame], &mut samples);
            self.carried = 0;
        }
        let (frames, tail) = rest.split_at(rest.len() - rest.len() % self.frame);
        decode(self.order, frames, &mut samples);
        self.carry[..tail.len()].copy_from_slice(tail);
        self.carried = tail.len();
        samples
    }

    /// Forgets what waits.
    pub(super) fn reset(&mut self) {
        self.carried = 0;
    }
}

fn decode(order: ByteOrder, bytes: &[u8], samples: &mut Vec<i16>) {
    let (pairs, _) = bytes.as_chunks::<2>();
    match order {
        ByteOrder::Little => samples.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair))),
        ByteOrder::Big => samples.extend(pairs.iter().map(|&pair| i16::from_be_bytes(pair))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_read_in_the_order_asked_for() {
        assert_eq!(FrameReader::new(1).push(&[1, 0, 0xfe, 0xff, 0, 0x80]), [1, -2, i16::MIN]);
        assert_eq!(FrameReader::ordered(1, ByteOrder::Big).push(&[0, 1, 0xff, 0xfe, 0x80, 0]), [1, -2, i16::MIN]);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_samples(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(1usize..40, 1..80),
            channels in 1u16..=2,
            big in any::<bool>(),
        ) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let mut reader = FrameReader::ordered(channels, order);
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
            let mut expected = Vec::new();
            decode(order, &bytes[..bytes.len() - bytes.len() % frame], &mut expected);
            prop_assert_eq!(pieces, expected);
        }
    }
}
