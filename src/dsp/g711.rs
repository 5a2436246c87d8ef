//! G.711: µ-law and A-law, as ITU-T G.711 and the reference code of G.191 define them.
//!
//! Pure, by table: 0.5 KiB to decode, 20 KiB to encode, computed when the module is compiled. On the worker's thread;
//! nothing is allocated but room in the caller's vector. The sample rate plays no part.

pub use crate::units::Law;

/// What the segment search of µ-law adds to a magnitude of 14 bits.
const MU_BIAS: i32 = 33;
/// Greatest magnitude of 14 bits that µ-law codes, bias included.
const MU_MOST: i32 = 0x1fff;

static MU_DECODED: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = decode_mu(code as u8);
        code += 1;
    }
    table
};

static A_DECODED: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = decode_a(code as u8);
        code += 1;
    }
    table
};

/// By the upper 14 bits of a sample.
static MU_ENCODED: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        table[index] = encode_mu(((index as u16) << 2) as i16);
        index += 1;
    }
    table
};

/// By the upper 12 bits of a sample.
static A_ENCODED: [u8; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        table[index] = encode_a(((index as u16) << 4) as i16);
        index += 1;
    }
    table
};

impl Law {
    /// Appends the samples of `bytes` to `out`. About 30 ns per 20 ms of 8 kHz.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<i16>) {
        let table = match self {
            Self::Mu => &MU_DECODED,
            Self::A => &A_DECODED,
        };
        out.extend(bytes.iter().map(|&byte| table[usize::from(byte)]));
    }

    /// Appends the bytes of `samples` to `out`; louder than the loudest of the law is clipped. About 0.1 µs per 20 ms of 8 kHz.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            Self::Mu => out.extend(samples.iter().map(|&sample| MU_ENCODED[usize::from(sample as u16 >> 2)])),
            Self::A => out.extend(samples.iter().map(|&sample| A_ENCODED[usize::from(sample as u16 >> 4)])),
        }
    }

    /// The byte of digital silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }
}

const fn decode_mu(code: u8) -> i16 {
    let bits = !code as i32;
    let magnitude = ((((bits & 0x0f) << 1) + MU_BIAS) << ((bits >> 4) & 7)) - MU_BIAS;
    let sample = magnitude << 2;
    if bits & 0x80 != 0 { -sample as i16 } else { sample as i16 }
}

const fn encode_mu(sample: i16) -> u8 {
    // Negative samples by their ones' complement, as the reference does: both zeros have a code.
    let magnitude = (if sample < 0 { !sample } else { sample } >> 2) as i32 + MU_BIAS;
    let magnitude = if magnitude > MU_MOST { MU_MOST } else { magnitude };
    // The bias makes bit 5 the lowest leading bit there is.
    let segment = 31 - magnitude.leading_zeros() as i32 - 5;
    let code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0f);
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | (!code & 0x7f)) as u8
}

const fn decode_a(code: u8) -> i16 {
    let bits = (code ^ 0x55) as i32;
    let segment = (bits >> 4) & 7;
    let step = ((bits & 0x0f) << 4) + 8;
    let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) };
    if bits & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

const fn encode_a(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample } >> 4) as i32;
    let code = if magnitude < 0x10 {
        magnitude
    } else {
        let segment = 31 - magnitude.leading_zeros() as i32 - 3;
        (segment << 4) | ((magnitude >> (segment - 1)) & 0x0f)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    ((sign | code) ^ 0x55) as u8
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

    fn decoded(law: Law, codes: &[u8]) -> Vec<i16> {
        let mut out = Vec::new();
        law.decode(codes, &mut out);
        out
    }

    fn encoded(law: Law, samples: &[i16]) -> Vec<u8> {
        let mut out = Vec::new();
        law.encode(samples, &mut out);
        out
    }

    #[test]
    fn all_codes_and_samples_agree_with_another_implementation() {
        let codes: Vec<u8> = (0..=255).collect();
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let expected = |decode: fn(u8) -> i16| codes.iter().map(|&code| decode(code)).collect::<Vec<_>>();
        assert_eq!(decoded(Law::Mu, &codes), expected(decode_ulaw));
        assert_eq!(decoded(Law::A, &codes), expected(decode_alaw));
        for (index, &sample) in samples.iter().enumerate() {
            assert_eq!(encoded(Law::Mu, &samples[index..=index]), [encode_ulaw(sample)], "µ-law {sample}");
            assert_eq!(encoded(Law::A, &samples[index..=index]), [encode_alaw(sample)], "A-law {sample}");
        }
    }

    #[test]
    fn silence_and_full_scale_have_the_codes_of_the_recommendation() {
        assert_eq!(encoded(Law::Mu, &[0, i16::MAX, i16::MIN]), [0xff, 0x80, 0x00]);
        assert_eq!(encoded(Law::A, &[0, i16::MAX, i16::MIN]), [0xd5, 0xaa, 0x2a]);
        assert_eq!((Law::Mu.silence(), Law::A.silence()), (0xff, 0xd5));
        assert_eq!(decoded(Law::Mu, &[0xff, 0x7f, 0x80, 0x00]), [0, 0, 32_124, -32_124]);
        assert_eq!(decoded(Law::A, &[0xd5, 0x55, 0xaa, 0x2a]), [8, -8, 32_256, -32_256]);
    }

    #[test]
    fn a_decoded_sample_is_encoded_to_the_code_it_came_from() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255_u8 {
                let again = encoded(law, &decoded(law, &[code]))[0];
                // µ-law has two zeros; the negative one decodes to the positive one's sample.
                assert!(again == code || (law == Law::Mu && code == 0x7f && again == 0xff), "{law:?} {code:#x}");
            }
        }
    }
}
