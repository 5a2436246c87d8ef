//! The call in a real FreeSWITCH: a process of its own, called over SIP, spoken to over RTP, commanded over its event socket.

use crate::harness::esl::Esl;
use crate::harness::installation::{Installation, installations};
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::{config, rtp, stream};
use crate::line::{Event, Line, Packet, own_headers};

struct Real {
    freeswitch: FreeSwitch,
    call: SipCall,
    esl: Esl,
    host: String,
}

/// The FreeSWITCH to use, else why none can be.
pub fn find() -> Result<Installation, String> {
    let Some(installation) = installations().into_iter().next() else {
        return Err("no FreeSWITCH found by FREESWITCH_PREFIX, pkg-config or PATH".to_owned());
    };
    let which = format!("FreeSWITCH {} in {}", installation.version, installation.modules.display());
    if let Some(missing) = config::MODULES.iter().find(|name| !installation.modules.join(format!("{name}.so")).exists())
    {
        return Err(format!("{which} has no {missing}"));
    }
    Ok(installation)
}

/// Starts FreeSWITCH, loads the built module, places a call and gives it to `converse`.
pub fn with_call<T>(installation: &Installation, converse: impl FnOnce(&dyn Line) -> T) -> T {
    let freeswitch = FreeSwitch::start(installation, Launch::default());
    freeswitch.load();
    let esl = stream::listen_to(&freeswitch);
    let call = SipCall::place(&freeswitch, &Dial::to("park"));
    let host = format!("FreeSWITCH {}", installation.version);
    let line = Real { freeswitch, call, esl, host };
    let result = converse(&line);
    let Real { freeswitch, call, esl, .. } = line;
    drop((call, esl));
    freeswitch.shutdown();
    result
}

fn packets(packets: Vec<rtp::Packet>) -> Vec<Packet> {
    let audio = |packet: &rtp::Packet| packet.payload_type == rtp::Codec::Pcmu.payload_type();
    let plain = |packet: rtp::Packet| Packet { at: packet.at, samples: packet.samples };
    packets.into_iter().filter(audio).map(plain).collect()
}

impl Line for Real {
    fn host(&self) -> &str {
        &self.host
    }

    fn medium(&self) -> &str {
        "SIP call on 127.0.0.1, RTP, G.711 µ-law, 20 ms packets"
    }

    fn uuid(&self) -> &str {
        &self.call.uuid
    }

    fn api(&self, command: &str) -> String {
        self.freeswitch.api(command)
    }

    fn say(&self, samples: &[i16]) {
        self.call.phone.say(samples);
    }

    fn said(&self) -> Vec<Packet> {
        packets(self.call.phone.said())
    }

    fn heard(&self) -> Vec<Packet> {
        packets(self.call.phone.packets())
    }

    fn events(&self) -> Vec<Event> {
        let ours = |event: crate::harness::esl::Event| {
            let name = event.subclass().strip_prefix("mod_audio_stream::")?.to_owned();
            // `Event-Date-Timestamp` is of a clock that FreeSWITCH moves on every few milliseconds only.
            Some(Event { at: event.at, name, headers: own_headers(&event.headers), body: event.body })
        };
        self.esl.events().into_iter().filter(|event| event.uuid() == self.call.uuid).filter_map(ours).collect()
    }

    fn hang_up(&self) {
        self.freeswitch.ok(&format!("uuid_kill {}", self.call.uuid));
    }
}
