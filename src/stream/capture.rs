//! Captured audio on its way from the ring to the protocol: conversion to the wire's format, cut into messages, encoded.
//!
//! Owned by the stream's task. While there is no connection the audio waits here, at most `max_queue_ms` of it, the oldest
//! dropped first; otherwise at most one message less a sample, and what the socket has not taken yet where a lost connection is
//! made again.

use std::sync::Arc;
use std::time::Duration;

use crate::conversation::{CallerProcessor, Heard};
use crate::dsp::CaptureConverter;
use crate::dsp::pcm::{peak, write_encoded};
use crate::media::{CaptureReader, CaptureShared};
use crate::protocol::WireFormat;
use crate::units::{Encoding, Mix, PcmFormat};

use super::options::StreamOptions;

/// Captured audio, from the ring to messages.
pub(super) struct Capture {
    reader: CaptureReader,
    shared: Arc<CaptureShared>,
    converter: CaptureConverter,
    /// What a conversation does to the caller's audio.
    caller: CallerProcessor,
    /// What the caller hears, where that wants to know.
    reference: Option<Box<Reference>>,
    wire: PcmFormat,
    encoding: Encoding,
    /// The message handed out last, as bytes; kept for its capacity.
    bytes: Vec<u8>,
    /// Converted samples, interleaved; those before `taken` have been handed out.
    pcm: Vec<i16>,
    taken: usize,
    message: usize,
    /// The greatest absolute sample collected since it was last taken.
    peak: u16,
    backlog: usize,
    /// Samples the ring takes for one sample of the wire, all lanes and channels counted, as last seen.
    ratio: f64,
}

/// What the caller hears, at the wire's rate.
struct Reference {
    reader: CaptureReader,
    converter: CaptureConverter,
    pcm: Vec<i16>,
}

impl Reference {
    fn new(reader: CaptureReader, wire: PcmFormat) -> Self {
        let mono = PcmFormat { rate: wire.rate, channels: 1 };
        Self { reader, converter: CaptureConverter::new(Mix::Mono, mono), pcm: Vec::new() }
    }

    /// What came since the last call.
    fn collect(&mut self) -> &[i16] {
        let Self { reader, converter, pcm } = self;
        pcm.clear();
        reader.read_with(usize::MAX, |format, samples| converter.push(format.rate, format.channels, samples, pcm));
        pcm
    }
}

impl Capture {
    /// Gives messages of the `format` the protocol wants.
    pub(super) fn new(
        reader: CaptureReader,
        shared: Arc<CaptureShared>,
        options: &StreamOptions,
        format: WireFormat,
        caller: CallerProcessor,
        reference: Option<CaptureReader>,
    ) -> Self {
        let wire = format.pcm;
        let message = wire.samples_in_ms(format.message_ms);
        Self {
            reader,
            shared,
            converter: CaptureConverter::new(options.mix, wire),
            caller,
            reference: reference.map(|reader| Box::new(Reference::new(reader, wire))),
            wire,
            encoding: format.encoding,
            bytes: Vec::new(),
            pcm: Vec::new(),
            taken: 0,
            message,
            peak: 0,
            backlog: wire.samples_in_ms(options.max_queue_ms).max(message),
            ratio: 1.0,
        }
    }

    /// Takes what is in the ring, and asks to be woken when the next message is complete.
    pub(super) fn collect(&mut self) {
        let Self { reader, converter, pcm, ratio, wire, .. } = self;
        let from = pcm.len();
        reader.read_with(usize::MAX, |format, samples| {
            *ratio = f64::from(format.rate.hz()) * f64::from(format.channels)
                / (f64::from(wire.rate.hz()) * f64::from(wire.channels));
            converter.push(format.rate, format.channels, samples, pcm);
        });
        if let Some(reference) = &mut self.reference {
            self.caller.played(reference.collect());
        }
        self.caller.process(&mut self.pcm, from);
        self.peak = self.peak.max(peak(self.pcm.get(from..).unwrap_or_default()));
        let missing = self.message.saturating_sub(self.pcm.len() - self.taken) as f64 * self.ratio;
        // One sample at least, or the doorbell would ring at every tick; a wrong guess after a change of codec costs one
        // early or late tick.
        self.shared.want(self.reader.position() + (missing as u64).max(1));
    }

    /// The peak of what was collected since the last call.
    pub(super) const fn take_peak(&mut self) -> u16 {
        std::mem::replace(&mut self.peak, 0)
    }

    /// The next complete message.
    pub(super) fn next_message(&mut self) -> Option<&[u8]> {
        if self.pcm.len() - self.taken < self.message {
            return None;
        }
        let from = self.taken;
        self.taken += self.message;
        self.bytes.clear();
        write_encoded(self.encoding, self.pcm.get(from..self.taken)?, &mut self.bytes);
        Some(&self.bytes)
    }

    /// Forgets what was handed out, but for the last `unsent` of it.
    pub(super) fn forget(&mut self, unsent: Duration) {
        let forgotten = self.taken.saturating_sub(self.samples(unsent));
        self.pcm.drain(..forgotten);
        self.taken -= forgotten;
        // A backlog from a time without a connection is not kept in memory for the whole call.
        if self.pcm.capacity() > 8 * self.message.max(self.pcm.len()) {
            self.pcm.shrink_to(2 * self.message);
        }
    }

    /// The last `unsent` of what was handed out is handed out again, as far as it was not forgotten.
    pub(super) fn take_back(&mut self, unsent: Duration) {
        self.taken = self.taken.saturating_sub(self.samples(unsent));
    }

    /// Samples of the whole messages that last so long.
    fn samples(&self, lasting: Duration) -> usize {
        if lasting.is_zero() {
            return 0;
        }
        let messages = lasting.as_nanos() / self.message_duration().as_nanos().max(1);
        usize::try_from(messages).unwrap_or(usize::MAX).saturating_mul(self.message)
    }

    /// No more will be captured: the ring's rest and the resampler's tail.
    pub(super) fn finish(&mut self) {
        self.collect();
        let from = self.pcm.len();
        self.converter.drain(&mut self.pcm);
        self.caller.process(&mut self.pcm, from);
        self.caller.drain(&mut self.pcm);
    }

    /// What the module's own voice activity detection heard, where a conversation wants it.
    pub(super) fn next_speech(&mut self) -> Option<Heard> {
        self.caller.take()
    }

    /// What is left after the last complete message.
    pub(super) fn last_message(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.pcm).split_off(self.taken);
        self.taken = 0;
        let mut bytes = Vec::new();
        write_encoded(self.encoding, &rest, &mut bytes);
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Drops the oldest whole messages of what waits for a connection; returns how much that was.
    pub(super) fn trim_backlog(&mut self) -> Duration {
        let excess = (self.pcm.len() - self.taken).saturating_sub(self.backlog);
        if excess < self.message {
            return Duration::ZERO;
        }
        let messages = excess / self.message;
        self.pcm.drain(..self.taken + messages * self.message);
        self.taken = 0;
        self.message_duration() * messages as u32
    }

    /// Drops everything captured so far.
    pub(super) fn discard(&mut self) {
        self.pcm = Vec::new();
        self.taken = 0;
        self.converter.reset();
    }

    /// How long one message lasts.
    pub(super) fn message_duration(&self) -> Duration {
        self.wire.rate.duration_of((self.message / usize::from(self.wire.channels)) as u64)
    }
}
