//! What a transcription service says it has understood.

use serde_json::{Value, json};

use super::websocket_server::Action;

/// A result of Deepgram's about one of two channels: these words, said as one from 100 to 700 ms of the audio.
pub fn of_deepgram(channel: usize, text: &str, is_final: bool) -> Action {
    let words = [json!({"word": text, "start": 0.1, "end": 0.7, "confidence": 0.9})];
    let alternative = json!({"transcript": text, "confidence": 0.9, "words": words});
    let result = json!({"type": "Results", "channel_index": [channel, 2], "start": 0.0, "duration": 1.0, "is_final": is_final,
        "speech_final": is_final, "channel": {"alternatives": [alternative]},
        "metadata": {"request_id": "r", "model_info": {"name": "n", "version": "v", "arch": "a"}, "model_uuid": "m"}});
    Action::Text(result.to_string())
}

/// Its words as the event of the module has them.
pub fn words_of(text: &str) -> Value {
    json!([{"word": text, "start_ms": 100, "end_ms": 700, "confidence": 0.9}])
}
