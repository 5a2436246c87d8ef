//! A telephone line that sends the agent's voice back: the agent is not interrupted by itself, and still by the caller.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::conversation::wait_state;
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::listen_to;
use crate::realtime::{Answer, Coding, RealtimeServer, Script, Voice};
use crate::support::{audio, wav};

/// A synthetic voice that reads a sentence, 8 kHz.
fn voice(name: &str) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    wav::read(&path).expect("the file is in the repository").samples
}

/// A call whose line sends back what it plays, 15 dB lower and 60 ms later, and an agent that reads two sentences.
fn talk(freeswitch: &FreeSwitch, cancels: &str, meanwhile: impl FnOnce(&SipCall)) -> (usize, f64) {
    let events = listen_to(freeswitch);
    let words = [voice("speech/appointment.wav"), voice("demo/voice.wav")].concat();
    let spoken = Voice::Recorded { rate: 8_000, samples: Arc::new(words.clone()) };
    let server = RealtimeServer::start(Script::answering([Answer { voice: Some(spoken), ..Answer::default() }]));
    let call = SipCall::place(freeswitch, &Dial::to("park"));
    call.phone.reflect(15.0, 60);
    let command = format!(
        "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model barge_in=local \
         greeting_instructions='Say hello.' echo_cancellation={cancels}",
        server.base_url()
    );
    freeswitch.stream(&call.uuid, &command);
    wait_state(&events, &call.uuid, "SPEAKING", 1);
    meanwhile(&call);
    wait_state(&events, &call.uuid, "LISTENING", 1);
    call.phone.listen(Duration::from_millis(300));
    let said = Coding::Pcmu.decode(&Coding::Pcmu.encode(&words)).expect("whole samples");
    let mut heard = call.phone.heard().samples;
    // What is cut off is not there to be compared.
    heard.extend(vec![0; said.len()]);
    let (_, alike) = audio::find(&heard, &said);
    (events.stream_events("ai_barge_in", &call.uuid).len(), alike)
}

#[test]
fn an_agent_is_not_interrupted_by_its_own_echo() {
    in_freeswitch(|freeswitch| {
        let (interruptions, _) = talk(freeswitch, "off", |_| {});
        assert_eq!(interruptions, 1, "the line has an echo that interrupts");
        let (interruptions, alike) = talk(freeswitch, "on", |_| {});
        assert_eq!(interruptions, 0);
        assert!(alike > 0.999, "the caller hears all of it: {alike:.3}");
    });
}

#[test]
fn a_caller_interrupts_an_agent_whose_echo_is_cancelled() {
    in_freeswitch(|freeswitch| {
        let (interruptions, alike) = talk(freeswitch, "on", |call| {
            call.phone.listen(Duration::from_millis(2_500));
            call.phone.say(&voice("speech/rechnung.wav"));
        });
        assert_eq!(interruptions, 1);
        assert!(alike < 0.9, "the caller does not hear all of it: {alike:.3}");
    });
}
