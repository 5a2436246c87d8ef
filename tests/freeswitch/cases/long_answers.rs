//! Answers that the server sends faster than they are spoken: all of it is heard, or `clear` drops all of it.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::staircase;
use crate::harness::stream::{LOUD, THERE, listen_to};
use crate::support::websocket_server::{Action, Connection, Form, Play, Script, WebSocketServer};
use crate::support::{audio, signal};

/// Seconds of the answer.
const STEPS: u32 = 30;

/// The tone of the answer after it, Hz: none of the steps'.
const NEXT: f64 = 3_350.0;

struct Talk {
    call: SipCall,
    connection: Arc<Connection>,
    _server: WebSocketServer,
}

fn talk(freeswitch: &FreeSwitch) -> Talk {
    let call = SipCall::place(freeswitch, &Dial::to("park"));
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
    Talk { connection: server.connection(0), call, _server: server }
}

#[test]
fn a_long_answer_sent_at_once_is_heard_whole() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        // A minute: the staircase twice.
        let answer = staircase::of(8_000, STEPS).repeat(2);
        let binary = |bytes| Action::Play(Play::mono(answer.clone(), 8_000).form(Form::Binary).chunks(bytes));
        // 3.5 times as fast as it is spoken: 20 ms every 5.7 ms.
        let hurried = signal::to_bytes(&answer)
            .chunks(320 * 7)
            .flat_map(|piece| [Action::Binary(piece.to_vec()), Action::Wait(Duration::from_millis(40))])
            .collect::<Vec<_>>();
        let ways: [(&str, Vec<Action>); 3] = [
            ("one message", vec![binary(usize::MAX / 2)]),
            ("3,000 messages without a pause", vec![binary(320)]),
            ("three and a half times as fast", hurried),
        ];
        let talks = ways.map(|(way, actions)| {
            let talk = talk(freeswitch);
            actions.into_iter().for_each(|action| talk.connection.order(action));
            (way, talk)
        });
        std::thread::sleep(Duration::from_millis(2 * u64::from(STEPS) * 1_000 + 2_500));
        for (way, talk) in &talks {
            let heard = talk.call.phone.heard();
            let start = heard.iter().position(|sample| sample.unsigned_abs() > 1_000).expect("something is heard");
            let (first, second) = heard[start..].split_at(8_000 * STEPS as usize);
            staircase::assert_heard(first, 8_000, STEPS, &format!("{way}, first half"));
            staircase::assert_heard(second, 8_000, STEPS, &format!("{way}, second half"));
            assert!(events.stream_events("overflow", &talk.call.uuid).is_empty(), "{way}: nothing is lost");
        }
    });
}

#[test]
fn a_clear_ends_a_long_answer_and_the_next_one_begins_at_once() {
    in_freeswitch(|freeswitch| {
        let talk = talk(freeswitch);
        talk.connection
            .order(Action::Play(Play::mono(staircase::of(8_000, STEPS), 8_000).form(Form::Binary).chunks(320)));
        freeswitch.wait_played(&talk.call.uuid, 2_000);
        freeswitch.stream(&talk.call.uuid, "clear");
        let next = signal::tone(8_000, NEXT, 1_000, LOUD);
        talk.connection.order(Action::Play(Play::mono(next, 8_000).form(Form::Binary)));
        let heard = talk.call.phone.listen(Duration::from_millis(1_500));
        let rest: u32 = (0..STEPS).map(|step| audio::tone_ms(&heard, 8_000, staircase::hz(step), THERE)).sum();
        assert!(rest <= 60, "{rest} ms of what was cleared are heard afterwards");
        let ms = audio::tone_ms(&heard, 8_000, NEXT, THERE);
        assert!((960..=1_040).contains(&ms), "of the next answer {ms} ms are heard");
    });
}
