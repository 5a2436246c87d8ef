//! The options of speech that is made from text: that of an agent whose model writes, and that of `say` on any stream.
//!
//! Plain data, validated; each option is declared here, once.

use super::agent::{Abbreviations, SentenceRules};
use crate::dsp::ChainSettings;
use crate::dsp::chain::{Compressor, Gate, HighShelf, LowPass, SoftClip};
use crate::options::{Group, decimal, options, switch, text};
use crate::tts::SpeechOptions;

options! {
    /// The options of speech that is made from text.
    #[derive(Clone, PartialEq, Debug)]
    pub struct Speaking, variables "AUDIO_STREAM_AI_" {
        /// Whether Markdown and emoji are removed from the text that is synthesised. Transcripts and responses keep them.
        tts_clean: bool = switch().default("true");
        /// Abbreviations that do not end a sentence, besides those that the module knows. `Bldg#`: unless a number follows; `GmbH?`:
        /// unless a word follows that begins sentences, like `The`; `-gasse`: every word with this ending.
        tts_abbreviations: Abbreviations = text("at most 256 words of at most 32 letters, separated by commas", Abbreviations::parse);
        /// Who speaks.
        speech: SpeechOptions = Group::default();
        /// What is done to that.
        polish: Polish = Group::default();
    }
}

options! {
    /// The stages that synthesised speech passes; `None`: off.
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub struct Polish, variables "AUDIO_STREAM_AI_" {
        /// Whether synthesised speech is processed by the stages below, in their order.
        dsp_enabled: bool = switch().default("true").also("AI_DSP_ENABLED");
        /// Removes a constant offset.
        dc_blocker: bool = switch().default("true");
        /// Level below which the noise gate closes.
        gate_threshold_db: Option<f32> = decimal(-90.0..=0.0, "dB").or("off").default("-45");
        /// Level above which the compressor reduces the gain.
        compressor_threshold_db: Option<f32> = decimal(-60.0..=0.0, "dB").or("off").default("-20").also("AI_COMPRESSOR_THRESHOLD_DB");
        /// Compression ratio above the threshold.
        compressor_ratio: f32 = decimal(1.0..=20.0, "").default("3");
        /// Gain after the compressor.
        compressor_makeup_db: f32 = decimal(0.0..=24.0, "dB").default("6").also("AI_COMPRESSOR_MAKEUP_DB");
        /// Gain of the high shelf, which raises or lowers the treble.
        high_shelf_gain_db: Option<f32> = decimal(-12.0..=12.0, "dB").or("off").default("3").also("AI_HIGH_SHELF_GAIN_DB");
        /// Corner frequency of the high shelf, where it has half of its gain.
        high_shelf_hz: f32 = decimal(500.0..=20_000.0, "Hz").default("3000");
        /// Cutoff frequency of the low-pass filter. It is limited to less than half of the call's rate.
        lpf_cutoff_hz: Option<f32> = decimal(100.0..=20_000.0, "Hz").or("off").default("7500").also("AI_LPF_CUTOFF_HZ");
        /// Level above which peaks are softly limited, as a fraction of full scale.
        soft_clip: Option<f32> = decimal(0.1..=1.0, "").or("off").default("0.85");
    }
}

impl Speaking {
    /// How a text becomes sentences.
    pub fn sentences(&self) -> SentenceRules {
        SentenceRules {
            clean: self.tts_clean,
            abbreviations: self.tts_abbreviations.clone(),
            ..SentenceRules::default()
        }
    }
}

impl Polish {
    /// The same for the chain. A value out of range, which there is none, turns its stage off.
    pub fn settings(self) -> ChainSettings {
        if !self.dsp_enabled {
            return ChainSettings::BYPASS;
        }
        let compressor = |db| Compressor::new(db, self.compressor_ratio, self.compressor_makeup_db).ok();
        ChainSettings {
            dc_blocker: self.dc_blocker,
            gate: self.gate_threshold_db.and_then(|db| Gate::new(db).ok()),
            compressor: self.compressor_threshold_db.and_then(compressor),
            high_shelf: self.high_shelf_gain_db.and_then(|db| HighShelf::new(self.high_shelf_hz, db).ok()),
            low_pass: self.lpf_cutoff_hz.and_then(|hz| LowPass::new(hz).ok()),
            soft_clip: self.soft_clip.and_then(|knee| SoftClip::new(knee).ok()),
        }
    }
}
