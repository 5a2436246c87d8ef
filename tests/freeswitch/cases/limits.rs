//! A conversation that may not last for ever, and what cannot be changed while it lasts.

use std::time::Instant;

use serde_json::json;

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::harness::stream::SOON;
use crate::realtime::Stage;
use crate::support::eventually;

#[test]
fn the_agent_says_goodbye_before_the_time_is_over() {
    in_freeswitch(|freeswitch| {
        let begun = Instant::now();
        let instructions = "Say goodbye now.";
        let limits = [("max_duration_s", "8"), ("wind_down_s", "4"), ("wind_down_instructions", instructions)];
        let place = Telephone::place(freeswitch, &limits);
        let (call, server) = (place.call.clone(), place.server.clone());
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.respond("r1", "i1", 500);
        stage.await_state("LISTENING", 2_000);
        stage.skip();
        let told = stage.expect_within("conversation.item.create", 6_000);
        let at = begun.elapsed().as_millis();
        assert!((3_900..7_900).contains(&at), "the model is told after {at} ms");
        let content = json!([{"type": "input_text", "text": instructions}]);
        assert_eq!((&told["item"]["role"], &told["item"]["content"]), (&json!("system"), &content));
        let request = stage.expect("response.create");
        stage.answer(&request, "r2", "goodbye", 1_000);
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("LISTENING", 2_000);
        stage.heard_whole("goodbye", 1_000);
        let (ended, _) = server.connection(0).wait_end();
        let lasted = ended.duration_since(begun).as_millis();
        assert!((7_900..12_000).contains(&lasted), "the conversation lasted {lasted} ms");
        assert!(!call.ended(), "the call goes on");
    });
}

#[test]
fn what_a_running_conversation_cannot_change_is_refused() {
    in_freeswitch(|freeswitch| {
        let place = Telephone::place(freeswitch, &[("voice", "marin")]);
        let uuid = place.call.uuid.clone();
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.respond("r1", "i1", 500);
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("LISTENING", 2_000);
        let spoken = || freeswitch.refused(&uuid, "ai_update voice=cedar");
        assert!(spoken().contains("the agent has been heard"), "{}", spoken());
        for (change, why) in [
            ("turn_detection=local", "cannot change from or to local"),
            ("model=other", "ai_update cannot change 'model'; it changes system_prompt, "),
            ("speed=9", "bad value '9' for speed: give 0.25 to 1.5"),
            ("speed=", "speed cannot be taken back"),
            ("tool_choice=no_such", "'no_such' is not one of the functions"),
        ] {
            let refused = freeswitch.refused(&uuid, &format!("ai_update {change}"));
            assert!(refused.contains(why), "{change}: {refused}");
        }
        assert!(freeswitch.refused(&uuid, "ai_send {\"a\": 1}").contains("object with a type"));
        // Nothing of that has reached the service, and the same voice is no change.
        stage.silent(500);
        freeswitch.stream(&uuid, "ai_update voice=marin");
        stage.silent(500);
        stage.speak("u2", 300);
        stage.respond("r2", "i2", 500);
        assert!(eventually(SOON, || stage.heard("i2", 500).is_some_and(|(_, ms)| ms >= 480)));
        assert_eq!(stage.events("error"), [] as [&str; 0]);
    });
}
