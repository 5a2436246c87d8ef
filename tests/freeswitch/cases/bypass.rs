//! Calls whose media does not pass FreeSWITCH.

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::support::websocket_server::{Script, WebSocketServer};

#[test]
fn a_stream_of_a_bypassed_call_is_refused_with_the_reason() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("bypass-{}", callee.port())));
        let server = WebSocketServer::start(Script::default());
        let refused = freeswitch.refused(&call.uuid, &format!("start {} mono 8k", server.url()));
        assert!(refused.contains("bypass"), "{refused}");
        assert_eq!(freeswitch.streams(), 0);
    });
}
