//! What an operator chooses of the agent's ways, in the words of the options.
//!
//! Plain values.

use crate::units::choice::choice;

choice! {
    /// Who speaks for the model.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum VoiceMode {
        /// The engine sends speech.
        #[default]
        Engine = "audio",
        /// The engine sends text, a synthesis speaks it.
        Synthesis = "tts",
    }
}

choice! {
    /// Whose voice activity detection interrupts.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum SpeechTrigger {
        /// The engine's turn detection.
        #[default]
        Engine = "far_end",
        /// Our own voice activity detection.
        Local = "local",
        /// Nobody's: speech does not interrupt.
        Off = "off",
    }
}
