//! Hears where the caller begins and stops, by level alone. Counts in samples of what it was given; pure.

/// Speech is louder than this in a block of 10 ms, at the usual threshold of 0.5: -38 dB of full scale.
const LOUD: f64 = 400.0;
/// Loud blocks within the last ten that make a beginning.
const BEGINNING: u32 = 5;

/// What was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The caller began, at this sample of all that was given.
    Started(u64),
    /// The caller stopped, at this sample.
    Stopped(u64),
}

/// The ear of one session.
#[derive(Debug)]
pub struct Ear {
    rate: u32,
    loud: f64,
    silence: u64,
    rest: Vec<i16>,
    /// Samples in whole blocks so far.
    position: u64,
    /// Which of the last ten blocks were loud, the newest in the lowest bit.
    recent: u32,
    /// Where the last loud block ended.
    loud_to: u64,
    speaking: bool,
}

impl Ear {
    /// An ear for this rate, with the session's threshold (0 to 1) and the silence that ends a turn.
    pub fn new(rate: u32, threshold: f64, silence_ms: u64) -> Self {
        Self {
            rate,
            loud: LOUD * threshold / 0.5,
            silence: silence_ms * u64::from(rate) / 1_000,
            rest: Vec::new(),
            position: 0,
            recent: 0,
            loud_to: 0,
            speaking: false,
        }
    }

    /// Takes the next samples.
    pub fn listen(&mut self, samples: &[i16]) -> Vec<Heard> {
        let block = (self.rate / 100) as usize;
        self.rest.extend_from_slice(samples);
        let mut heard = Vec::new();
        let whole = self.rest.len() / block * block;
        for samples in self.rest.drain(..whole).collect::<Vec<_>>().chunks(block) {
            let power = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / block as f64;
            self.position += block as u64;
            self.recent = (self.recent << 1 | u32::from(power.sqrt() >= self.loud)) & 0x3ff;
            if self.recent & 1 == 1 {
                self.loud_to = self.position;
            }
            if !self.speaking && self.recent.count_ones() >= BEGINNING {
                self.speaking = true;
                let blocks = u64::from(32 - self.recent.leading_zeros());
                heard.push(Heard::Started(self.position.saturating_sub(blocks * block as u64)));
            } else if self.speaking && self.position - self.loud_to >= self.silence {
                self.speaking = false;
                self.recent = 0;
                heard.push(Heard::Stopped(self.loud_to));
            }
        }
        heard
    }

    /// Whether the caller is speaking.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }
}
