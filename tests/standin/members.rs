//! Members of a conference who are muted: the server hears silence in their place, at the same pace.

use crate::calls::{Stream, call, command, parked, switch};
use crate::host::Call;

/// What mod_conference says of a call that is its member.
fn conference(call: &Call<'_>, sequence: u64, action: &str, speak: bool, hold: bool) {
    let (sequence, speak, hold) = (sequence.to_string(), speak.to_string(), hold.to_string());
    switch().fire(
        "conference::maintenance",
        &[
            ("Action", action),
            ("Unique-ID", call.uuid()),
            ("Event-Sequence", &sequence),
            ("Speak", &speak),
            ("Hold", &hold),
        ],
    );
}

/// Whether the server hears the caller now.
#[track_caller]
fn is_heard(stream: &Stream<'_>) -> bool {
    let from = stream.connection.audio().len();
    // A gain changes in a ramp, which the first frame has.
    stream.call.speak(&[1_000; 480]);
    stream.call.tick(3);
    stream.connection.wait_bytes((from as u64 + 480) * 2);
    let captured = stream.connection.audio().split_off(from + 160);
    assert!(captured == [1_000; 320] || captured == [0; 320], "half of it: {captured:?}");
    captured[0] == 1_000
}

#[test]
fn a_muted_member_is_silence_until_they_may_speak_again() {
    let (call, other) = (call(parked()), call(parked()));
    let (stream, others) = (Stream::start(&call, "mono 8k"), Stream::start(&other, "mono 8k"));
    let changes = [
        ("add-member", true, false, true),
        ("mute-member", false, false, false),
        ("start-talking", true, false, false),
        ("unmute-member", true, false, true),
        ("hold-member", true, true, false),
        ("unhold-member", true, false, true),
        ("mute-member", false, false, false),
        ("del-member", false, false, true),
    ];
    for (sequence, (action, speak, hold, heard)) in (10..).zip(changes) {
        conference(&call, sequence, action, speak, hold);
        assert_eq!(is_heard(&stream), heard, "after {action}");
        assert!(is_heard(&others), "after {action}");
    }
    conference(&call, 5, "mute-member", false, false);
    assert!(is_heard(&stream), "an event that comes late changes nothing");
}

#[test]
fn a_stream_of_a_muted_member_begins_with_silence() {
    let call = call(parked());
    conference(&call, 1, "add-member", false, false);
    let stream = Stream::start(&call, "mono 8k");
    assert!(!is_heard(&stream));
    stream.stop();
    let stream = Stream::start(&call, "mono 8k follow_mute=false");
    assert!(is_heard(&stream), "it was asked not to follow");
}

#[test]
fn a_conference_does_not_undo_the_operators_mute() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    assert_eq!(command(&call, "mute caller"), "+OK Success");
    conference(&call, 1, "mute-member", false, false);
    conference(&call, 2, "unmute-member", true, false);
    assert!(!is_heard(&stream));
    assert_eq!(command(&call, "unmute caller"), "+OK Success");
    assert!(is_heard(&stream));
}
