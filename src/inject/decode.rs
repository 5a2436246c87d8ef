//! Audio files and compressed audio of the server, turned into samples.
//!
//! One pure function; it may take a second for the largest input it accepts, so it runs where blocking is allowed
//! (`crate::blocking`), never on a worker that other streams live on. The input is whole and bounded, the output is bounded, and
//! whatever the bytes are the answer is samples or an error: what is damaged in the middle is played without the damage, what is
//! cut off is played up to there.
//!
//! | kind | what it may hold |
//! |---|---|
//! | raw | S16LE samples of a given format |
//! | G.711 | µ-law or A-law without a header, of a given format |
//! | `wav` | linear PCM of 8 to 32 bits, float, A-law, µ-law; a length of 2³²-1, as streamed files have, is to the end |
//! | `mp3` | MPEG-1 and MPEG-2 layer III, with or without tags |
//! | `ogg` | Vorbis; anything else in it is refused |

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::{formats, get_codecs};

use crate::dsp::ByteCarry;
use crate::protocol::AudioKind;
use crate::units::{PcmFormat, SampleRate};

/// Damaged packets in a row after which the rest is given up.
const MOST_DAMAGED: u32 = 64;

/// What is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeLimits {
    /// Encoded bytes.
    pub bytes: usize,
    /// Decoded audio, ms.
    pub ms: u32,
}

impl Default for DecodeLimits {
    /// 8 MiB and ten minutes.
    fn default() -> Self {
        Self { bytes: 8 << 20, ms: 600_000 }
    }
}

/// Why there are no samples. The message is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than are accepted.
    #[error("{bytes} bytes of audio are more than the {limit} accepted")]
    TooLarge {
        /// That came.
        bytes: usize,
        /// That are accepted.
        limit: usize,
    },
    /// Longer than is accepted.
    #[error("the audio is longer than the {limit_ms} ms accepted")]
    TooLong {
        /// What is accepted.
        limit_ms: u32,
    },
    /// Not what it is said to be, or damaged from the start.
    #[error("the audio cannot be decoded: {0}")]
    Malformed(&'static str),
    /// Sound, but not of a kind that is played.
    #[error("the audio is of a kind that is not played: {0}")]
    Unsupported(&'static str),
    /// A rate that no call has.
    #[error("the audio has {0} samples a second: 8000 to 64000 are played")]
    Rate(u32),
    /// More channels than two.
    #[error("the audio has {0} channels: one or two are played")]
    Channels(usize),
    /// Decoded to nothing.
    #[error("there is no audio in it")]
    Empty,
}

/// The samples of `bytes`, interleaved, and their format. Blocks: some 10 ms for a second of compressed audio at most.
///
/// An error says what is wrong with the audio; then the caller plays nothing of it.
pub fn decode(kind: AudioKind, bytes: &[u8], limits: DecodeLimits) -> Result<(Vec<i16>, PcmFormat), DecodeError> {
    if bytes.len() > limits.bytes {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    match kind {
        AudioKind::Raw(format) => without_header(bytes, format, size_of::<i16>(), limits, |bytes, samples| {
            ByteCarry::default().push(bytes, samples);
        }),
        AudioKind::G711(law, format) => {
            without_header(bytes, format, 1, limits, |bytes, samples| law.decode(bytes, samples))
        }
        AudioKind::Wav | AudioKind::Mp3 | AudioKind::Ogg => {
            // The decoders are safe code, but not ours: should one of them panic, this audio is not played.
            catch_unwind(AssertUnwindSafe(|| decode_container(kind, bytes, limits)))
                .unwrap_or(Err(DecodeError::Malformed("the decoder failed")))
        }
    }
}

/// Samples of `size` bytes each; half an instant at the end is left out.
fn without_header(
    bytes: &[u8],
    format: PcmFormat,
    size: usize,
    limits: DecodeLimits,
    decode: impl FnOnce(&[u8], &mut Vec<i16>),
) -> Result<(Vec<i16>, PcmFormat), DecodeError> {
    let channels = usize::from(format.channels);
    if !(1..=2).contains(&channels) {
        return Err(DecodeError::Channels(channels));
    }
    let count = bytes.len() / size / channels * channels;
    if count == 0 {
        return Err(DecodeError::Empty);
    }
    if count > format.samples_in_ms(limits.ms) {
        return Err(DecodeError::TooLong { limit_ms: limits.ms });
    }
    let mut samples = Vec::with_capacity(count);
    decode(bytes.get(..count * size).unwrap_or_default(), &mut samples);
    Ok((samples, format))
}

fn decode_container(kind: AudioKind, bytes: &[u8], limits: DecodeLimits) -> Result<(Vec<i16>, PcmFormat), DecodeError> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let options = FormatOptions::default();
    // The reader of the kind that was named and no other: what it is not cannot be reached by guessing.
    let mut reader: Box<dyn FormatReader + '_> = match kind {
        AudioKind::Wav => Box::new(formats::WavReader::try_new(source, options).map_err(refused)?),
        AudioKind::Mp3 => Box::new(formats::MpaReader::try_new(source, options).map_err(refused)?),
        _ => Box::new(formats::OggReader::try_new(source, options).map_err(refused)?),
    };
    let track = reader.default_track(TrackType::Audio).ok_or(DecodeError::Unsupported("no audio track in it"))?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or(DecodeError::Unsupported("no audio track in it"))?;
    let mut decoder = get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(refused)?;

    let (mut samples, mut packet_samples) = (Vec::new(), Vec::new());
    let mut format: Option<PcmFormat> = None;
    let mut damaged = 0;
    // An error here is the end of what can be read: a file that was cut off.
    while let Ok(Some(packet)) = reader.next_packet() {
        if packet.track_id != id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) if decoded.frames() > 0 => decoded,
            Ok(_) => continue,
            Err(Symphonia::DecodeError(_)) if damaged < MOST_DAMAGED => {
                damaged += 1;
                continue;
            }
            Err(_) => break,
        };
        damaged = 0;
        let now = format_of(decoded.spec().rate(), decoded.spec().channels().count())?;
        let format = *format.get_or_insert(now);
        if now != format {
            return Err(DecodeError::Unsupported("its format changes"));
        }
        if samples.len() + decoded.samples_interleaved() > format.samples_in_ms(limits.ms) {
            return Err(DecodeError::TooLong { limit_ms: limits.ms });
        }
        decoded.copy_to_vec_interleaved::<i16>(&mut packet_samples);
        samples.extend_from_slice(&packet_samples);
    }
    match format {
        Some(format) if !samples.is_empty() => Ok((samples, format)),
        _ if damaged > 0 => Err(DecodeError::Malformed("no part of it is whole")),
        _ => Err(DecodeError::Empty),
    }
}

fn format_of(rate: u32, channels: usize) -> Result<PcmFormat, DecodeError> {
    let rate = SampleRate::from_hz(rate).ok_or(DecodeError::Rate(rate))?;
    match u16::try_from(channels) {
        Ok(channels @ 1..=2) => Ok(PcmFormat { rate, channels }),
        _ => Err(DecodeError::Channels(channels)),
    }
}

fn refused(error: Symphonia) -> DecodeError {
    match error {
        Symphonia::Unsupported(what) => DecodeError::Unsupported(what),
        Symphonia::DecodeError(what) | Symphonia::LimitError(what) => DecodeError::Malformed(what),
        Symphonia::IoError(_) => DecodeError::Malformed("it ends before any audio"),
        Symphonia::SeekError(_) | Symphonia::ResetRequired => DecodeError::Malformed("its parts are out of order"),
        _ => DecodeError::Malformed("unknown"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dsp::probe::{amplitude_at, snr_db, tone};
    use crate::units::Law;
    use proptest::prelude::*;

    const MONO_8K: PcmFormat = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
    const LIMITS: DecodeLimits = DecodeLimits { bytes: 1 << 20, ms: 60_000 };

    macro_rules! golden {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audio/", $name)).as_slice()
        };
    }

    /// Decodes any bytes as the kind that the first one chooses, and holds the result to what [`decode`] promises.
    fn decode_any(data: &[u8]) {
        let Some((first, bytes)) = data.split_first() else { return };
        let told = PcmFormat { rate: SampleRate::HZ_8000, channels: u16::from(first / 6 % 3) };
        let kind = match first % 6 {
            0 => AudioKind::Wav,
            1 => AudioKind::Mp3,
            2 => AudioKind::Ogg,
            3 => AudioKind::Raw(told),
            4 => AudioKind::G711(Law::Mu, told),
            _ => AudioKind::G711(Law::A, told),
        };
        let limits = DecodeLimits { bytes: 1 << 20, ms: 10_000 };
        if let Ok((samples, format)) = decode(kind, bytes, limits) {
            assert!(!samples.is_empty() && samples.len() <= format.samples_in_ms(limits.ms));
            assert!((1..=2).contains(&format.channels) && samples.len().is_multiple_of(usize::from(format.channels)));
        }
    }

    /// Whole files, each with its number in [`decode_any`].
    fn seeds() -> Vec<(u8, AudioKind, &'static [u8])> {
        vec![
            (0, AudioKind::Wav, golden!("tone-1000hz-16k-24bit.wav")),
            (0, AudioKind::Wav, golden!("tone-1000hz-8k-pcmu.wav")),
            (1, AudioKind::Mp3, golden!("tone-1000hz-16k-mono.mp3")),
            (1, AudioKind::Mp3, golden!("tones-24k-stereo-id3.mp3")),
            (2, AudioKind::Ogg, golden!("tone-1000hz-8k-mono.ogg")),
            (2, AudioKind::Ogg, golden!("tones-44k-stereo.ogg")),
        ]
    }

    fn wav(samples: &[i16], rate: u32, channels: u16) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
        writer.finalize().unwrap();
        file.into_inner()
    }

    #[test]
    fn every_kind_gives_back_the_tone_that_was_encoded() {
        for (_, kind, bytes) in seeds() {
            let (samples, format) = decode(kind, bytes, LIMITS).unwrap();
            let (rate, channels) = (format.rate.hz(), usize::from(format.channels));
            for channel in 0..channels {
                let lane: Vec<i16> = samples.iter().skip(channel).step_by(channels).copied().collect();
                // The files have 100 ms at least; their codecs swell in and out.
                let middle = &lane[lane.len() / 4..lane.len() * 3 / 4];
                let hz = if channel == 0 { 1_000.0 } else { 400.0 };
                let level = amplitude_at(middle, rate, hz);
                assert!((level - 0.4 * 32_768.0).abs() < 1_300.0, "{kind:?} {rate} Hz, channel {channel}: {level:.0}");
                assert!(snr_db(middle, rate, hz) > 20.0, "{kind:?} {rate} Hz: {:.1} dB", snr_db(middle, rate, hz));
            }
        }
        let formats: Vec<_> = seeds()
            .iter()
            .map(|(_, kind, bytes)| decode(*kind, bytes, LIMITS).map(|(_, format)| (format.rate.hz(), format.channels)))
            .collect();
        let expected = [(16_000, 1), (8_000, 1), (16_000, 1), (24_000, 2), (8_000, 1), (44_100, 2)];
        assert_eq!(formats, expected.map(Ok));
    }

    #[test]
    fn a_16_bit_wav_is_exact_and_one_without_length_goes_to_its_end() {
        let sound = tone(8_000, 440.0, 12_000.0, 2_000);
        for (rate, channels) in [(8_000, 1), (16_000, 2), (48_000, 2), (44_100, 1)] {
            let mut bytes = wav(&sound, rate, channels);
            let expected = PcmFormat { rate: SampleRate::new(rate).unwrap(), channels };
            assert_eq!(decode(AudioKind::Wav, &bytes, LIMITS), Ok((sound.clone(), expected)));
            // As a program writes it that does not know how long it will become.
            for at in [4, 40] {
                bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            }
            assert_eq!(decode(AudioKind::Wav, &bytes, LIMITS), Ok((sound.clone(), expected)), "{rate} Hz");
        }
    }

    #[test]
    fn audio_without_a_header_is_decoded_in_the_given_format() {
        for law in [Law::Mu, Law::A] {
            let sound = tone(8_000, 440.0, 12_000.0, 1_600);
            let mut bytes = Vec::new();
            law.encode(&sound, &mut bytes);
            let told = PcmFormat { rate: SampleRate::HZ_16000, channels: 2 };
            bytes.push(0); // Half an instant.
            let (samples, format) = decode(AudioKind::G711(law, told), &bytes, LIMITS).unwrap();
            assert_eq!((samples.len(), format), (1_600, told));
            assert!(samples.iter().zip(&sound).all(|(a, b)| (a - b).abs() < 400));
        }
        let bytes = [1, 0, 2, 0, 3, 0, 4];
        assert_eq!(decode(AudioKind::Raw(MONO_8K), &bytes, LIMITS), Ok((vec![1, 2, 3], MONO_8K)));
        let stereo = PcmFormat { channels: 2, ..MONO_8K };
        assert_eq!(decode(AudioKind::Raw(stereo), &bytes, LIMITS), Ok((vec![1, 2], stereo)));
    }

    #[test]
    fn what_is_too_large_too_long_or_of_no_call_is_refused_by_name() {
        let second = wav(&[1; 8_000], 8_000, 1);
        let refusal = |bytes: &[u8], limits| decode(AudioKind::Wav, bytes, limits).unwrap_err();
        let limits = DecodeLimits { bytes: 100, ..LIMITS };
        assert_eq!(refusal(&second, limits), DecodeError::TooLarge { bytes: second.len(), limit: 100 });
        let limits = DecodeLimits { ms: 999, ..LIMITS };
        assert_eq!(refusal(&second, limits), DecodeError::TooLong { limit_ms: 999 });
        assert!(decode(AudioKind::Wav, &second, DecodeLimits { ms: 1_000, ..LIMITS }).is_ok());
        assert_eq!(
            decode(AudioKind::G711(Law::Mu, MONO_8K), &[0; 8_001], DecodeLimits { ms: 1_000, ..LIMITS }),
            Err(DecodeError::TooLong { limit_ms: 1_000 })
        );
        assert_eq!(refusal(&wav(&[1; 800], 96_000, 1), LIMITS), DecodeError::Rate(96_000));
        assert_eq!(refusal(&wav(&[1; 600], 8_000, 3), LIMITS), DecodeError::Channels(3));
        assert_eq!(refusal(&wav(&[], 8_000, 1), LIMITS), DecodeError::Empty);
        for kind in
            [AudioKind::Wav, AudioKind::Mp3, AudioKind::Ogg, AudioKind::Raw(MONO_8K), AudioKind::G711(Law::A, MONO_8K)]
        {
            assert!(decode(kind, &[], LIMITS).is_err(), "{kind:?}");
        }
        // What it is said to be counts, not what it is.
        assert!(matches!(
            decode(AudioKind::Ogg, &second, LIMITS),
            Err(DecodeError::Malformed(_) | DecodeError::Unsupported(_))
        ));
    }

    #[test]
    fn what_is_cut_off_is_played_up_to_there() {
        for (_, kind, bytes) in seeds() {
            let whole = decode(kind, bytes, LIMITS).unwrap().0;
            if let Ok((part, _)) = decode(kind, &bytes[..bytes.len() * 4 / 5], LIMITS) {
                assert!(part.len() <= whole.len() && part[..] == whole[..part.len()], "{kind:?}");
            }
        }
        let sound = tone(8_000, 440.0, 12_000.0, 8_000);
        let bytes = wav(&sound, 8_000, 1);
        let (part, _) = decode(AudioKind::Wav, &bytes[..44 + 9_001], LIMITS).unwrap();
        assert!(part.len() >= 4_000 && part[..] == sound[..part.len()], "{}", part.len());
    }

    #[test]
    fn fuzz_seeds_hold() {
        for (number, _, bytes) in seeds() {
            let mut data = vec![number];
            data.extend_from_slice(bytes);
            for end in (0..data.len()).step_by(37).chain([data.len()]) {
                decode_any(&data[..end]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn damaged_files_are_samples_or_an_error(
            which in 0_usize..6,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let (number, _, bytes) = seeds()[which];
            let mut data = vec![number];
            data.extend_from_slice(bytes);
            for (at, byte) in damage {
                let at = 1 + at.index(data.len() - 1);
                data[at] = byte;
            }
            // Where the headers are, more often.
            let at = 1 + cut.index(100.min(data.len() - 1));
            data[at] = data[at].wrapping_add(1);
            decode_any(&data);
        }

        #[test]
        fn any_bytes_are_samples_or_an_error(data in prop::collection::vec(any::<u8>(), 0..2_000)) {
            decode_any(&data);
        }
    }
}
