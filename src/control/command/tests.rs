#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::config::Config;
use crate::control::options;
use crate::control::variables::NoVariables;
use crate::conversation::engines::ENGINES;
use crate::dsp::gain::Gain;
use crate::dsp::tone::{DigitTiming, digits};
use crate::stream::options::StreamOptions;
use crate::stream::spec::StreamSpec;
use crate::stream::state::StreamMode;
use crate::transport::Trust;

fn started(line: &str) -> StartRequest {
    match parse(line.as_bytes()) {
        Ok(Command::Call { action: Action::Start(start), .. }) => *start,
        other => panic!("{line}: {other:?}"),
    }
}

fn options(line: &str) -> StreamOptions {
    let call = CallId::new("u");
    started(line).resolve(call, StreamName::default(), &Config::default(), &NoVariables).unwrap().0.options
}

fn refused(line: &str) -> String {
    match parse(line.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(command) => panic!("{line}: {command:?}"),
    }
}

fn action(line: &str) -> (String, String, Action) {
    match parse(line.as_bytes()) {
        Ok(Command::Call { call, name, action }) => (call.to_string(), name.unwrap_or_default().to_string(), action),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_start_of_the_older_modules_is_understood() {
    for (line, mix, rate, metadata) in [
        ("u start ws://h", "mono", 8_000, None),
        ("u start ws://h stereo", "stereo", 8_000, None),
        ("u start ws://h mixed 16k", "mixed", 16_000, None),
        ("u start ws://h mono 16000 {\"a\": \"b c\"}", "mono", 16_000, Some("{\"a\": \"b c\"}")),
        ("u start ws://h 24k", "mono", 24_000, None),
        ("u START ws://h Mixed", "mixed", 8_000, None),
        ("  u   start   ws://h   mono   48k  ", "mono", 48_000, None),
        ("u\tstart\tws://h\nmono\r\n8k", "mono", 8_000, None),
    ] {
        let start = started(line);
        let options = options(line);
        assert_eq!((options.mix.as_str(), options.rate.hz()), (mix, rate), "{line}");
        assert_eq!(start.metadata.as_deref(), metadata, "{line}");
    }
}

#[test]
fn metadata_is_the_rest_of_the_line_byte_for_byte() {
    for (line, metadata) in [
        (r#"u start ws://h mono 8k {"a": "b  c",  'q': "\"}'x'"}"#, r#"{"a": "b  c",  'q': "\"}'x'"}"#),
        (r#"u start ws://h {"a":1}"#, r#"{"a":1}"#),
        ("u start ws://h mono 8k hello  world \t ", "hello  world \t "),
        ("u start ws://h hello world", "hello world"),
        ("u start ws://h mono   indented", "  indented"),
        ("u start ws://h mono 8k 12345", "12345"),
        ("u start ws://h mono 8k mono", "mono"),
        ("u start ws://h mono 8k unknown=1 buffer_ms=40", "unknown=1 buffer_ms=40"),
        ("u start ws://h mono 8k buffer_ms=40 x buffer_ms=60", "x buffer_ms=60"),
        ("u start ws://h mono 8k =x", "=x"),
        ("u start ws://h mono 8k BUFFER_MS=40", "BUFFER_MS=40"),
        ("u start ws://h mono 8k buffer_ms =40", "buffer_ms =40"),
        ("u start ws://h mono 8k name=x", "name=x"),
        ("u start ws://h mono 8k wait=true", "wait=true"),
        ("u start ws://h mono 8k 'quoted text'", "'quoted text'"),
        ("u start ws://h mono 8k ünï\ncode", "ünï\ncode"),
        ("u start ws://h mono 8k \u{a0}x", "\u{a0}x"),
        ("u start ws://h 2024-01-01", "2024-01-01"),
    ] {
        assert_eq!(started(line).metadata.as_deref(), Some(metadata), "{line}");
    }
    assert_eq!(options("u start ws://h mono 8k buffer_ms=40 x buffer_ms=60").buffer_ms, 40);
}

#[test]
fn options_take_quotes_and_headers_take_json_with_spaces() {
    let line =
        r#"u start ws://h mono headers={"Authorization": "Bearer }{\" x", "B": ""} tls_ca='a b' buffer_ms=40 {"m": 1}"#;
    let start = started(line);
    let options = options(line);
    let headers: Vec<_> = options.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("Authorization", "Bearer }{\" x"), ("B", "")]);
    assert_eq!((&options.tls_ca, options.buffer_ms), (&Trust::File("a b".into()), 40));
    assert_eq!(start.metadata.as_deref(), Some(r#"{"m": 1}"#));
    let quoted = self::options(r#"u start ws://h headers='{"A": "b"}'"#);
    assert_eq!(quoted.headers.len(), 1);
}

#[test]
fn texts_keep_their_spaces() {
    let text = |line| match action(line).2 {
        Action::SendText(SendText { whole, .. }) => Some(whole),
        Action::Stop { text } => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text("u send_text hello  \"big\" world ").as_deref(), Some("hello  \"big\" world "));
    assert_eq!(text("u send_text  x").as_deref(), Some(" x"));
    assert_eq!(text("u send_text name=bot name=x y").as_deref(), Some("name=x y"));
    assert_eq!(text("u stop {\"bye\": true}").as_deref(), Some("{\"bye\": true}"));
    assert_eq!(text("u stop name=bot"), None);
    assert_eq!(text("u stop   "), None);
}

#[test]
fn a_text_for_a_model_may_say_whose_it_is() {
    let of = |line| match action(line).2 {
        Action::SendText(SendText { text, role, respond, .. }) => (text, role, respond),
        other => panic!("{other:?}"),
    };
    for (line, text, role, respond) in [
        ("u send_text a  b", "a  b", Role::User, true),
        ("u send_text role=system respond=false a  b", "a  b", Role::System, false),
        ("u send_text respond=true role=assistant  a", " a", Role::Assistant, true),
        // What is not an option, or a second one, is text.
        ("u send_text king=role a", "king=role a", Role::User, true),
        ("u send_text role=user role=system", "role=system", Role::User, true),
        ("u send_text role=user role=king a", "role=king a", Role::User, true),
        ("u send_text role=user respond=maybe", "respond=maybe", Role::User, true),
        ("u send_text role=system", "", Role::System, true),
    ] {
        assert_eq!(of(line), (text.to_owned(), role, respond), "{line}");
    }
    let slip = |line| match action(line).2 {
        Action::SendText(SendText { slip, whole, .. }) => (slip.unwrap().to_string(), whole),
        other => panic!("{other:?}"),
    };
    for (line, given, known) in [
        ("u send_text role=boss hello", "role=boss", "role=user, role=system or role=assistant"),
        ("u send_text respond=maybe hello", "respond=maybe", "respond=true or respond=false"),
    ] {
        let refusal =
            format!("-ERR send_text {given}: give {known}; if the text begins with it, give role=user before it");
        assert_eq!(slip(line), (refusal, format!("{given} hello")), "a server gets it as it is");
    }
}

#[test]
fn a_running_conversation_is_changed_and_its_service_told() {
    let Action::AiUpdate(given) = action("u ai_update speed=1.2 system_prompt='Be brief.' tools=[{\"name\": \"f\"}]").2
    else {
        panic!()
    };
    let pairs: Vec<_> = given.iter().map(|(row, text)| (row.key.as_str(), text)).collect();
    assert_eq!(pairs, [("speed", "1.2"), ("system_prompt", "Be brief."), ("tools", "[{\"name\": \"f\"}]")]);
    let refusal = refused("u ai_update openai_api_key=sk-hidden");
    assert!(refusal.starts_with("-ERR ai_update cannot change 'openai_api_key'; it changes system_prompt, voice, "));
    assert!(!refusal.contains("hidden"));
    assert!(refused("u ai_update").contains("(an option is missing)"));
    assert_eq!(refused("u ai_update speed=1 speed=2"), "-ERR speed is given twice; give it once");
    assert_eq!(action("u ai_send {\"type\": \"x\"} ").2, Action::AiSend("{\"type\": \"x\"}".into()));
    for line in ["u ai_send {", "u ai_send 7", "u ai_send {\"a\": 1}", "u ai_send {\"type\": \"\"}"] {
        let refusal = refused(line);
        let begins = refusal
            .starts_with("-ERR ai_send: give a JSON object with a type, such as {\"type\": \"response.cancel\"}; ");
        assert!(begins && !refusal.contains("line 1"), "{refusal}");
    }
    assert_eq!((action("u mask on").2, action("u mask OFF").2), (Action::Mask(true), Action::Mask(false)));
    assert_eq!(refused("u mask"), "-USAGE: <uuid> mask [name=<id>] on|off (on or off is missing)");
    assert_eq!(refused("u mask maybe"), "-ERR mask maybe: give on or off");
}

#[test]
fn sources_gains_and_digits_are_understood() {
    let of = |line| action(line).2;
    assert_eq!(of("u gain caller -6"), Action::Gain(Source::Caller, Gain::from_db(-6.0).unwrap()));
    assert_eq!(of("u gain name=a Agent 3.5dB"), Action::Gain(Source::Agent, Gain::from_db(3.5).unwrap()));
    assert_eq!(of("u gain leg 0 dB"), Action::Gain(Source::Leg, Gain::UNITY));
    assert_eq!(
        (of("u mute agent"), of("u unmute CALLER")),
        (Action::Mute(Source::Agent), Action::Unmute(Source::Caller))
    );
    assert_eq!(of("u dtmf 1w#@80"), Action::Dtmf(digits("1w#@80", DigitTiming::default()).unwrap()));
    assert_eq!(
        (of("u pause"), of("u pause Playback")),
        (Action::Pause(Direction::Capture), Action::Pause(Direction::Playback))
    );
    assert_eq!(of("u resume capture"), Action::Resume(Direction::Capture));
}

#[test]
fn a_name_stands_right_after_the_verb() {
    for (line, name) in [
        ("u pause", "default"),
        ("u pause name=bot-1", "bot-1"),
        ("u start name=a ws://h mono", "a"),
        ("u health name=b", "b"),
        ("u Clear name=c", "c"),
        ("u resume  name=d", "d"),
    ] {
        let (call, read, _) = action(line);
        assert_eq!((call.as_str(), read.as_str()), ("u", name), "{line}");
    }
}

#[test]
fn commands_of_the_module_stand_alone() {
    assert_eq!(parse(b"list"), Ok(Command::List));
    assert_eq!(parse(b" version "), Ok(Command::Version));
    assert_eq!(parse(b"breakers"), Ok(Command::Breakers(BreakerOrder::Report)));
    for (line, server) in [
        ("breakers reset", None),
        ("breakers RESET wss://h:1", Some("wss://h:1")),
        ("breakers reset elevenlabs api.elevenlabs.io:443 ", Some("elevenlabs api.elevenlabs.io:443")),
    ] {
        let server = server.map(str::to_owned);
        assert_eq!(parse(line.as_bytes()), Ok(Command::Breakers(BreakerOrder::Reset { server })), "{line}");
    }
    assert!(parse(b"breakers close").is_err());
    assert_eq!(parse(b"Global_Health"), Ok(Command::GlobalHealth));
    assert_eq!(action("list pause").0, "list", "a call may have that uuid");
    let drain = |limit| Ok(Command::Drain(DrainOrder::On { limit }));
    assert_eq!(parse(b"drain on"), drain(None));
    assert_eq!(parse(b"DRAIN On 90"), drain(Some(Duration::from_secs(90))));
    assert_eq!(parse(b"drain off"), Ok(Command::Drain(DrainOrder::Off)));
    assert_eq!(parse(b"drain status"), Ok(Command::Drain(DrainOrder::Status)));
    assert_eq!(action("drain health").0, "drain", "as above");
    assert_eq!(refused("drain"), "-USAGE: drain on [seconds] | off | status (on, off or status is missing)");
    assert_eq!(refused("drain soon"), "-ERR drain soon: give on, off or status");
    assert_eq!(refused("drain on 0"), "-ERR drain on 0: give 1 to 86400 seconds");
    assert_eq!(refused("drain on abc"), "-ERR drain on abc: give 1 to 86400 seconds");
    assert_eq!(refused("list name=a"), "-ERR list takes no further argument, but got 'name='");
    assert_eq!(refused("drain on 1 2"), "-ERR drain takes no further argument, but got '2'");
    let config = |name: &str| Ok(Command::Config { profile: Some(name.to_owned()) });
    assert_eq!(parse(b"config"), Ok(Command::Config { profile: None }));
    assert_eq!((parse(b"config profile=bot"), parse(b"config profile=")), (config("bot"), config("")));
    assert_eq!(refused("config bot"), "-ERR config takes no further argument, but got 'bot'");
    assert_eq!(refused("list all"), "-ERR list takes no further argument, but got 'all'");
}

#[test]
fn every_refusal_says_why_and_what_to_do() {
    let long = format!("u send_text {}", "x".repeat(MAX_LINE));
    for (line, reply) in [
        ("u pause now", "-ERR pause now: give capture or playback"),
        ("u resume playback now", "-ERR resume takes no further argument, but got 'now'"),
        ("u gain caller", "-USAGE: <uuid> gain [name=<id>] caller|agent|leg <dB> (the gain in dB is missing)"),
        ("u gain callee 3", "-ERR gain callee: give caller, agent or leg"),
        ("u gain agent 21", "-ERR bad gain '21': give -60 to 20 dB"),
        ("u gain agent loud", "-ERR bad gain 'loud': give -60 to 20 dB"),
        ("u gain agent nan", "-ERR bad gain 'nan': give -60 to 20 dB"),
        ("u gain agent 3 dB more", "-ERR gain takes no further argument, but got 'more'"),
        ("u mute", "-USAGE: <uuid> mute [name=<id>] caller|agent|leg (caller, agent or leg is missing)"),
        ("u unmute all", "-ERR unmute all: give caller, agent or leg"),
        ("u dtmf", "-USAGE: <uuid> dtmf [name=<id>] <digits>[@ms] (a digit is missing)"),
        ("u dtmf 12x", "-ERR bad digit 'x': give 0-9 * # A-D, w or W for a pause"),
        ("u dtmf @100", "-ERR no digits: give some of 0-9 * # A-D, w or W for a pause of half a second or a second"),
        ("u dtmf 1@10", "-ERR bad duration '10' of a tone: give 40 to 10000 ms"),
        ("u dtmf 1 2", "-ERR dtmf takes no further argument, but got '2'"),
        ("u clear name=a b", "-ERR clear takes no further argument, but got 'b'"),
        (
            "u strat ws://h",
            "-ERR no command 'strat'; give one of start, transcribe, start_ai, stop, pause, resume, send_text, clear, gain, mute, unmute, dtmf, \
             record, mask, say, ai_result, ai_update, ai_send, health, global_health, list, breakers, version, metrics, drain, config",
        ),
        (
            "u start",
            "-USAGE: <uuid> start [name=<id>] <ws-url> [mono|mixed|stereo] [8k|16k|24k|32k|48k|Hz] [key=value ...] [metadata] \
             (the URL is missing)",
        ),
        (
            "u send_text",
            "-USAGE: <uuid> send_text [name=<id>] [role=user|system|assistant] [respond=true|false] <text> (the text is missing)",
        ),
        ("u say  ", "-USAGE: <uuid> say [name=<id>] <text> (the text is missing)"),
        ("u ai_result", "-USAGE: <uuid> ai_result [name=<id>] <call-id> <result> (the call's id is missing)"),
        ("u ai_result c1", "-USAGE: <uuid> ai_result [name=<id>] <call-id> <result> (the result is missing)"),
        ("u start_ai hello", "-ERR start_ai has no option 'hello'; it takes only options, key=value"),
        ("u start_ai wss://bob:s3cret@h/x", "-ERR start_ai has no option 'wss://h…'; it takes only options, key=value"),
        ("u start_ai sk-proj-s3cret0123456789", "-ERR start_ai has no option '***'; it takes only options, key=value"),
        ("u start_ai voice=a name=b", "-ERR name=<id> comes right after the verb: 'start_ai name=<id> …'"),
        ("u ai_update speed=1 name=b", "-ERR name=<id> comes right after the verb: 'ai_update name=<id> …'"),
        ("u pause playback name=b", "-ERR name=<id> comes right after the verb: 'pause name=<id> …'"),
        ("u pause name=a name=b", "-ERR name=<id> comes right after the verb: 'pause name=<id> …'"),
        ("u dtmf 12 name=b", "-ERR name=<id> comes right after the verb: 'dtmf name=<id> …'"),
        ("u start_ai tokn=s3cret", "-ERR start_ai has no option 'tokn'; it takes only options, key=value"),
        ("u start_ai rate=16k", "-ERR start_ai has no option 'rate'; it takes only options, key=value"),
        ("u start_ai vad_threshold=1.5", "-ERR bad value '1.5' for vad_threshold: give 0 to 1"),
        (
            "u start_ai openai_api_key='a\tb'",
            "-ERR bad value '***' for openai_api_key: it has a control character; remove it",
        ),
        (
            r#"u start_ai tools=[{"name": "hang_up"}]"#,
            "-ERR bad value '[{\"name\": \"hang_up\"}]' for tools: 'hang_up' is the name of a built-in function; see builtin_tools",
        ),
        (
            "u start_ai builtin_tools=reboot",
            "-ERR bad value 'reboot' for builtin_tools: give any of hang_up, transfer, send_dtmf and \
          set_variable, separated by commas",
        ),
        (
            "u send_text name=a  ",
            "-USAGE: <uuid> send_text [name=<id>] [role=user|system|assistant] [respond=true|false] <text> (the text is missing)",
        ),
        ("u pause name=", "-ERR bad stream name '': give 1 to 64 of A-Z a-z 0-9 _ . -"),
        ("u pause name=a/b", "-ERR bad stream name 'a/b': give 1 to 64 of A-Z a-z 0-9 _ . -"),
        ("u start http://h", "-ERR the URL must begin with ws:// or wss://, but got 'http://h'"),
        ("u start mono ws://h", "-ERR the URL must begin with ws:// or wss://, but got 'mono'"),
        ("u start ws:/h", "-ERR the URL must begin with ws:// or wss://, but got 'ws:/h'"),
        ("u start http://u:p@h:80/x?y", "-ERR the URL must begin with ws:// or wss://, but got 'http://h…'"),
        (
            "u start abc-defghijklmnopqrstuvwxyzabcdefg",
            "-ERR the URL must begin with ws:// or wss://, but got 'abc-defghijklmnopqrstuvwxyzabcde…'",
        ),
        (
            "u start ws://h quad 8k",
            "-ERR bad mix type 'quad': give mono, mixed or stereo; metadata that is a single word goes after mix and rate",
        ),
        (
            "u start ws://h sterio",
            "-ERR bad mix type 'sterio': give mono, mixed or stereo; metadata that is a single word goes after mix and rate",
        ),
        (
            "u start ws://h sterio {\"a\":1}",
            "-ERR bad mix type 'sterio': give mono, mixed or stereo; metadata that is a single word goes after mix and rate",
        ),
        (
            "u start ws://h mono 44100",
            "-ERR bad sampling rate '44100': give 8k, 16k, 24k, 32k, 48k or the same in Hz; metadata that is a single number goes \
             after mix and rate",
        ),
        (
            "u start ws://h 9kHz",
            "-ERR bad sampling rate '9kHz': give 8k, 16k, 24k, 32k, 48k or the same in Hz; metadata that is a single number goes \
             after mix and rate",
        ),
        ("u start ws://h mono 8k buffer_ms=10", "-ERR bad value '10' for buffer_ms: give 20 to 1000 ms"),
        ("u start ws://h mono 8k buffer_ms=", "-ERR bad value '' for buffer_ms: give 20 to 1000 ms"),
        ("u start ws://h heartbeat_s=3601", "-ERR bad value '3601' for heartbeat_s: give 1 to 3600 s, or 0 for none"),
        (
            "u start ws://h protocol=sip",
            "-ERR bad value 'sip' for protocol: give one of native, audio_fork, jambonz, twilio, telnyx, plivo, vonage, exotel, pipecat, asterisk, deepgram, assemblyai, soniox, openai_transcription",
        ),
        ("u start ws://h inject_mode=add", "-ERR bad value 'add' for inject_mode: give replace, mix or duck"),
        ("u start ws://h duck_db=61", "-ERR bad value '61' for duck_db: give 0 to 60 dB"),
        ("u start ws://h agent_gain=+99", "-ERR bad value '+99' for agent_gain: give -60 to 20 dB"),
        (
            "u start ws://h inject_min_buffer_ms=x",
            "-ERR bad value 'x' for inject_min_buffer_ms: give 0 to 5000 ms, or auto",
        ),
        (
            "u start ws://h allow=all",
            "-ERR bad value 'all' for allow: give any of answer, hangup, transfer and dtmf, separated by commas",
        ),
        (
            "u start ws://h file_injection_dir=sounds",
            "-ERR bad value 'sounds' for file_injection_dir: give the absolute path of a folder",
        ),
        ("u start ws://h playback=maybe", "-ERR bad value 'maybe' for playback: give true or false"),
        ("u start ws://h binary_rate=1", "-ERR bad value '1' for binary_rate: give 8000 to 64000 Hz, auto or off"),
        (
            "u start ws://h subprotocol=a,b",
            "-ERR bad value 'a,b' for subprotocol: give a name without spaces or separators",
        ),
        ("u start ws://h username=a:s3cret", "-ERR bad value 'a:***' for username: give a user name without ':'"),
        (
            "u transcribe protocol=soniox transcribe_url=http://a:s3cret@h/s3cret",
            "-ERR bad value 'http://h/…' for transcribe_url: the URL must begin with ws:// or wss://",
        ),
        ("u start ws://h buffer_ms=40 buffer_ms=40", "-ERR buffer_ms is given twice; give it once"),
        ("u start ws://h mono mix=stereo", "-ERR mix is given twice; give it once"),
        ("u start ws://h 8k rate=8k", "-ERR rate is given twice; give it once"),
        (
            "u start ws://h username='a b",
            "-ERR the value of username has no end: close its quote or brace, and put a space after it",
        ),
        (
            "u start ws://h username='a'b",
            "-ERR the value of username has no end: close its quote or brace, and put a space after it",
        ),
        (
            "u start ws://h headers={\"a\": \"b\"",
            "-ERR the value of headers has no end: close its quote or brace, and put a space after it",
        ),
        (
            r#"u start ws://h headers={"X-A": "s3cret\r\nX-B: 1"}"#,
            "-ERR bad value '***' for headers: the value of header 'X-A' has a line break or a control character",
        ),
        (&long, "-ERR the line has 65548 bytes; give at most 65536"),
    ] {
        assert_eq!(refused(line), reply, "{line}");
    }
    assert_eq!(
        parse(b"u send_text \xff\xfe").unwrap_err().to_string(),
        "-ERR the line is not UTF-8 (byte 12); texts and metadata must be UTF-8"
    );
}

#[test]
fn nothing_said_is_answered_with_the_syntax_on_one_line() {
    for line in ["", "   ", "u", "\n"] {
        let reply = refused(line);
        assert!(reply.starts_with("-USAGE: uuid_audio_stream <uuid> start "), "{reply}");
        assert_eq!(reply.ends_with(" (the command after the uuid is missing)"), line == "u", "{reply}");
        assert!(!reply.contains('\n'));
        for row in COMMANDS {
            assert!(reply.contains(&row.syntax()), "{}", row.verb);
        }
    }
}

#[test]
fn a_forgotten_uuid_is_told_with_the_syntax_of_the_verb() {
    assert_eq!(refused("stop"), "-USAGE: <uuid> stop [name=<id>] [text] (the call's uuid is missing)");
    for line in ["start wss://bob:hunter2@h/ mono", "pause name=a", "say hello"] {
        let (verb, reply) = (line.split(' ').next().unwrap(), refused(line));
        assert!(reply.starts_with(&format!("-USAGE: <uuid> {verb} ")), "{reply}");
        assert!(reply.ends_with(" (the call's uuid is missing)"), "{reply}");
    }
}

#[test]
fn a_refused_line_is_still_known_by_its_call_and_verb() {
    for (line, call, verb) in [
        ("3a7c-1 start ftp://h", Some("3a7c-1"), Some("start")),
        ("3a7c-1 SEND_TEXT", Some("3a7c-1"), Some("send_text")),
        ("3a7c-1 strat ws://h", Some("3a7c-1"), None),
        ("start ws://h", None, Some("start")),
        ("drain on abc", None, Some("drain")),
        ("wss://bob:hunter2@h/ start", None, Some("start")),
        ("wss://bob:hunter2@h/ x", None, None),
        ("hunter2", None, None),
        ("", None, None),
    ] {
        assert_eq!(subject(line.as_bytes()), (call.map(CallId::new), verb), "{line}");
    }
    for (data, verb) in [
        ("name=a stop", Some("stop")),
        ("Clear x", Some("clear")),
        ("http://h mono", Some("start")),
        ("hello", None),
        ("", None),
    ] {
        assert_eq!(verb_of_application(data.as_bytes()), verb, "{data}");
    }
}

#[test]
fn a_text_that_begins_with_another_stream_is_refused() {
    let others = ["leg", "two"].map(|name| name.parse::<StreamName>().unwrap());
    let refusal = |line: &str| astray(&action(line).2, &others).err().map(|error| error.to_string());
    let told = |verb: &str, name: &str| {
        format!(
            "-ERR the call has another stream '{name}': give '{verb} name={name} …' to address it, or '{verb} name=default …' if \
             the text begins with that word"
        )
    };
    for (line, verb, name) in [
        ("u stop leg", "stop", "leg"),
        ("u stop  LEG bye", "stop", "leg"),
        ("u send_text two hello", "send_text", "two"),
        ("u say two", "say", "two"),
        ("u stop nmae=leg", "stop", "leg"),
        ("u send_text Name=two hello", "send_text", "two"),
    ] {
        assert_eq!(refusal(line), Some(told(verb, name)), "{line}");
    }
    for line in [
        "u stop",
        "u stop bye",
        "u stop name=default",
        "u send_text legs",
        "u send_text to leg",
        "u say a=b",
        "u mute leg",
    ] {
        assert_eq!(refusal(line), None, "{line}");
    }
}

#[test]
fn finding_015_an_option_survives_what_is_prepared_after_it() {
    let start = started("u start ws://h stereo 16k inject_buffer_ms=700 buffer_ms=40 {\"a\":1}");
    let specs = ["a", "b"].map(|name| {
        let name = name.parse().unwrap();
        start.clone().resolve(CallId::new("u"), name, &Config::default(), &NoVariables).unwrap().0
    });
    for spec in &specs {
        assert_eq!((spec.options.inject_buffer_ms, spec.options.buffer_ms), (700, 40));
        assert_eq!((spec.wire().channels, spec.wire().rate.hz()), (2, 16_000));
        assert_eq!(spec.metadata.as_deref(), Some("{\"a\":1}"));
        assert_eq!(spec.options, specs[0].options);
    }
}

#[test]
fn finding_020_underscore_and_ipv6_hosts_start() {
    for (url, authority) in [
        ("ws://voice_bot.internal_net:8080/x", "voice_bot.internal_net:8080"),
        ("wss://[2001:db8::1]:9443/", "[2001:db8::1]:9443"),
        ("ws://[::1]", "[::1]"),
    ] {
        assert_eq!(started(&format!("u start {url} mono 8k")).endpoint.unwrap().endpoint().authority(), authority);
    }
}

#[test]
fn secrets_of_a_command_never_print() {
    let line = r#"u start wss://bob:hunter2@h/?t=hunter2 mono 8k headers={"X-A":"hunter2"} hunter2 "#;
    let command = parse(line.as_bytes()).unwrap();
    let mut shown = format!("{command:?} {:?}", parse(b"u send_text hunter2").unwrap());
    let resolved = started("u start ws://h username=u password=hunter2")
        .resolve(CallId::new("u"), StreamName::default(), &Config::default(), &NoVariables)
        .unwrap();
    shown += &format!("{resolved:?}");
    for line in [
        "u start ws://h password=hunter2\u{7}",
        "u start ws://h password=hunter2 password=hunter2",
        "u start ws://h headers=hunter2",
        r#"u start ws://h headers=["hunter2"]"#,
        r#"u start ws://h headers={"A":{"hunter2":1}}"#,
        "u start ws://bob:hunter2@h:x/",
        "u start http://bob:hunter2@h/",
        "u start http://bob:hun:/?#@hunter2@h/",
        "u start http://bob:hunter2 x@h/",
        "u start bob:hunter2@h",
        "u start http://h?hunter2",
        "u start //h/hunter2",
        "u start password=hunter2 ws://h",
        r#"u start headers={"A":"hunter2"} ws://h"#,
        "u start ws://bob:hunter2/@h/",
        "u start ws://bob:hunter2@h/#hunter2",
        "u wss://bob:hunter2@h/hunter2",
        "u clear https://h/hunter2",
        "u pause https://h?hunter2",
        "u pause name=https://bob:hunter2@h",
        "u start_ai https://bob:hunter2@h",
        "u start_ai openai_base_url=https://bob:hunter2@h/hunter2\u{7}",
        "u start_ai tool_url=ftp://bob:hunter2@h/hunter2",
        "u start_ai tts_url=https://bob:hunter2@h/?hunter2",
        "u start_ai greeting_file=https://bob:hunter2@h/a.wav",
        "u ai_update https://bob:hunter2@h",
        "breakers wss://bob:hunter2@h",
        "config wss://bob:hunter2@h",
        "drain on wss://bob:hunter2@h",
    ] {
        let error = parse(line.as_bytes()).unwrap_err();
        shown += &format!("{error} {error:?}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_unchecked_certificate_is_warned_about_where_there_is_one() {
    let warnings = |line| {
        let (_, warnings) =
            started(line).resolve(CallId::new("u"), StreamName::default(), &Config::default(), &NoVariables).unwrap();
        warnings.into_iter().map(|warning| warning.0).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("u start wss://b:c@h/x?y tls_ca=none"),
        ["tls_ca=none: the certificate is not verified, so any server that answers at wss://h/x?*** is trusted"]
    );
    assert_eq!(
        warnings("u start wss://h tls_verify_hostname=false"),
        [
            "tls_verify_hostname=false: the host name in the certificate is not verified, so any server that answers at wss://h/ is trusted"
        ]
    );
    assert_eq!(warnings("u start ws://h tls_ca=none"), Vec::<String>::new());
    assert_eq!(warnings("u start wss://h"), Vec::<String>::new());
}

#[test]
fn credentials_that_can_be_read_on_the_way_are_warned_about() {
    fn warnings(line: &str) -> Vec<String> {
        let (call, name, config) = (CallId::new("u"), StreamName::default(), Config::default());
        let resolved = match line.contains(" start_ai ") {
            true => started_ai(line).resolve(call, name, &config, &NoVariables),
            false => started(line).resolve(call, name, &config, &NoVariables),
        };
        resolved.unwrap().1.into_iter().map(|warning| warning.0).collect()
    }
    let told = |what: &str, server: &str| vec![format!("{what} can be read by everybody on the way to {server}")];
    for (line, what) in [
        ("u start ws://bob:hunter2@h/x?t=hunter2", "user name and password"),
        ("u start ws://h/x?t=1 username=bob password=hunter2", "user name and password"),
        (r#"u start ws://h/x?t=1 headers={"X-Api-Key":"hunter2"}"#, "the header X-Api-Key"),
    ] {
        let warned = warnings(line);
        assert_eq!(warned, told(what, "ws://h/x?***: use wss://"), "{line}");
    }
    let ai = "u start_ai openai_model=m openai_api_key=hunter2 openai_base_url=";
    for (line, what) in [
        (format!("{ai}http://h"), told("the API key", "ws://h/v1/realtime?***: use wss://")),
        (
            format!(
                "{ai}https://h ai_output=tts tts_provider=openai tts_voice=v tts_model=m tts_url=http://s tts_api_key=hunter2"
            ),
            told("the key for speech synthesis", "http://s: use https://"),
        ),
        (format!("{ai}https://h"), vec![]),
        (format!("{ai}http://127.0.0.1:80"), vec![]),
        (format!("{ai}http://localhost"), vec![]),
    ] {
        assert_eq!(warnings(&line), what, "{line}");
    }
    for line in ["u start ws://h/x", "u start ws://[::1]/ username=bob", r#"u start ws://h headers={"X-Tenant":"a"}"#] {
        assert_eq!(warnings(line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn a_warning_about_suspect_metadata_does_not_show_its_value() {
    let warnings = |line| {
        let told = started(line).slip().into_iter().collect::<Vec<_>>();
        let (spec, warnings) =
            started(line).resolve(CallId::new("u"), StreamName::default(), &Config::default(), &NoVariables).unwrap();
        assert!(spec.metadata.is_some(), "{line}");
        let free = line.contains(" token=");
        assert_eq!(told, if free { vec![] } else { warnings.clone() }, "the reply says what the log says: {line}");
        warnings.into_iter().map(|warning| warning.0).collect::<Vec<_>>()
    };
    for (line, beginning) in [
        (
            "u start ws://h mono 8k bufer_ms=100 {}",
            "'bufer_ms=…' is not an option here and counts as metadata; did you mean buffer_ms?",
        ),
        (
            "u start ws://h BUFFER_MS=40",
            "'BUFFER_MS=…' is not an option here and counts as metadata; did you mean buffer_ms?",
        ),
        (
            "u start ws://h max_audio_base6_len=4000",
            "'max_audio_base6_len=…' is not an option here and counts as metadata; did you mean max_audio_base64_len?",
        ),
        (
            "u start ws://h voice=x",
            "'voice=…' is not an option here and counts as metadata; it is an option of start_ai",
        ),
        (
            "u start ws://h mono 8k token=hunter2",
            "'token=…' is not an option here and counts as metadata; options stand before the metadata",
        ),
        (
            "u start ws://h mono name=leg",
            "'name=…' is not an option here and counts as metadata; name=<id> comes right after the verb",
        ),
        (
            "u start ws://h buffer_ms=40 Stereo 16k",
            "'Stereo' counts as metadata: mix and rate come right after the URL, before all options",
        ),
        ("u start ws://h buffer_ms=40 16k", "'16k' counts as metadata: "),
    ] {
        let warnings = warnings(line);
        assert_eq!(warnings.len(), 1, "{line}");
        assert!(warnings[0].starts_with(beginning) && !warnings[0].contains("hunter2"), "{line}: {warnings:?}");
    }
    for line in [
        "u start ws://h {\"a\": \"b=c\"}",
        "u start ws://h hello a=b",
        "u start ws://h mono 8k =x",
        "u start ws://h mono 8k 12345",
        "u start ws://h mono 8k a1=x",
        "u start ws://h mono 8k monotonous",
    ] {
        assert_eq!(warnings(line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn what_looks_like_a_secret_option_is_not_sent_as_metadata() {
    for line in [
        "u start ws://h pasword=hunter2",
        "u start ws://h mono 8k openai_api_key=hunter2 hello",
        "u start ws://h buffer_ms=40 TTS_API_KEY=hunter2",
        "u transcribe protocol=deepgram transcribe_kei=hunter2",
    ] {
        let error = parse(line.as_bytes()).unwrap_err().to_string();
        let refused = error.starts_with("-ERR '") && error.contains("=…' is not an option of this command");
        assert!(refused && !error.contains("hunter2"), "{line}: {error}");
    }
}

#[test]
fn a_value_in_double_quotes_is_refused_instead_of_torn() {
    let error = parse(br#"u start ws://h username="night shift" password=x"#).unwrap_err().to_string();
    assert_eq!(error, "-ERR the value of username begins with a double quote: put it in single quotes");
}

fn app(data: &str) -> AppCommand {
    parse_application(data.as_bytes()).unwrap_or_else(|error| panic!("{data}: {error}"))
}

#[test]
fn the_application_takes_a_url_or_a_verb() {
    for (data, name, verb, wait) in [
        ("ws://h", "default", "start", Wait::No),
        ("ws://h mono 16k wait=true", "default", "start", Wait::End),
        ("ws://h wait=true buffer_ms=40 {\"a\": 1}", "default", "start", Wait::End),
        ("ws://h mono 16k buffer_ms=40 wait=false", "default", "start", Wait::No),
        ("ws://h wait=ready", "default", "start", Wait::Ready),
        ("name=bot ws://h", "bot", "start", Wait::No),
        ("start name=bot ws://h wait=yes", "bot", "start", Wait::End),
        ("name=bot start ws://h", "bot", "start", Wait::No),
        ("stop bye  bye", "default", "stop", Wait::No),
        ("pause name=bot", "bot", "pause", Wait::No),
        ("resume", "default", "resume", Wait::No),
        ("send_text {\"a\": 1}", "default", "send_text", Wait::No),
        ("clear", "default", "clear", Wait::No),
    ] {
        let app = app(data);
        let of = app.name.unwrap_or_default();
        assert_eq!((of.as_str(), app.action.verb(), app.wait), (name, verb, wait), "{data}");
    }
    let Action::Start(start) = app("ws://h mono 16k wait=true x wait=false").action else { panic!("no start") };
    assert_eq!(start.metadata.as_deref(), Some("x wait=false"));
}

#[test]
fn the_application_refuses_with_the_reason() {
    for (data, reply) in [
        ("", "-USAGE: audio_stream [name=<id>] <ws-url> "),
        ("name=a", "-USAGE: audio_stream [name=<id>] <ws-url> "),
        ("hello", "-ERR no command 'hello'; give one of a WebSocket URL, start, transcribe, start_ai, stop, "),
        ("http://h", "-ERR the URL must begin with ws:// or wss://"),
        ("ws://h wait=perhaps", "-ERR bad value 'perhaps' for wait: give true, false or ready"),
        ("ws://h wait=true wait=true", "-ERR wait is given twice; give it once"),
        (
            "send_text",
            "-USAGE: send_text [name=<id>] [role=user|system|assistant] [respond=true|false] <text> (the text is missing)",
        ),
        ("clear wait=true", "-ERR clear takes no further argument, but got 'wait=true'"),
    ] {
        let error = parse_application(data.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(reply), "{data}: {error}");
    }
}

fn started_ai(line: &str) -> StartAiRequest {
    match action(line).2 {
        Action::StartAi(start) => *start,
        other => panic!("{line}: {other:?}"),
    }
}

fn settings(settings: &[(&str, &str)], environment: &[(&str, &str)]) -> Config {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let profiles = vec![("bot".to_owned(), owned(&[("openai-model", "of-profile"), ("voice", "marin")]))];
    let (config, warnings) = Config::load(&crate::control::config::ConfigDoc {
        settings: owned(settings),
        profiles,
        environment: owned(environment),
        ..crate::control::config::ConfigDoc::default()
    });
    assert_eq!(warnings, []);
    config
}

#[test]
fn a_conversation_takes_quoted_and_json_options_and_no_metadata() {
    let start = started_ai(
        r#"u start_ai profile=bot system_prompt='You are "Bo",  a bot.' tools=[{"name": "f", "description": "a ] b"}] voice=cedar"#,
    );
    assert_eq!(start.options.get("system_prompt"), Some(r#"You are "Bo",  a bot."#));
    assert_eq!(start.options.get("tools"), Some(r#"[{"name": "f", "description": "a ] b"}]"#));
    assert_eq!(start.options.get("voice"), Some("cedar"));
    let (_, name, say) = action("u say name=b  Hello  there. ");
    assert_eq!((name.as_str(), say), ("b", Action::Say(" Hello  there. ".into())));
    let result = Action::AiResult { call_id: "call_1".into(), output: r#"{"a":  1}"#.into() };
    assert_eq!(action(r#"u ai_result call_1 {"a":  1}"#).2, result);
}

#[test]
fn metadata_like_a_conversation_option_still_reaches_a_server() {
    assert_eq!(started("u start ws://h mono 8k voice=x").metadata.as_deref(), Some("voice=x"));
}

#[test]
fn a_conversation_is_resolved_with_its_key_where_nobody_sees_it() {
    let resolve = |line: &str, config: &Config| {
        started_ai(line).resolve(CallId::new("u"), StreamName::default(), config, &NoVariables)
    };
    let config = settings(&[], &[("OPENAI_API_KEY", "hunter2")]);
    let (spec, warnings) = resolve(r#"u start_ai profile=bot headers={"X-Tenant": "hunter2"}"#, &config).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(spec.endpoint.to_string(), "wss://api.openai.com/v1/realtime?***");
    // The engine's own headers come with each connection, before those of the operator.
    let sent = |spec: StreamSpec| ENGINES[0].check(&spec.options.ai, spec.options.headers).unwrap().headers;
    let headers = sent(spec.clone());
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Authorization", "X-Tenant"]);
    assert_eq!(headers[0].1.expose(), "Bearer hunter2");
    assert!(!format!("{spec:?} {config:?}").contains("hunter2"));
    assert_eq!((spec.options.mode, spec.options.ai.voice.as_deref()), (StreamMode::Ai, Some("marin")));
    let watched =
        |more: &str| resolve(&format!("u start_ai profile=bot {more}"), &config).unwrap().0.options.ai.stalled_s;
    assert_eq!((watched(""), watched("turn_detection=local")), (20, 0));
    let refusal = |line: &str, config: &Config| resolve(line, config).unwrap_err().to_string();
    assert!(refusal("u start_ai profile=bot", &settings(&[], &[])).starts_with("-ERR no API key: "));
    assert!(refusal("u start_ai openai_api_key=k", &settings(&[], &[])).starts_with("-ERR no model: "));
    assert!(refusal("u start_ai openai_auth=none", &config).starts_with("-ERR openai_auth=none needs openai_base_url"));
    assert_eq!(
        refusal("u start_ai profile=bot openai_base_url=ftp://h", &config),
        "-ERR openai_base_url: bad base URL: scheme 'ftp' is not one of ws, wss, http, https"
    );
    let own = "u start_ai profile=bot openai_auth=none openai_base_url=ws://127.0.0.1:1";
    assert_eq!(sent(resolve(own, &settings(&[], &[])).unwrap().0), []);
}

#[test]
fn a_transcription_is_resolved_with_what_its_service_wants() {
    let resolve = |line: &str| {
        let (spec, warnings) =
            started(line).resolve(CallId::new("u"), StreamName::default(), &Config::default(), &NoVariables).unwrap();
        let url = spec.endpoint.endpoint().target().to_owned();
        let headers = &spec.options.headers;
        let headers = headers.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect::<Vec<_>>();
        assert!(!format!("{spec:?}").contains("hunter2"));
        assert!(!spec.options.playback, "the service plays nothing");
        (format!("{}{url}", spec.endpoint.endpoint().authority()), headers, warnings)
    };
    let key = "transcribe_key=hunter2";
    let (url, headers, warnings) =
        resolve(&format!("u transcribe stereo 16k protocol=deepgram transcribe_model=nova-3 {key}"));
    let query = "encoding=linear16&sample_rate=16000&interim_results=true&channels=2&multichannel=true&model=nova-3";
    assert_eq!(url, format!("api.deepgram.com/v1/listen?{query}"));
    assert_eq!((headers, warnings), (vec!["Authorization: Token hunter2".to_owned()], vec![]));

    let own = "transcribe_url=ws://10.0.0.1:99/stt?encoding=opus&x=1";
    let (url, headers, warnings) = resolve(&format!("u transcribe codec=pcma protocol=deepgram {own} {key}"));
    assert_eq!(url, "10.0.0.1:99/stt?encoding=opus&x=1&sample_rate=8000&interim_results=true");
    assert_eq!(headers.len(), 1);
    assert!(warnings.len() == 1 && warnings[0].0.contains("can be read by everybody"), "no TLS: {warnings:?}");

    let (url, headers, _) =
        resolve(&format!("u transcribe codec=pcmu protocol=assemblyai transcribe_language=es {key}"));
    let query = "encoding=pcm_mulaw&sample_rate=8000&language_codes=%5B%22es%22%5D";
    assert_eq!(url, format!("streaming.assemblyai.com/v3/ws?{query}"));
    assert_eq!(headers, ["Authorization: hunter2"]);
    let (url, ..) = resolve(&format!("u transcribe protocol=openai_transcription {key}"));
    assert_eq!(url, "api.openai.com/v1/realtime?intent=transcription");
    let header = r#"headers={"Authorization": "Bearer hunter2"}"#;
    let (_, headers, _) = resolve(&format!("u transcribe protocol=soniox {header} {{\"a\": 1}}"));
    assert_eq!(headers, ["Authorization: Bearer hunter2"]);
    let (_, headers, _) = resolve("u transcribe protocol=soniox transcribe_url=ws://127.0.0.1:1/");
    assert_eq!(headers, [""; 0], "a server of one's own may want no key");

    // A server named by the command does not get the key of another.
    let (_, headers, warnings) = resolve(&format!("u start ws://10.0.0.1:99/ mono protocol=soniox {key}"));
    assert_eq!(headers, [""; 0]);
    let warning = "transcribe_key is not sent to ws://10.0.0.1:99/: set transcribe_url to it";
    assert_eq!(warnings.iter().map(|warning| warning.0.as_str()).collect::<Vec<_>>(), [warning]);
}

#[test]
fn a_transcription_that_would_fail_later_is_refused_at_once() {
    let services = "deepgram, assemblyai, soniox, openai_transcription";
    let no_service =
        format!("-ERR protocol=native is not a transcription service; transcribe needs one of protocol={services}");
    let no_key = "-ERR no key for protocol=deepgram: set transcribe_key in a profile or the settings of audio_stream.conf.xml, or \
                  transcribe_url if the service is a server of your own";
    let takes_none = |got: &str| {
        format!(
            "-ERR protocol=deepgram takes no settings, but got '{got}'; mix and rate come first, options are key=value, the server is \
             transcribe_url="
        )
    };
    let bad = |why: &str| format!("-ERR the settings for protocol=soniox must be one JSON object: {why}");
    let key = "transcribe_key=hunter2";
    for (line, reply) in [
        ("u transcribe mono".to_owned(), no_service),
        ("u transcribe protocol=deepgram".to_owned(), no_key.to_owned()),
        (format!("u transcribe protocol=deepgram {key} wss://bob:hunter2@h/x"), takes_none("wss://h/…")),
        (format!("u transcribe protocol=deepgram {key} mono"), takes_none("mono")),
        (format!("u transcribe protocol=deepgram {key} modell=hunter2"), takes_none("modell")),
        (format!("u transcribe protocol=soniox {key} stereo"), bad("the JSON is not valid at character 1")),
        (
            format!("u transcribe protocol=soniox {key} {{\"a\": \"hunter2\""),
            bad("the JSON ends too early: a quote, brace or bracket is not closed"),
        ),
        (format!("u transcribe protocol=soniox {key} [1]"), bad("a value has the wrong type")),
    ] {
        let refusal = started(&line).resolve(CallId::new("u"), StreamName::default(), &Config::default(), &NoVariables);
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.starts_with(&reply) && !refusal.contains("hunter2"), "{line}: {refusal}");
    }
}

#[test]
fn the_application_for_conversations_takes_options_or_a_verb() {
    for (data, name, verb, wait) in [
        ("", "default", "start_ai", Wait::No),
        ("profile=bot wait=true", "default", "start_ai", Wait::End),
        ("name=b wait=yes voice=marin", "b", "start_ai", Wait::End),
        ("start_ai name=c profile=bot", "c", "start_ai", Wait::No),
        ("say name=c Hello.", "c", "say", Wait::No),
        ("stop", "default", "stop", Wait::No),
    ] {
        let app = parse_ai_application(data.as_bytes()).unwrap();
        let of = app.name.unwrap_or_default();
        assert_eq!((of.as_str(), app.action.verb(), app.wait), (name, verb, wait), "{data}");
    }
    let refused = parse_ai_application(b"ws://h").unwrap_err().to_string();
    assert!(refused.starts_with("-ERR start_ai has no option 'ws://h'"), "{refused}");
}

#[test]
fn completion_offers_every_verb_and_calls_where_needed() {
    let lines = completions();
    assert_eq!(lines.len(), COMMANDS.len());
    assert!(lines.contains(&"add uuid_audio_stream ::console::list_uuid send_text".to_owned()));
    assert!(lines.contains(&"add uuid_audio_stream list".to_owned()));
    assert_eq!(completion_removal(), "del uuid_audio_stream");
}

#[test]
fn a_recording_takes_a_file_whose_name_may_have_spaces() {
    let (_, name, start) = action("u record name=b START  calls/Ann Lee.wav ");
    assert_eq!((name.as_str(), start), ("b", Action::RecordStart { file: "calls/Ann Lee.wav".into() }));
    assert_eq!(action("u record stop").2, Action::RecordStop);
    assert_eq!(parse_application(b"record start /tmp/a.wav").unwrap().action.verb(), "record");
    for (line, reply) in [
        ("u record", "-USAGE: <uuid> record [name=<id>] start <file.wav> | stop (start or stop is missing)"),
        ("u record start", "-USAGE: <uuid> record [name=<id>] start <file.wav> | stop (the file is missing)"),
        ("u record stop it", "-ERR record takes no further argument, but got 'it'"),
        ("u record pause", "-ERR no command 'record pause'; give one of record start, record stop"),
    ] {
        assert_eq!(parse(line.as_bytes()).unwrap_err().to_string(), reply);
    }
}

#[test]
fn the_table_and_the_actions_use_the_same_words() {
    for row in COMMANDS.iter().filter(|row| row.is_for_call()) {
        let argument = match row.verb {
            "gain" => "caller -6 dB",
            "mute" | "unmute" => "leg",
            "dtmf" => "12#",
            "record" => "stop",
            "start_ai" => "profile=x",
            "ai_result" => "call_1 {}",
            "send_text" => "a",
            "mask" => "on",
            "ai_update" => "speed=1",
            "ai_send" => "{\"type\": \"a\"}",
            _ if row.arguments.starts_with('<') => "ws://h",
            _ => "",
        };
        assert_eq!(action(&format!("u {} {argument}", row.verb)).2.verb(), row.verb);
    }
}

prop_compose! {
    fn word()(word in "[!-~]{1,20}") -> String { word }
}

proptest! {
    #[test]
    fn no_bytes_break_the_parsers(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_command(&data);
    }

    #[test]
    fn no_line_of_likely_words_breaks_the_parsers(
        words in proptest::collection::vec(
            prop_oneof![
                Just("start".to_owned()), Just("ws://h".to_owned()), Just("mono".to_owned()), Just("8k".to_owned()),
                Just("send_text".to_owned()), Just("name=a".to_owned()), Just("headers={\"a\":\"".to_owned()),
                Just("wait=true".to_owned()), Just("username='".to_owned()), Just("\\\"}'".to_owned()),
                Just("buffer_ms=40".to_owned()), Just("é".to_owned()), any::<String>(), word(),
            ],
            0..8,
        ),
        separator in "[ \t\n]{1,2}",
    ) {
        fuzz_command(words.join(&separator).as_bytes());
    }

    #[test]
    fn what_is_put_into_a_start_comes_out_of_it(
        mix in prop_oneof![Just("mono"), Just("mixed"), Just("stereo")],
        rate in prop_oneof![Just(8_u32), Just(16), Just(24), Just(32), Just(48)],
        buffer_ms in 20_u32..=1_000,
        playback in any::<bool>(),
        username in proptest::option::of("[ -&(-9;-~]{1,30}"),
        header in proptest::option::of("[ -~é]{0,30}"),
        metadata in proptest::option::of("[!-~]\\PC{0,60}"),
        name in "[A-Za-z0-9_.-]{1,64}",
    ) {
        let mut line = format!("u start name={name} ws://h {mix} {rate}k buffer_ms={buffer_ms} playback={playback}");
        if let Some(username) = &username {
            line += &format!(" username='{username}'");
        }
        if let Some(header) = &header {
            line += &format!(" headers={}", serde_json::json!({"X-A": header}));
        }
        // A text that begins like an option is one.
        let metadata = metadata.filter(|text| text.split_once('=').is_none_or(|(key, _)| options::row(key).is_none()));
        if let Some(metadata) = &metadata {
            line += &format!(" {metadata}");
        }
        let (_, read_name, action) = action(&line);
        let Action::Start(start) = action else { panic!("no start") };
        let read = start.metadata.clone();
        let (spec, _) = start
            .resolve(CallId::new("u"), read_name.parse().unwrap(), &Config::default(), &NoVariables)
            .unwrap();
        prop_assert_eq!(read_name, name);
        prop_assert_eq!(spec.options.mix.as_str(), mix);
        prop_assert_eq!(spec.options.rate.hz(), rate * 1_000);
        prop_assert_eq!((spec.options.buffer_ms, spec.options.playback), (buffer_ms, playback));
        prop_assert_eq!(spec.options.username, username);
        prop_assert_eq!(spec.options.headers.first().map(|(_, value)| value.expose().to_owned()), header);
        prop_assert_eq!(read, metadata);
    }

    #[test]
    fn a_text_comes_out_as_it_went_in(text in "\\PC{0,100}") {
        prop_assume!(!text.trim_ascii().is_empty() && !text.trim_start().starts_with("name="));
        let (_, _, action) = action(&format!("u send_text {text}"));
        let Action::SendText(sent) = action else { panic!("{action:?}") };
        prop_assert_eq!(sent.whole, text);
    }
}
