//! What the log says of a stream that has just been put on a call: where it leads, what is done to its sound, how much its rings
//! hold. On the thread that has started it.

use super::host::CallAudio;
use super::ring_sizes::RingSizes;
use crate::dsp::ChainSettings;
use crate::stream::handle::StreamHandle;
use crate::stream::state::StreamMode;

/// Writes the lines. `reads` and `writes` are the call's audio from its caller and to its caller.
pub(super) fn log(stream: &StreamHandle, reads: CallAudio, writes: CallAudio, rings: &RingSizes) {
    let (call, name, options) = (stream.call(), stream.name(), &stream.spec.options);
    tracing::info!(target: "LIFECYCLE", notice = true, %call, op = "stream_start", outcome = "ok", stream = %name,
        url = %stream.spec.endpoint, mix = %options.mix, rate = %options.rate, call_rate = %reads.rate,
        ptime_ms = reads.ptime_ms, protocol = options.protocol);
    tracing::debug!(target: "RING_BUF", %call, op = "rings", outcome = "ok", stream = %name,
        capture_samples = rings.capture.all(), playout_samples = rings.playout.all());
    match options.mode {
        StreamMode::Ws => tracing::debug!(target: "DSP", %call, op = "chain", outcome = "ok", stream = %name,
            captured_rate = %reads.rate, sent_rate = %options.rate, played_rate = %writes.rate),
        StreamMode::Ai => {
            let caller = options.ai.caller();
            let noise_suppression = caller.suppression.map_or("off", |suppression| suppression.as_str());
            tracing::info!(target: "DSP", %call, op = "chain", outcome = "ok", stream = %name, captured_rate = %reads.rate,
                sent_rate = %options.rate, played_rate = %writes.rate, noise_suppression,
                gain_control = caller.gain_control, speech = stages(&options.ai.speaking.polish.settings()));
        }
    }
}

/// The stages that synthesised speech goes through.
fn stages(settings: &ChainSettings) -> String {
    let stages = [
        (settings.dc_blocker, "dc_blocker"),
        (settings.gate.is_some(), "gate"),
        (settings.compressor.is_some(), "compressor"),
        (settings.high_shelf.is_some(), "high_shelf"),
        (settings.low_pass.is_some(), "low_pass"),
        (settings.soft_clip.is_some(), "soft_clip"),
    ];
    let on: Vec<_> = stages.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    if on.is_empty() { "off".to_owned() } else { on.join(",") }
}
