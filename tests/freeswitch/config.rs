//! The configuration a test's FreeSWITCH runs with: everything on 127.0.0.1, nothing but the modules needed.

use std::fmt::Write as _;
use std::path::Path;

/// Modules loaded at the start; the tested one is loaded over the event socket.
pub const MODULES: &[&str] = &[
    "mod_console",
    "mod_logfile",
    "mod_commands",
    "mod_dptools",
    "mod_dialplan_xml",
    "mod_loopback",
    "mod_sofia",
    "mod_opus",
    "mod_event_socket",
    "mod_sndfile",
    "mod_native_file",
    "mod_tone_stream",
    "mod_conference",
];

/// The event socket's password.
pub const PASSWORD: &str = "tests";

/// Dialplan context of all calls.
pub const CONTEXT: &str = "tests";

/// Ports in use.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The event socket.
    pub esl: u16,
    /// SIP over UDP, profile `tests`.
    pub sip: u16,
    /// First port for RTP.
    pub rtp: u16,
}

/// RTP ports a FreeSWITCH may use from its first on.
pub const RTP_PORTS: u16 = 1_000;

/// The whole of `freeswitch.xml`; with `loads_module` it loads the tested module at the start, and gives it a command then.
pub fn freeswitch_xml(ports: Ports, log: &Path, loads_module: bool) -> String {
    let Ports { esl, sip, rtp } = ports;
    let mut modules = String::new();
    for module in loads_module.then_some(&"mod_audio_stream").into_iter().chain(MODULES) {
        let _ = writeln!(modules, r#"        <load module="{module}"/>"#);
    }
    let startup = match loads_module {
        true => r#"<X-PRE-PROCESS cmd="set" data="api_on_startup=uuid_audio_stream drain off"/>"#,
        false => "",
    };
    let rtp_end = rtp + RTP_PORTS - 1;
    let log = log.display();
    let dialplan = dialplan(sip);
    // What the repository ships, as an operator would install it.
    let shipped =
        |file: &str| format!(r#"<X-PRE-PROCESS cmd="include" data="{}/conf/{file}"/>"#, env!("CARGO_MANIFEST_DIR"));
    let (settings, samples) = (shipped("autoload_configs/audio_stream.conf.xml"), shipped("dialplan/audio_stream.xml"));
    format!(
        r#"<?xml version="1.0"?>
<document type="freeswitch/xml">
  {startup}
  <section name="configuration">
    <configuration name="switch.conf">
      <settings>
        <param name="loglevel" value="debug"/>
        <param name="max-sessions" value="3000"/>
        <param name="sessions-per-second" value="1000"/>
        <param name="rtp-start-port" value="{rtp}"/>
        <param name="rtp-end-port" value="{rtp_end}"/>
        <param name="dump-cores" value="no"/>
      </settings>
    </configuration>
    <configuration name="modules.conf">
      <modules>
{modules}      </modules>
    </configuration>
    <configuration name="post_load_modules.conf"><modules/></configuration>
    <configuration name="console.conf">
      <mappings><map name="all" value="err,crit,alert"/></mappings>
      <settings><param name="colorize" value="false"/><param name="loglevel" value="err"/></settings>
    </configuration>
    <configuration name="logfile.conf">
      <settings><param name="rotate-on-hup" value="false"/></settings>
      <profiles>
        <profile name="default">
          <settings><param name="logfile" value="{log}"/><param name="uuid" value="true"/></settings>
          <mappings><map name="all" value="console,debug,info,notice,warning,err,crit,alert"/></mappings>
        </profile>
      </profiles>
    </configuration>
    <configuration name="event_socket.conf">
      <settings>
        <param name="nat-map" value="false"/>
        <param name="listen-ip" value="127.0.0.1"/>
        <param name="listen-port" value="{esl}"/>
        <param name="password" value="{PASSWORD}"/>
        <param name="stop-on-bind-error" value="true"/>
      </settings>
    </configuration>
    <configuration name="acl.conf"><network-lists/></configuration>
    <configuration name="timezones.conf"><timezones/></configuration>
    <configuration name="loopback.conf">
      <settings><param name="bowout-hangup-cause" value="NORMAL_CLEARING"/></settings>
    </configuration>
    <configuration name="opus.conf">
      <settings>
        <param name="use-vbr" value="1"/>
        <param name="complexity" value="5"/>
        <param name="maxaveragebitrate" value="0"/>
        <param name="maxplaybackrate" value="0"/>
      </settings>
    </configuration>
    <configuration name="conference.conf">
      <profiles>
        <profile name="default">
          <param name="rate" value="8000"/>
          <param name="interval" value="20"/>
          <param name="energy-level" value="0"/>
          <param name="comfort-noise" value="false"/>
        </profile>
      </profiles>
    </configuration>
    {settings}
    <configuration name="sofia.conf">
      <global_settings><param name="log-level" value="0"/></global_settings>
      <profiles>
        <profile name="tests">
          <settings>
            <param name="sip-ip" value="127.0.0.1"/>
            <param name="rtp-ip" value="127.0.0.1"/>
            <param name="sip-port" value="{sip}"/>
            <param name="context" value="{CONTEXT}"/>
            <param name="dialplan" value="XML"/>
            <param name="auth-calls" value="false"/>
            <param name="accept-blind-reg" value="true"/>
            <param name="sip-options-respond-503-on-busy" value="true"/>
            <param name="inbound-codec-prefs" value="PCMU,PCMA,L16@16000h@20i,L16@48000h@20i,L16@8000h@20i@2c,opus@48000h@20i,opus@48000h@20i@2c,opus@16000h@20i,PCMU@40i,PCMU@10i"/>
            <param name="outbound-codec-prefs" value="PCMU,PCMA,L16@16000h@20i,opus@48000h@20i"/>
            <param name="inbound-codec-negotiation" value="generous"/>
            <param name="rtp-timeout-sec" value="0"/>
            <param name="manage-presence" value="false"/>
            <param name="nonce-ttl" value="60"/>
            <param name="rtp-timer-name" value="soft"/>
            <param name="rtp-autoflush-during-bridge" value="false"/>
          </settings>
        </profile>
      </profiles>
    </configuration>
  </section>
  <section name="dialplan">
    <context name="{CONTEXT}">
{dialplan}      {samples}
    </context>
  </section>
  <section name="directory"/>
</document>
"#
    )
}

/// What each extension does once called; the variables make loopback calls stay as they were placed.
fn dialplan(sip: u16) -> String {
    let mut out = String::new();
    let mut extension = |pattern: &str, actions: &[(&str, &str)]| {
        let _ = writeln!(out, r#"      <extension name="{pattern}">"#);
        let _ = writeln!(out, r#"        <condition field="destination_number" expression="^{pattern}$">"#);
        for (application, data) in actions {
            let _ = writeln!(out, r#"          <action application="{application}" data="{}"/>"#, escape(data));
        }
        let _ = writeln!(out, "        </condition>\n      </extension>");
    };
    let answer = ("answer", "");
    extension(r"native-(.+)", &[("set", "rtp_disable_byteswap=true"), ("transfer", "$1 XML tests")]);
    let start = ("eval", "${uuid_audio_stream(${uuid} start ${sip_h_X-Url} mono 16000 binary_rate=16k)}");
    extension("eval-answer", &[start, answer, ("sleep", "1000"), ("park", "")]);
    extension("eval-pre-answer", &[("pre_answer", ""), start, answer, ("sleep", "1000"), ("park", "")]);
    extension("eval-ringing", &[("ring_ready", ""), ("sleep", "500"), start, ("sleep", "1000"), answer, ("park", "")]);
    extension(r"bypass-(\d+)", &[("set", "bypass_media=true"), ("bridge", "sofia/tests/sip:x@127.0.0.1:$1")]);
    // The phone that is called takes PCMU alone; FreeSWITCH would offer no more than the caller's codec.
    let called = "[absolute_codec_string=PCMU]sofia/tests/sip:x@127.0.0.1:$1";
    extension(r"call-(\d+)", &[answer, ("bridge", called)]);
    extension("park-silent", &[("set", "send_silence_when_idle=-1"), answer, ("park", "")]);
    extension("park-noise", &[("set", "send_silence_when_idle=400"), answer, ("park", "")]);
    extension("park", &[answer, ("park", "")]);
    extension("answered-by-server", &[("pre_answer", ""), ("audio_stream", "${sip_h_X-Stream}"), ("park", "")]);
    extension(r"early-(\d+)", &[("pre_answer", ""), ("playback", "tone_stream://v=-13;%(600000,0,$1)")]);
    extension("unanswered", &[("ring_ready", ""), ("park", "")]);
    extension("echo", &[answer, ("echo", "")]);
    extension("sleep", &[answer, ("sleep", "600000")]);
    extension(r"tone-(\d+)", &[answer, ("playback", "tone_stream://v=-13;%(600000,0,$1)")]);
    extension(r"conference-(\w+)", &[answer, ("conference", "$1@default")]);
    extension(r"bridge-(.+)", &[answer, ("bridge", &format!("sofia/tests/$1@127.0.0.1:{sip}"))]);
    extension(
        "recorded",
        &[answer, ("set", "RECORD_STEREO=true"), ("record_session", "${sip_h_X-Record}"), ("park", "")],
    );
    extension(
        r"stream-(.+)",
        &[answer, ("audio_stream", "${sip_h_X-Stream}"), ("playback", "tone_stream://v=-13;%(600000,0,$1)")],
    );
    extension(
        "stream_wait",
        &[
            answer,
            ("audio_stream", "${sip_h_X-Stream}"),
            ("log", "NOTICE stream_wait ended: ${audio_stream_status} ${audio_stream_error}"),
            ("playback", "tone_stream://v=-13;%(600000,0,1400)"),
        ],
    );
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
