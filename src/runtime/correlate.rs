//! The headers by which a stream's server finds the call in other systems.
//!
//! On the API or dialplan thread. The trace of a call is settled once, under a lock that is held for a look at two or three
//! variables of its channel.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::host::Call;
use crate::control::options::Warning;
use crate::conversation::{Webhook, WebhookConfig, engines};
use crate::protocol::{self, CallInfo};
use crate::stream::correlation::{Correlation, TRACE_VARIABLES, TraceParent, header_value};
use crate::stream::spec::{StreamSpec, wall_clock};
use crate::stream::state::StreamMode;
use crate::transport::Headers;
use crate::units::Secret;

/// The channel variable that has the trace of a call, for everything else that the call has to do with.
const TRACE: &str = TRACE_VARIABLES[0];

/// Adds the headers that the options ask for, and settles the trace of the call, which `settling` guards. The warnings name what is not
/// sent.
pub(super) fn correlate(settling: &Mutex<()>, call: &dyn Call, spec: &mut StreamSpec) -> Vec<Warning> {
    let options = &spec.options;
    if options.correlation == Correlation::Off {
        return unsent(spec, "correlation=off");
    }
    let trace = trace_of(settling, call);
    if is_a_service(spec) && options.correlation != Correlation::All {
        return unsent(spec, "AI and transcription services get headers of the call only with correlation=all");
    }
    let chosen = options.headers_from.iter();
    let chosen = chosen.filter_map(|from| Some((from.header.clone(), header_value(&call.get(&from.variable)?)?)));
    let wanted: Vec<_> = ids(call, spec, Some(trace)).chain(chosen).collect();
    let mut headers = sent_already(spec);
    let mut warnings = Vec::new();
    for (name, value) in wanted {
        // What the operator says is not replaced.
        if headers.names().any(|other| other.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let value = Secret::new(value);
        let room = headers.insert(&name, &value).map_err(|error| error.to_string());
        // A caller's name must not keep the stream from starting.
        match room.and_then(|()| is_taken(spec, &name, &value)) {
            Ok(()) => spec.options.headers.push((name, value)),
            Err(error) => warnings.push(Warning(format!("the header {name} is not sent: {error}"))),
        }
    }
    warnings
}

/// The trace of a call: that of the dialplan or of SIP, or one that begins here. It is the same for every stream of the call.
fn trace_of(settling: &Mutex<()>, call: &dyn Call) -> TraceParent {
    let _settling = settling.lock();
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

/// The headers that every call has.
fn ids(call: &dyn Call, spec: &StreamSpec, trace: Option<TraceParent>) -> impl Iterator<Item = (String, String)> {
    let ids = [
        ("X-Call-Id", Some(spec.call.to_string())),
        ("X-SIP-Call-Id", call.get("sip_call_id")),
        ("traceparent", trace.map(|trace| trace.as_str().to_owned())),
    ];
    ids.into_iter().filter_map(|(name, value)| Some((name.to_owned(), header_value(&value?)?)))
}

/// What carries out the functions of a conversation, if the options name a server. It is the operator's, so it learns which call it is.
pub(super) fn webhook(call: &dyn Call, spec: &StreamSpec, about: CallInfo) -> Option<Webhook> {
    let options = &spec.options;
    let trace = call.get(TRACE).as_deref().and_then(TraceParent::read);
    let headers = ids(call, spec, trace).filter(|_| options.correlation != Correlation::Off);
    Some(Webhook::new(WebhookConfig {
        url: options.ai.tool_url.clone()?,
        key: options.ai.tool_key.clone(),
        headers: headers.map(|(name, value)| (name, Secret::new(value))).collect(),
        timeout: Duration::from_millis(options.ai.tool_timeout_ms.into()),
        call: CallInfo { call_id: spec.call.to_string(), ..about },
        stream: spec.name.to_string(),
        clock: wall_clock(),
    }))
}

/// Whether the other end belongs to somebody else: an AI service or a transcription service.
fn is_a_service(spec: &StreamSpec) -> bool {
    let transcribes = || protocol::find(spec.options.protocol).is_some_and(|entry| entry.service.is_some());
    spec.options.mode == StreamMode::Ai || transcribes()
}

/// Whether the other end's handshake takes one more header: services take ASCII alone.
fn is_taken(spec: &StreamSpec, name: &str, value: &Secret) -> Result<(), String> {
    let options = &spec.options;
    if options.mode == StreamMode::Ws {
        return Ok(());
    }
    let headers = options.headers.iter().cloned().chain([(name.to_owned(), value.clone())]).collect();
    engines::of(&options.ai).check(&options.ai, headers).map(drop)
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
