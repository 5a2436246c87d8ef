//! The caller's phone, its signalling half: sipp runs the call, our RTP socket is its media.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::rtp::{Codec, Phone};
use super::server::FreeSwitch;

/// Whether sipp is installed.
pub fn sipp_installed() -> bool {
    Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What a call is to be.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The extension called.
    pub to: String,
    /// What the phone speaks.
    pub codec: Codec,
    /// Headers of the INVITE; FreeSWITCH gives them to the dialplan as `sip_h_<name>`.
    pub headers: Vec<(&'static str, String)>,
    /// The phone hangs up so long after the answer; otherwise FreeSWITCH does.
    pub hangup_after: Option<Duration>,
}

impl Dial {
    /// A PCMU call to this extension that FreeSWITCH ends.
    pub fn to(extension: &str) -> Self {
        Self { to: extension.to_owned(), codec: Codec::Pcmu, headers: Vec::new(), hangup_after: None }
    }

    /// The same with this codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The same with another header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, ended by the phone.
    pub fn hangup_after(mut self, time: Duration) -> Self {
        self.hangup_after = Some(time);
        self
    }
}

/// A call in progress; dropped, its sipp is killed (FreeSWITCH's end of the call stays).
pub struct SipCall {
    /// The uuid of the caller's channel.
    pub uuid: String,
    /// The caller's ear and mouth.
    pub phone: Phone,
    sipp: Child,
}

impl SipCall {
    /// Calls, and waits until FreeSWITCH has answered and its RTP port is known.
    #[track_caller]
    pub fn place(freeswitch: &FreeSwitch, dial: &Dial) -> Self {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let tag = format!("call-{}", CALLS.fetch_add(1, Ordering::Relaxed));
        let phone = Phone::new(dial.codec);
        let events = freeswitch.subscribe("plain CHANNEL_ANSWER CHANNEL_HANGUP");
        let folder = freeswitch.folder.join("temp");
        let scenario = folder.join(format!("{tag}.xml"));
        fs::write(&scenario, invite(dial, &tag, phone.port())).expect("our folder");
        let sipp = start(&scenario, &folder, freeswitch.ports.sip, &dial.to);

        let ours = |event: &super::esl::Event| event.get("variable_sip_h_X-Tag") == Some(&tag);
        let event = events
            .wait_event(Duration::from_secs(15), ours)
            .unwrap_or_else(|| panic!("no answer to the call to {}:\n{}", dial.to, freeswitch.last_words()));
        assert_eq!(event.name(), "CHANNEL_ANSWER", "the call to {} was refused:\n{}", dial.to, freeswitch.last_words());
        let uuid = event.uuid().to_owned();
        let port = freeswitch.variable(&uuid, "local_media_port").expect("an answered call has media");
        phone.connect(port.parse().expect("a port"));
        Self { uuid, phone, sipp }
    }
}

impl Drop for SipCall {
    fn drop(&mut self) {
        let _ = self.sipp.kill();
        let _ = self.sipp.wait();
    }
}

fn start(scenario: &Path, folder: &Path, port: u16, to: &str) -> Child {
    let output = fs::File::create(scenario.with_extension("out")).expect("our folder");
    Command::new("sipp")
        .arg(format!("127.0.0.1:{port}"))
        .arg("-sf")
        .arg(scenario)
        .args(["-s", to, "-i", "127.0.0.1", "-m", "1", "-l", "1", "-r", "1", "-nostdin", "-timeout", "300"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a descriptor"))
        .stderr(output)
        .spawn()
        .expect("sipp is installed")
}

/// The scenario: INVITE, ACK, and BYE from whichever side ends the call.
fn invite(dial: &Dial, tag: &str, rtp_port: u16) -> String {
    let headers: String = dial.headers.iter().map(|(name, value)| format!("      {name}: {value}\n")).collect();
    let (payload_type, rtpmap) = (dial.codec.payload_type(), dial.codec.rtpmap());
    let ending = match dial.hangup_after {
        None => r#"  <recv request="BYE" timeout="300000"/>
  <send><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0

  ]]></send>"#
            .to_owned(),
        Some(time) => format!(
            r#"  <pause milliseconds="{}"/>
  <send retrans="500"><![CDATA[
      BYE [next_url] SIP/2.0
      Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
      From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
      [last_To:]
      Call-ID: [call_id]
      CSeq: 2 BYE
      Max-Forwards: 70
      Content-Length: 0

  ]]></send>
  <recv response="200"/>"#,
            time.as_millis()
        ),
    };
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
      INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
      From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
      To: <sip:[service]@[remote_ip]:[remote_port]>
      Call-ID: [call_id]
      CSeq: 1 INVITE
      Contact: <sip:caller@[local_ip]:[local_port]>
      Max-Forwards: 70
      X-Tag: {tag}
{headers}      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=caller 1 1 IN IP4 127.0.0.1
      s=-
      c=IN IP4 127.0.0.1
      t=0 0
      m=audio {rtp_port} RTP/AVP {payload_type}
      a=rtpmap:{payload_type} {rtpmap}
      a=ptime:20
      a=sendrecv

  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
      ACK [next_url] SIP/2.0
      Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
      From: <sip:caller@[local_ip]:[local_port]>;tag=[call_number]
      [last_To:]
      Call-ID: [call_id]
      CSeq: 1 ACK
      Max-Forwards: 70
      Content-Length: 0

  ]]></send>
{ending}
</scenario>
"#
    )
}
