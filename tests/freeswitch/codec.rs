//! The codecs of a phone: what they are called in SDP, and how samples become payloads and back.
//!
//! Samples of a codec of two channels are interleaved. A phone has one encoder and one decoder, each used by one thread.

use audio_codec_algorithms::{decode_alaw, encode_alaw};

use super::opus::{Decoder, Encoder};

/// What the phone speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// 16-bit big-endian samples at 16 kHz.
    L16,
    /// The same at 48 kHz.
    L16Wide,
    /// Two channels of 16-bit big-endian samples at 8 kHz. Samples of a phone that speaks it are interleaved.
    L16Stereo,
    /// Opus of one channel at 48 kHz.
    Opus,
    /// Opus of two channels at 48 kHz. Samples of a phone that speaks it are interleaved.
    OpusStereo,
    /// Opus whose phone asks for 16 kHz and says that it sends no more; its samples are of 48 kHz all the same.
    OpusWideband,
}

impl Codec {
    const ALL: [Self; 8] = [
        Self::Pcmu,
        Self::Pcma,
        Self::L16,
        Self::L16Wide,
        Self::L16Stereo,
        Self::Opus,
        Self::OpusStereo,
        Self::OpusWideband,
    ];

    /// Samples a second.
    pub fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::L16Stereo => 8_000,
            Self::L16 => 16_000,
            Self::L16Wide | Self::Opus | Self::OpusStereo | Self::OpusWideband => 48_000,
        }
    }

    /// Channels of each packet.
    pub fn channels(self) -> u32 {
        if matches!(self, Self::L16Stereo | Self::OpusStereo) { 2 } else { 1 }
    }

    /// The RTP payload type the phone offers.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::L16 => 97,
            Self::L16Wide => 98,
            Self::L16Stereo => 99,
            Self::Opus => 111,
            Self::OpusStereo => 112,
            Self::OpusWideband => 113,
        }
    }

    /// The codec that the phone offered with this payload type.
    pub fn of_payload_type(payload_type: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.payload_type() == payload_type)
    }

    /// The encoding's name, rate and so on, in SDP.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::L16 => "L16/16000",
            Self::L16Wide => "L16/48000",
            Self::L16Stereo => "L16/8000/2",
            // Two channels whatever is sent, by RFC 7587.
            Self::Opus | Self::OpusStereo | Self::OpusWideband => "opus/48000/2",
        }
    }

    /// Its parameters in SDP, if it has any.
    pub fn fmtp(self) -> Option<&'static str> {
        match self {
            Self::OpusStereo => Some("stereo=1; sprop-stereo=1"),
            Self::OpusWideband => Some("maxplaybackrate=16000; sprop-maxcapturerate=16000"),
            _ => None,
        }
    }
}

/// Encodes one direction of a call, whose codec may change.
pub struct Encoding {
    native: bool,
    /// With the codec that it is for.
    opus: Option<(Codec, Encoder)>,
}

impl Encoding {
    /// With `native` L16 has the machine's order of bytes.
    pub fn new(native: bool) -> Self {
        Self { native, opus: None }
    }

    /// The payload of one packet.
    pub fn encode(&mut self, codec: Codec, samples: &[i16]) -> Vec<u8> {
        let bytes = |sample: &i16| if self.native { sample.to_ne_bytes() } else { sample.to_be_bytes() };
        match codec {
            Codec::Pcmu => samples.iter().map(|&sample| mulaw(sample)).collect(),
            Codec::Pcma => samples.iter().map(|&sample| encode_alaw(sample)).collect(),
            Codec::L16 | Codec::L16Wide | Codec::L16Stereo => samples.iter().flat_map(bytes).collect(),
            Codec::Opus | Codec::OpusStereo | Codec::OpusWideband => {
                self.opus.take_if(|(of, _)| *of != codec);
                let (_, encoder) = self.opus.get_or_insert_with(|| (codec, Encoder::new(codec.channels())));
                encoder.encode(samples)
            }
        }
    }
}

/// Decodes the other direction.
pub struct Decoding {
    native: bool,
    /// With the codec that it is for.
    opus: Option<(Codec, Decoder)>,
}

impl Decoding {
    /// With `native` L16 has the machine's order of bytes.
    pub fn new(native: bool) -> Self {
        Self { native, opus: None }
    }

    /// The samples of one packet.
    pub fn decode(&mut self, codec: Codec, payload: &[u8]) -> Vec<i16> {
        let sample = |bytes: [u8; 2]| if self.native { i16::from_ne_bytes(bytes) } else { i16::from_be_bytes(bytes) };
        match codec {
            Codec::Pcmu => payload.iter().map(|&byte| linear(byte)).collect(),
            Codec::Pcma => payload.iter().map(|&byte| decode_alaw(byte)).collect(),
            Codec::L16 | Codec::L16Wide | Codec::L16Stereo => {
                payload.chunks_exact(2).map(|pair| sample([pair[0], pair[1]])).collect()
            }
            Codec::Opus | Codec::OpusStereo | Codec::OpusWideband => {
                self.opus.take_if(|(of, _)| *of != codec);
                let (_, decoder) = self.opus.get_or_insert_with(|| (codec, Decoder::new(codec.channels())));
                decoder.decode(payload)
            }
        }
    }
}

/// G.711 µ-law of a sample.
pub fn mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 132;
    let exponent = (magnitude.ilog2() - 7) as i32;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) | mantissa) as u8
}

/// The sample of a µ-law byte.
pub fn linear(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 132) << ((byte >> 4) & 7)) - 132;
    (if byte & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}
