//! The headers by which a stream's server finds the call in other systems.
//!
//! On the API or dialplan thread. The trace of a call is settled once, under a lock that is held for a look at two or three
//! variables of its channel.

use std::hash::{BuildHasher as _, RandomState};

use super::host::Call;
use super::module::Module;
use crate::control::options::Warning;
use crate::conversation::engines;
use crate::protocol;
use crate::stream::correlation::{Correlation, TRACE_VARIABLES, TraceParent, header_value};
use crate::stream::spec::StreamSpec;
use crate::stream::state::StreamMode;
use crate::transport::Headers;
use crate::units::Secret;

/// The channel variable that has the trace of a call, for everything else that the call has to do with.
const TRACE: &str = TRACE_VARIABLES[0];

impl Module {
    /// Adds the headers that the options ask for, and settles the trace of the call. The warnings name what is not sent.
    pub(super) fn correlate(&self, call: &dyn Call, spec: &mut StreamSpec) -> Vec<Warning> {
        let options = &spec.options;
        if options.correlation == Correlation::Off {
            return unsent(spec, "correlation=off");
        }
        let trace = self.trace_of(call);
        if is_a_service(spec) && options.correlation != Correlation::All {
            return unsent(spec, "AI and transcription services get headers of the call only with correlation=all");
        }
        let known = [
            ("X-Call-Id", Some(spec.call.to_string())),
            ("X-SIP-Call-Id", call.get("sip_call_id")),
            ("traceparent", Some(trace.as_str().to_owned())),
        ];
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), value));
        let chosen = options.headers_from.iter().map(|from| (from.header.clone(), call.get(&from.variable)));
        let wanted: Vec<_> = known.chain(chosen).collect();
        let mut headers = sent_already(spec);
        let mut warnings = Vec::new();
        for (name, value) in wanted {
            let Some(value) = value.as_deref().and_then(header_value) else { continue };
            // What the operator says is not replaced.
            if headers.names().any(|other| other.eq_ignore_ascii_case(&name)) {
                continue;
            }
            let value = Secret::new(value);
            match headers.insert(&name, &value) {
                Ok(()) => spec.options.headers.push((name, value)),
                Err(error) => warnings.push(Warning(format!("the header {name} is not sent: {error}"))),
            }
        }
        warnings
    }

    /// The trace of a call: that of the dialplan or of SIP, or one that begins here. It is the same for every stream of the call.
    fn trace_of(&self, call: &dyn Call) -> TraceParent {
        let _settling = self.settling_trace();
        let said = |name: &str| call.get(name).as_deref().and_then(TraceParent::read);
        if let Some(trace) = said(TRACE) {
            return trace;
        }
        let random = RandomState::new();
        let trace = TRACE_VARIABLES
            .iter()
            .find_map(|name| said(name))
            .unwrap_or_else(|| TraceParent::begin([0_u8, 1, 2].map(|part| random.hash_one(part))));
        call.note(TRACE, trace.as_str());
        trace
    }
}

/// Whether the other end belongs to somebody else: an AI service or a transcription service.
fn is_a_service(spec: &StreamSpec) -> bool {
    let transcribes = || protocol::find(spec.options.protocol).is_some_and(|entry| entry.service.is_some());
    spec.options.mode == StreamMode::Ai || transcribes()
}

/// What the handshake has without them: the operator's headers, and those of the service.
fn sent_already(spec: &StreamSpec) -> Headers {
    let options = &spec.options;
    match options.mode {
        StreamMode::Ws => spec.connect_options().map(|connect| connect.headers).unwrap_or_default(),
        StreamMode::Ai => {
            let target = engines::of(&options.ai).check(&options.ai, options.headers.clone()).unwrap_or_default();
            let mut headers = Headers::default();
            // One that cannot be sent fails the connection, which says why.
            target.headers.iter().for_each(|(name, value)| drop(headers.insert(name, value)));
            headers
        }
    }
}

/// The warning that the chosen variables are not sent, if there are any.
fn unsent(spec: &StreamSpec, why: &str) -> Vec<Warning> {
    let any = !spec.options.headers_from.is_empty();
    any.then(|| Warning(format!("headers_from has no effect: {why}"))).into_iter().collect()
}
