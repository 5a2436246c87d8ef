//! The services that speak the protocol with differences, each as strict as its clients' types: what a client may say there, and
//! how its events are called. Written from pipecat-ai 1.14.0, livekit-plugins-xai 1.8.9 and azure-ai-voicelive 1.3.1, not from
//! this module's own table. The session behind it is the same: what comes in is made into GA's events, what goes out is not GA's
//! any more.

use serde_json::{Value, json};

use super::shape::{ANY, Complaint, EVENT_ID, Field, STATUS, Shape, TOOLS, check_content, check_events, may, must};

/// Whose protocol a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// OpenAI's.
    #[default]
    Ga,
    /// xAI's.
    Xai,
    /// Azure Voice Live's.
    VoiceLive,
    /// Inworld's.
    Inworld,
    /// Gemini Live's, which is none of these: see `gemini`.
    Gemini,
}

const PCM: &[Field] = &[must("rate", Shape::Whole(8_000, 48_000))];
const FORMAT: Shape = Shape::Tagged(&[("audio/pcm", PCM), ("audio/pcmu", &[]), ("audio/pcma", &[])]);
const MS: Shape = Shape::Whole(0, 60_000);

const XAI_SESSION: Shape = Shape::Object(&[
    may("instructions", Shape::Text),
    may("voice", Shape::Text),
    may(
        "turn_detection",
        Shape::Tagged(&[(
            "server_vad",
            &[
                may("threshold", Shape::Number(0.1, 0.9)),
                may("silence_duration_ms", MS),
                may("prefix_padding_ms", MS),
                may("idle_timeout_ms", MS),
            ],
        )]),
    ),
    may(
        "audio",
        Shape::Object(&[
            may(
                "input",
                Shape::Object(&[
                    may("format", FORMAT),
                    may(
                        "transcription",
                        Shape::Object(&[
                            may("model", Shape::Text),
                            may("language_hint", Shape::Text),
                            may("keyterms", Shape::List(&Shape::Text)),
                        ]),
                    ),
                    may("transport", Shape::Word(&["json", "binary"])),
                ]),
            ),
            may(
                "output",
                Shape::Object(&[
                    may("format", FORMAT),
                    may("speed", Shape::Number(0.7, 1.5)),
                    may("transport", Shape::Word(&["json", "binary"])),
                ]),
            ),
        ]),
    ),
    may("tools", TOOLS),
    may("reasoning", Shape::Object(&[may("effort", Shape::Word(&["high", "none"]))])),
    may("resumption", Shape::Object(&[may("enabled", Shape::Flag)])),
    may("replace", Shape::AnyObject),
]);

const VAD: &[Field] = &[
    may("threshold", Shape::Number(0.0, 1.0)),
    may("prefix_padding_ms", MS),
    may("silence_duration_ms", MS),
    may("create_response", Shape::Flag),
    may("interrupt_response", Shape::Flag),
    may("auto_truncate", Shape::Flag),
];
const VOICE_LIVE_SESSION: Shape = Shape::Object(&[
    may("model", Shape::Text),
    may("instructions", Shape::Text),
    may("modalities", Shape::List(&Shape::Word(&["text", "audio"]))),
    may(
        "voice",
        Shape::Tagged(&[
            (
                "openai",
                &[must(
                    "name",
                    Shape::Word(&[
                        "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
                    ]),
                )],
            ),
            ("azure-standard", &[must("name", Shape::Text), may("temperature", Shape::Number(0.0, 1.0))]),
        ]),
    ),
    may("input_audio_format", Shape::Word(&["pcm16", "g711_ulaw", "g711_alaw"])),
    may("output_audio_format", Shape::Word(&["pcm16", "pcm16_8000hz", "pcm16_16000hz", "g711_ulaw", "g711_alaw"])),
    may("input_audio_sampling_rate", Shape::Whole(8_000, 24_000)),
    may(
        "turn_detection",
        Shape::Either(&[
            Shape::Null,
            Shape::Tagged(&[
                ("server_vad", VAD),
                ("azure_semantic_vad", VAD),
                (
                    "semantic_vad",
                    &[
                        may("eagerness", Shape::Word(&["auto", "low", "high"])),
                        may("create_response", Shape::Flag),
                        may("interrupt_response", Shape::Flag),
                    ],
                ),
            ]),
        ]),
    ),
    may(
        "input_audio_transcription",
        Shape::Object(&[
            must("model", Shape::Text),
            may("language", Shape::Text),
            may("phrase_list", Shape::List(&Shape::Text)),
            may("prompt", Shape::Text),
        ]),
    ),
    may(
        "input_audio_noise_reduction",
        Shape::Tagged(&[("near_field", &[]), ("far_field", &[]), ("azure_deep_noise_suppression", &[])]),
    ),
    may("temperature", Shape::Number(0.0, 1.0)),
    may("max_response_output_tokens", Shape::Either(&[Shape::Whole(1, ANY), Shape::Word(&["inf"])])),
    may("tools", TOOLS),
    may("tool_choice", Shape::Word(&["auto", "none", "required"])),
    may("parallel_tool_calls", Shape::Flag),
    may("reasoning_effort", Shape::Word(&["none", "minimal", "low", "medium", "high", "xhigh"])),
    may("metadata", Shape::AnyObject),
]);

const SWITCHED: &[Field] = &[
    may("eagerness", Shape::Word(&["low", "medium", "high"])),
    may("create_response", Shape::Flag),
    may("interrupt_response", Shape::Flag),
];
const INWORLD_SESSION: Shape = Shape::Tagged(&[(
    "realtime",
    &[
        must("model", Shape::Text),
        may("instructions", Shape::Text),
        may("temperature", Shape::Number(0.0, 2.0)),
        may("output_modalities", Shape::List(&Shape::Word(&["text", "audio"]))),
        may(
            "audio",
            Shape::Object(&[
                may(
                    "input",
                    Shape::Object(&[
                        may("format", FORMAT),
                        may("transcription", Shape::Object(&[may("model", Shape::Text)])),
                        may(
                            "turn_detection",
                            Shape::Either(&[
                                Shape::Null,
                                Shape::Tagged(&[("server_vad", SWITCHED), ("semantic_vad", SWITCHED)]),
                            ]),
                        ),
                    ]),
                ),
                may(
                    "output",
                    Shape::Object(&[may("format", FORMAT), may("model", Shape::Text), may("voice", Shape::Text)]),
                ),
            ]),
        ),
        may("tools", TOOLS),
        may("providerData", Shape::AnyObject),
    ],
)]);

const GA_CONTENT: Shape = Shape::Tagged(&[
    ("input_text", &[must("text", Shape::Text)]),
    ("output_text", &[must("text", Shape::Text)]),
    ("text", &[must("text", Shape::Text)]),
]);
const OLD_CONTENT: Shape =
    Shape::Tagged(&[("input_text", &[must("text", Shape::Text)]), ("text", &[must("text", Shape::Text)])]);

const CALL: &[Field] = &[
    may("id", Shape::Text),
    may("status", STATUS),
    may("call_id", Shape::Text),
    must("name", Shape::Text),
    must("arguments", Shape::Text),
];
const RESULT: &[Field] =
    &[may("id", Shape::Text), may("status", STATUS), must("call_id", Shape::Text), must("output", Shape::Text)];
const ROLE: Shape = Shape::Word(&["user", "assistant", "system"]);
const GA_MESSAGE: &[Field] = &[may("id", Shape::Text), must("role", ROLE), must("content", Shape::List(&GA_CONTENT))];
const OLD_MESSAGE: &[Field] = &[may("id", Shape::Text), must("role", ROLE), must("content", Shape::List(&OLD_CONTENT))];

const fn create(item: Shape) -> [Field; 3] {
    [EVENT_ID, may("previous_item_id", Shape::Either(&[Shape::Text, Shape::Null])), must("item", item)]
}

const ITEM: Shape =
    Shape::Tagged(&[("message", GA_MESSAGE), ("function_call", CALL), ("function_call_output", RESULT)]);
const OLD_ITEM: Shape =
    Shape::Tagged(&[("message", OLD_MESSAGE), ("function_call", CALL), ("function_call_output", RESULT)]);
const TRUNCATE: &[Field] = &[
    EVENT_ID,
    must("item_id", Shape::Text),
    must("content_index", Shape::Whole(0, ANY)),
    must("audio_end_ms", Shape::Whole(0, ANY)),
];
const MODALITIES: Field = may("modalities", Shape::List(&Shape::Word(&["text", "audio"])));

const XAI_EVENTS: &[(&str, &[Field])] = &[
    ("session.update", &[EVENT_ID, must("session", XAI_SESSION)]),
    ("input_audio_buffer.append", &[EVENT_ID, must("audio", Shape::Text)]),
    ("input_audio_buffer.commit", &[EVENT_ID]),
    ("input_audio_buffer.clear", &[EVENT_ID]),
    ("conversation.item.create", &create(ITEM)),
    ("conversation.item.truncate", TRUNCATE),
    ("conversation.item.delete", &[EVENT_ID, must("item_id", Shape::Text)]),
    ("response.create", &[EVENT_ID, may("response", Shape::Object(&[MODALITIES, may("instructions", Shape::Text)]))]),
    ("response.cancel", &[EVENT_ID]),
];

const VOICE_LIVE_EVENTS: &[(&str, &[Field])] = &[
    ("session.update", &[EVENT_ID, must("session", VOICE_LIVE_SESSION)]),
    ("input_audio_buffer.append", &[EVENT_ID, must("audio", Shape::Text)]),
    ("input_audio_buffer.commit", &[EVENT_ID]),
    ("input_audio_buffer.clear", &[EVENT_ID]),
    ("conversation.item.create", &create(OLD_ITEM)),
    ("conversation.item.truncate", TRUNCATE),
    ("conversation.item.delete", &[EVENT_ID, must("item_id", Shape::Text)]),
    (
        "response.create",
        &[
            EVENT_ID,
            may(
                "response",
                Shape::Object(&[MODALITIES, may("instructions", Shape::Text), may("metadata", Shape::AnyObject)]),
            ),
        ],
    ),
    ("response.cancel", &[EVENT_ID, may("response_id", Shape::Text)]),
];

const INWORLD_EVENTS: &[(&str, &[Field])] = &[
    ("session.update", &[EVENT_ID, must("session", INWORLD_SESSION)]),
    ("input_audio_buffer.append", &[EVENT_ID, must("audio", Shape::Text)]),
    ("input_audio_buffer.commit", &[EVENT_ID]),
    ("input_audio_buffer.clear", &[EVENT_ID]),
    ("conversation.item.create", &create(ITEM)),
    ("response.create", &[EVENT_ID, may("response", Shape::Object(&[MODALITIES]))]),
    ("response.cancel", &[EVENT_ID]),
];

/// GA's names of events and Voice Live's.
const OLD_NAMES: [(&str, &str); 8] = [
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("conversation.item.added", "conversation.item.created"),
    ("conversation.item.done", ""),
];

impl Dialect {
    /// The path of its sessions.
    pub fn path(self) -> &'static str {
        match self {
            Self::Ga | Self::Xai => "/v1/realtime",
            Self::VoiceLive => "/voice-live/realtime",
            Self::Inworld => "/api/v1/realtime/session",
            Self::Gemini => "GenerativeService.BidiGenerateContent",
        }
    }

    /// What its URL must have in the query.
    pub fn queries(self) -> &'static [&'static str] {
        match self {
            Self::Ga | Self::Xai => &["model"],
            Self::VoiceLive => &["model", "api-version"],
            Self::Inworld => &["key", "protocol"],
            Self::Gemini => &[],
        }
    }

    /// What is wrong with an event of the client's, if anything is: the first thing met.
    pub fn check(self, event: &Value) -> Result<(), Complaint> {
        let events = match self {
            Self::Ga => return super::shape::check(event),
            Self::Xai => XAI_EVENTS,
            Self::VoiceLive => VOICE_LIVE_EVENTS,
            Self::Inworld => INWORLD_EVENTS,
            Self::Gemini => unreachable!("its messages are others"),
        };
        check_events(event, events)?;
        let assistant: &[&str] = if self == Self::VoiceLive { &["text"] } else { &["output_text", "text"] };
        check_content(event, assistant)
    }

    /// An event of the client's as GA has it.
    pub fn as_ga(self, event: &Value) -> Value {
        let mut event = event.clone();
        if self == Self::Ga || event["type"] != "session.update" {
            return event;
        }
        let session = &mut event["session"];
        let mut take = |name: &str| session.as_object_mut().and_then(|session| session.remove(name));
        match self {
            Self::Ga | Self::Inworld | Self::Gemini => {}
            Self::Xai => {
                let (turns, voice) = (take("turn_detection"), take("voice"));
                session["type"] = json!("realtime");
                if let Some(turns) = turns {
                    session["audio"]["input"]["turn_detection"] = turns;
                }
                if let Some(voice) = voice {
                    session["audio"]["output"]["voice"] = voice;
                }
            }
            Self::VoiceLive => {
                let format = |format: Option<Value>| match format.as_ref().and_then(Value::as_str) {
                    Some("g711_ulaw") => json!({"type": "audio/pcmu"}),
                    Some("g711_alaw") => json!({"type": "audio/pcma"}),
                    _ => json!({"type": "audio/pcm", "rate": 24_000}),
                };
                let (input, output) = (format(take("input_audio_format")), format(take("output_audio_format")));
                let speaks = take("modalities").is_none_or(|list| list.to_string().contains("audio"));
                let mut audio = json!({"input": {"format": input}, "output": {"format": output}});
                for (name, own) in
                    [("turn_detection", "turn_detection"), ("transcription", "input_audio_transcription")]
                {
                    if let Some(value) = take(own) {
                        audio["input"][name] = value;
                    }
                }
                if let Some(voice) = take("voice") {
                    audio["output"]["voice"] = voice;
                }
                session["audio"] = audio;
                session["type"] = json!("realtime");
                session["output_modalities"] = json!([if speaks { "audio" } else { "text" }]);
            }
        }
        if session.get("output_modalities").is_some_and(|list| list.to_string().contains("audio")) {
            session["output_modalities"] = json!(["audio"]);
        }
        // The model may be named again, and is checked where it was named first.
        if let Some(session) = session.as_object_mut() {
            session.remove("model");
        }
        event
    }

    /// An event of GA's as this service says it; `None`: it does not.
    pub fn own(self, event: &Value, words: &mut String) -> Option<Value> {
        let mut own = event.clone();
        let kind = event["type"].as_str().unwrap_or_default();
        let mut without = |place: &str, name: &str| {
            let object = if place.is_empty() { own.as_object_mut() } else { own[place].as_object_mut() };
            object.and_then(|object| object.remove(name))
        };
        match (self, kind) {
            (Self::Ga, _) => {}
            (Self::VoiceLive, _) => {
                if let Some((_, old)) = OLD_NAMES.iter().find(|(name, _)| *name == kind) {
                    if old.is_empty() {
                        return None;
                    }
                    own["type"] = json!(old);
                }
            }
            (_, "conversation.item.done" | "rate_limits.updated") => return None,
            (_, "response.function_call_arguments.done") => {
                without("", "response_id");
                // Inworld names the call with its item, and not again.
                without("", if self == Self::Inworld { "name" } else { "item_id" });
            }
            (_, "response.created") => {
                without("response", "metadata");
            }
            (_, "response.done") => {
                without("response", "metadata");
                let usage = without("response", "usage");
                own["response"]["usage"] = json!({});
                own["usage"] = usage.unwrap_or_default();
            }
            (_, "input_audio_buffer.speech_started" | "input_audio_buffer.speech_stopped") => {
                without("", "audio_start_ms");
                without("", "audio_end_ms");
            }
            (Self::Xai, "conversation.item.input_audio_transcription.delta") => {
                words.push_str(event["delta"].as_str().unwrap_or_default());
                without("", "delta");
                own["type"] = json!("conversation.item.input_audio_transcription.updated");
                own["transcript"] = json!(words);
            }
            (Self::Xai, "conversation.item.input_audio_transcription.completed") => words.clear(),
            (Self::Xai, "error") => {
                // Its own codes: only the words tell.
                own["error"]["code"] = json!("invalid_event");
            }
            _ => {}
        }
        Some(own)
    }
}
