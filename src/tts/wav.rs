//! Speech as bytes becomes samples while it arrives: raw PCM, G.711, or a WAV file whose end nobody knows yet.
//!
//! Pure; on the worker. Bytes may be cut anywhere, in the header or in mid-sample. A WAV header may name a length of 0 or of gigabytes,
//! as programs write that do not know it. Holds at most a partial sample and [`MOST_HEADER`] bytes of header. Out comes
//! mono: channels are averaged.

use crate::dsp::ByteCarry;
use crate::units::{Encoding, Law, SampleRate};

/// Longest header, lists and other chunks before the audio included.
const MOST_HEADER: usize = 64 * 1024;
/// A length from here on means "until it ends": espeak-ng writes 0x7ffff000, others 0xffffffff.
const UNKNOWN_LENGTH: u32 = 0x7fff_0000;

/// What the bytes are, where they do not say so themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expected {
    /// The form of bytes that are no WAV file.
    pub(super) encoding: Encoding,
    /// Their rate.
    pub(super) rate: SampleRate,
}

/// What arrived is no speech that can be played.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadAudio {
    #[error("the WAV header is damaged: {0}")]
    Header(&'static str),
    #[error("the WAV header is longer than {MOST_HEADER} bytes")]
    LongHeader,
    #[error("WAV format {format} with {bits} bits is not understood: 16 bit PCM or G.711 is needed")]
    Format { format: u16, bits: u16 },
    #[error("WAV audio of {0} Hz: 8000 to 64000 can be played")]
    Rate(u32),
    #[error("WAV audio of {0} channels: 1 or 2 can be played")]
    Channels(u16),
    #[error("the audio ended early: {missing} bytes of {promised} are missing")]
    Short { missing: u32, promised: u32 },
    #[error("compressed audio arrived ({0}), where PCM or WAV was asked for")]
    Compressed(&'static str),
    #[error("no audio arrived")]
    Empty,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    encoding: Encoding,
    rate: SampleRate,
    channels: u16,
}

#[derive(Debug)]
enum State {
    /// The first bytes decide.
    Unknown,
    /// In a WAV file, before its audio; the layout once it is known.
    Header(Option<Layout>),
    /// In the audio.
    Audio { layout: Layout, left: Option<u32>, promised: u32 },
    /// Behind it.
    After,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SpeechDecoder {
    expected: Expected,
    state: State,
    header: Vec<u8>,
    /// Bytes of the header consumed so far.
    skipped: usize,
    /// Of a chunk to be passed over.
    skip: usize,
    carry: ByteCarry,
    /// The left sample of a frame whose right one is still to come.
    left: Option<i16>,
    rate: SampleRate,
    any: bool,
}

impl SpeechDecoder {
    pub(super) const fn new(expected: Expected) -> Self {
        Self {
            expected,
            state: State::Unknown,
            header: Vec::new(),
            skipped: 0,
            skip: 0,
            carry: ByteCarry::new(),
            left: None,
            rate: expected.rate,
            any: false,
        }
    }

    /// The rate of the samples that were given; known with the first of them.
    pub(super) const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Appends to `out` the samples that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<(), BadAudio> {
        match self.state {
            State::Audio { .. } => {
                self.audio(bytes, out);
                Ok(())
            }
            State::After => Ok(()),
            State::Unknown | State::Header(_) => {
                self.header.extend_from_slice(bytes);
                self.head(out)
            }
        }
    }

    /// All bytes have been pushed.
    pub(super) fn finish(&mut self, out: &mut Vec<i16>) -> Result<(), BadAudio> {
        if matches!(self.state, State::Unknown) && !self.header.is_empty() {
            // Too short to be anything but samples.
            self.begin(Layout { encoding: self.expected.encoding, rate: self.expected.rate, channels: 1 }, None, 0);
            let bytes = std::mem::take(&mut self.header);
            self.audio(&bytes, out);
        }
        match self.state {
            State::Header(_) => Err(BadAudio::Header("it does not end")),
            State::Audio { left: Some(missing), promised, .. } if missing > 0 => {
                Err(BadAudio::Short { missing, promised })
            }
            _ if !self.any => Err(BadAudio::Empty),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, layout: Layout, left: Option<u32>, promised: u32) {
        self.rate = layout.rate;
        self.state = State::Audio { layout, left, promised };
    }

    /// Reads what of the header is complete; what follows it is audio.
    fn head(&mut self, out: &mut Vec<i16>) -> Result<(), BadAudio> {
        loop {
            let skipped = self.skip.min(self.header.len());
            self.header.drain(..skipped);
            self.skip -= skipped;
            self.skipped += skipped;
            if self.skipped + self.header.len().min(8) > MOST_HEADER {
                return Err(BadAudio::LongHeader);
            }
            if self.skip > 0 {
                return Ok(());
            }
            match self.state {
                State::Unknown => {
                    if self.header.len() < 12 && b"RIFF".starts_with(&self.header[..self.header.len().min(4)]) {
                        return Ok(());
                    }
                    if self.header.len() < 4 {
                        return Ok(());
                    }
                    if self.header.starts_with(b"RIFF") {
                        if &self.header[8..12] != b"WAVE" {
                            return Err(BadAudio::Header("it is RIFF, but not WAVE"));
                        }
                        self.take(12);
                        self.state = State::Header(None);
                    } else if let Some(name) = compressed(&self.header) {
                        return Err(BadAudio::Compressed(name));
                    } else {
                        let Expected { encoding, rate } = self.expected;
                        self.begin(Layout { encoding, rate, channels: 1 }, None, 0);
                    }
                }
                State::Header(layout) => {
                    let &[a, b, c, d, l0, l1, l2, l3, ..] = self.header.as_slice() else { return Ok(()) };
                    let length = u32::from_le_bytes([l0, l1, l2, l3]);
                    match &[a, b, c, d] {
                        b"data" => {
                            let layout = layout.ok_or(BadAudio::Header("no format before the audio"))?;
                            self.take(8);
                            let left = (1..UNKNOWN_LENGTH).contains(&length).then_some(length);
                            self.begin(layout, left, length);
                        }
                        b"fmt " => {
                            let length = length as usize;
                            if !(16..=1_024).contains(&length) {
                                return Err(BadAudio::Header("its format has an impossible length"));
                            }
                            if self.header.len() < 8 + length {
                                return Ok(());
                            }
                            let layout = format(&self.header[8..8 + length])?;
                            self.state = State::Header(Some(layout));
                            self.take(8);
                            self.skip = length + length % 2;
                        }
                        _ => {
                            self.take(8);
                            self.skip = (length as usize).saturating_add(length as usize % 2);
                            if self.skip > MOST_HEADER {
                                return Err(BadAudio::LongHeader);
                            }
                        }
                    }
                }
                State::Audio { .. } => {
                    let bytes = std::mem::take(&mut self.header);
                    self.audio(&bytes, out);
                    return Ok(());
                }
                State::After => return Ok(()),
            }
        }
    }

    fn take(&mut self, bytes: usize) {
        self.header.drain(..bytes);
        self.skipped += bytes;
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        let State::Audio { layout, left, .. } = &mut self.state else { return };
        let layout = *layout;
        let taken = left.map_or(bytes.len(), |left| bytes.len().min(left as usize));
        let bytes = &bytes[..taken];
        let ended = match left {
            Some(left) => {
                *left -= taken as u32;
                *left == 0
            }
            None => false,
        };
        let before = out.len();
        match layout.encoding {
            Encoding::S16Le => self.carry.push(bytes, out),
            // Never expected, and WAV has none.
            Encoding::S16Be => {}
            Encoding::G711(law) => law.decode(bytes, out),
        }
        self.any |= out.len() > before;
        if layout.channels == 2 {
            self.fold(before, out);
        }
        if ended {
            self.state = State::After;
        }
    }

    /// Averages the interleaved channels of what was appended.
    fn fold(&mut self, from: usize, out: &mut Vec<i16>) {
        let mut write = from;
        for read in from..out.len() {
            let sample = out[read];
            match self.left.take() {
                None => self.left = Some(sample),
                Some(left) => {
                    out[write] = ((i32::from(left) + i32::from(sample)) >> 1) as i16;
                    write += 1;
                }
            }
        }
        out.truncate(write);
    }
}

/// What compressed audio begins with, where a server sends it in spite of what it was asked for.
fn compressed(bytes: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] = [(b"ID3", "MP3"), (b"OggS", "Ogg"), (b"fLaC", "FLAC"), (b"{\"", "JSON")];
    known.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name)
}

fn format(fmt: &[u8]) -> Result<Layout, BadAudio> {
    let number = |at: usize| u16::from_le_bytes([fmt[at], fmt[at + 1]]);
    let (mut format, channels, bits) = (number(0), number(2), number(14));
    if format == 0xfffe && fmt.len() >= 26 {
        // The extensible form has the format in the first bytes of its GUID.
        format = number(24);
    }
    let encoding = match (format, bits) {
        (1, 16) => Encoding::S16Le,
        (6, 8) => Encoding::G711(Law::A),
        (7, 8) => Encoding::G711(Law::Mu),
        _ => return Err(BadAudio::Format { format, bits }),
    };
    let hz = u32::from_le_bytes([fmt[4], fmt[5], fmt[6], fmt[7]]);
    let rate = SampleRate::from_hz(hz).ok_or(BadAudio::Rate(hz))?;
    if !(1..=2).contains(&channels) {
        return Err(BadAudio::Channels(channels));
    }
    Ok(Layout { encoding, rate, channels })
}

/// Fuzz target: `data` as speech of a provider, whole and in pieces, checks that both are the same. The first byte says how long the
/// pieces are, and what the provider was asked for.
///
/// # Panics
/// When the pieces become other samples than the whole.
pub fn fuzz_speech(data: &[u8]) {
    let Some((&setup, data)) = data.split_first() else { return };
    let encoding = [Encoding::S16Le, Encoding::G711(Law::Mu), Encoding::G711(Law::A)][usize::from(setup) % 3];
    let expected = Expected { encoding, rate: SampleRate::HZ_24000 };
    let decoded = |size: usize| {
        let (mut decoder, mut samples) = (SpeechDecoder::new(expected), Vec::new());
        data.chunks(size).try_for_each(|piece| decoder.push(piece, &mut samples))?;
        decoder.finish(&mut samples)?;
        Ok::<_, BadAudio>((samples, decoder.rate()))
    };
    let whole = decoded(data.len().max(1));
    let pieces = decoded(usize::from(setup) / 3 + 1);
    assert!(whole == pieces || (whole.is_err() && pieces.is_err()), "{whole:?} or {pieces:?}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const RAW: Expected = Expected { encoding: Encoding::S16Le, rate: SampleRate::HZ_24000 };

    /// A WAV file of `data` with `length` in its header.
    fn wav(format: u16, bits: u16, hz: u32, channels: u16, data: &[u8], length: u32, extra: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        file.extend(16_u32.to_le_bytes());
        file.extend(format.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(hz.to_le_bytes());
        file.extend((hz * u32::from(channels * bits / 8)).to_le_bytes());
        file.extend((channels * bits / 8).to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(extra);
        file.extend(b"data");
        file.extend(length.to_le_bytes());
        file.extend(data);
        file
    }

    fn pcm(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    /// What comes of `bytes` cut after each of `cuts`.
    fn decode(expected: Expected, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<i16>, SampleRate), BadAudio> {
        let (mut decoder, mut out, mut rest) = (SpeechDecoder::new(expected), Vec::new(), bytes);
        for cut in cuts {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.push(now, &mut out)?;
            rest = later;
        }
        decoder.push(rest, &mut out)?;
        decoder.finish(&mut out)?;
        Ok((out, decoder.rate()))
    }

    #[test]
    fn what_is_no_wav_file_is_taken_as_it_was_announced() {
        let samples = [1, -2, 300, -400, 5];
        assert_eq!(decode(RAW, &pcm(&samples), &[]), Ok((samples.to_vec(), SampleRate::HZ_24000)));
        let mulaw = Expected { encoding: Encoding::G711(Law::Mu), rate: SampleRate::HZ_8000 };
        assert_eq!(decode(mulaw, &[0xff, 0x80, 0x00], &[]).unwrap().0, [0, 32_124, -32_124]);
        assert_eq!(decode(RAW, &pcm(&[7]), &[1]).unwrap().0, [7], "shorter than any header");
    }

    #[test]
    fn a_wav_header_decides_the_rate_and_the_form() {
        let samples = [1, -2, 300, -400];
        let rate = SampleRate::new(22_050).unwrap();
        for length in [8, 0, 0x7fff_f000, u32::MAX] {
            let file = wav(1, 16, 22_050, 1, &pcm(&samples), length, &[]);
            assert_eq!(decode(RAW, &file, &[]), Ok((samples.to_vec(), rate)), "{length:#x}");
        }
        let stereo = wav(1, 16, 22_050, 2, &pcm(&[100, 300, -5, -6]), 8, b"LIST\x05\0\0\0abcde\0");
        assert_eq!(decode(RAW, &stereo, &[]), Ok((vec![200, -6], rate)));
        let behind = [wav(7, 8, 8_000, 1, &[0xff], 1, &[]), b"LIST\x02\0\0\0xy".to_vec()].concat();
        assert_eq!(decode(RAW, &behind, &[]), Ok((vec![0], SampleRate::HZ_8000)));
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        let rate = |hz| wav(1, 16, hz, 1, &[0, 0], 2, &[]);
        for (bytes, error) in [
            (b"".to_vec(), BadAudio::Empty),
            (b"RIFF".to_vec(), BadAudio::Empty),
            (b"RIFF\0\0\0\0AVI LIST".to_vec(), BadAudio::Header("it is RIFF, but not WAVE")),
            (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd".to_vec(), BadAudio::Header("no format before the audio")),
            (b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff".to_vec(), BadAudio::Header("its format has an impossible length")),
            (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f".to_vec(), BadAudio::LongHeader),
            (wav(3, 32, 24_000, 1, &[], 0, &[]), BadAudio::Format { format: 3, bits: 32 }),
            (rate(1_000), BadAudio::Rate(1_000)),
            (wav(1, 16, 8_000, 6, &[], 0, &[]), BadAudio::Channels(6)),
            (wav(1, 16, 8_000, 1, &[1, 2], 10, &[]), BadAudio::Short { missing: 8, promised: 10 }),
            (b"ID3\x04....".to_vec(), BadAudio::Compressed("MP3")),
            (b"{\"error\":{}}".to_vec(), BadAudio::Compressed("JSON")),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            // Four bytes of a header alone may be two samples.
            if bytes == b"RIFF" {
                assert_eq!(decode(RAW, &bytes, &[]).unwrap().0.len(), 2);
                continue;
            }
            assert_eq!(decode(RAW, &bytes, &[]), Err(error), "{shown:?}");
        }
    }

    proptest! {
        #[test]
        fn a_wav_file_cut_anywhere_gives_the_same_samples(
            samples in prop::collection::vec(any::<i16>(), 1..100),
            cuts in prop::collection::vec(0_usize..20, 0..80),
            list in prop::collection::vec(any::<u8>(), 0..30),
            known in any::<bool>(),
        ) {
            let data = pcm(&samples);
            let mut extra = b"LIST".to_vec();
            extra.extend((list.len() as u32).to_le_bytes());
            extra.extend(&list);
            extra.extend(std::iter::repeat_n(0, list.len() % 2));
            let file = wav(1, 16, 16_000, 1, &data, if known { data.len() as u32 } else { 0 }, &extra);
            prop_assert_eq!(decode(RAW, &file, &cuts), Ok((samples, SampleRate::HZ_16000)));
        }

        #[test]
        fn no_bytes_break_it_and_cuts_change_nothing(
            riff in any::<bool>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(0_usize..9, 0..80),
        ) {
            let start: &[u8] = if riff { b"RIFF\0\0\0\0WAVEfmt " } else { b"" };
            let bytes = [start, &bytes].concat();
            let whole = decode(RAW, &bytes, &[]);
            let cut = decode(RAW, &bytes, &cuts);
            match (whole, cut) {
                (Ok(whole), Ok(cut)) => prop_assert_eq!(whole, cut),
                (whole, cut) => prop_assert_eq!(whole.is_err(), cut.is_err()),
            }
        }
    }
}
