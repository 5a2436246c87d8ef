//! The FreeSWITCH that is soaked, the real one or the stand-in: its calls, its phones, its process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::harness::esl::Esl;
use crate::harness::installation::Installation;
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::host::{Call, CallKind, CallOptions, Host, MODULE};
use crate::support::{eventually, wav};

/// Connections to the event socket; a command that takes long holds up those on its own only.
const CONNECTIONS: usize = 8;

/// Where the calls are. Every method may be called by any thread.
pub trait Switch: Sync {
    /// What runs the module, e.g. `FreeSWITCH 1.11.2`.
    fn name(&self) -> &str;
    /// The process that holds the module.
    fn pid(&self) -> u32;
    /// Runs an API command and gives its answer.
    fn api(&self, command: &str) -> String;
    /// Places a call that is parked, without a phone, and gives its uuid.
    fn place(&self) -> String;
    /// Hangs up a call of `place`; one that has ended already is no fault.
    fn kill(&self, uuid: &str);
    /// Places a call with a phone.
    fn phone(&self) -> Box<dyn Phone + '_>;
    /// How many calls there are.
    fn calls(&self) -> usize;
    /// Whether a call may last for as long as the soak. The stand-in keeps what a phone has heard until the call ends.
    fn keeps_nothing_of_a_call(&self) -> bool;
    /// Forgets what it has recorded for tests.
    fn forget(&self);
}

/// A caller's phone: 8 kHz, mono, packets of 20 ms.
pub trait Phone: Send {
    /// The call.
    fn uuid(&self) -> &str;
    /// The caller says this after what is still to be said.
    fn say(&self, samples: &[i16]);
    /// Packets sent so far.
    fn said(&self) -> u64;
    /// All that was heard so far.
    fn heard(&self) -> Vec<i16>;
    /// Packets on the way to the phone that were lost or swapped outside of FreeSWITCH.
    fn disordered(&self) -> usize;
    /// Packets of the caller's that FreeSWITCH itself has lost or made up so far.
    fn lost(&self) -> u64;
    /// From now on FreeSWITCH's own recorder notes what it delivers of the caller.
    fn witness(&self);
    /// What it has noted; `None` where there is no such recorder. Ends it.
    fn delivered(&self) -> Option<Vec<i16>>;
    /// Hangs up.
    fn hang_up(&self);
}

/// A FreeSWITCH of our own.
pub struct Real {
    freeswitch: FreeSwitch,
    connections: Vec<Esl>,
    next: AtomicUsize,
    name: String,
}

impl Real {
    /// Starts it and loads the module.
    pub fn start(installation: &Installation) -> Self {
        let freeswitch = FreeSwitch::start(installation, Launch { one_arena: true, ..Launch::default() });
        freeswitch.load();
        // Hours of every line of FreeSWITCH's would fill the disk.
        freeswitch.api("fsctl loglevel warning");
        let connections = (0..CONNECTIONS).map(|_| freeswitch.subscribe("plain HEARTBEAT")).collect();
        let name = format!("FreeSWITCH {}", installation.version);
        Self { freeswitch, connections, next: AtomicUsize::new(0), name }
    }

    /// Ends it and gives its exit code.
    pub fn shutdown(self) -> i32 {
        drop(self.connections);
        self.freeswitch.shutdown()
    }
}

impl Switch for Real {
    fn name(&self) -> &str {
        &self.name
    }

    fn pid(&self) -> u32 {
        self.freeswitch.pid()
    }

    fn api(&self, command: &str) -> String {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % CONNECTIONS].api(command)
    }

    fn place(&self) -> String {
        let uuid = self.freeswitch.new_uuid();
        let answer = self.api(&format!("originate {{origination_uuid={uuid}}}null/x &park()"));
        assert!(answer.starts_with("+OK"), "a call was refused: {answer}");
        uuid
    }

    fn kill(&self, uuid: &str) {
        self.api(&format!("uuid_kill {uuid}"));
    }

    fn phone(&self) -> Box<dyn Phone + '_> {
        let call = SipCall::place(&self.freeswitch, &Dial::to("park"));
        Box::new(RealPhone { freeswitch: &self.freeswitch, call })
    }

    fn calls(&self) -> usize {
        self.freeswitch.channels()
    }

    fn keeps_nothing_of_a_call(&self) -> bool {
        true
    }

    fn forget(&self) {}
}

struct RealPhone<'f> {
    freeswitch: &'f FreeSwitch,
    call: SipCall,
}

impl RealPhone<'_> {
    fn file(&self) -> PathBuf {
        self.freeswitch.folder.join(format!("recordings/witness-{}.wav", self.call.uuid))
    }
}

impl Phone for RealPhone<'_> {
    fn uuid(&self) -> &str {
        &self.call.uuid
    }

    fn say(&self, samples: &[i16]) {
        self.call.phone.say(samples);
    }

    fn said(&self) -> u64 {
        self.call.phone.said_count() as u64
    }

    fn heard(&self) -> Vec<i16> {
        self.call.phone.heard().samples
    }

    fn disordered(&self) -> usize {
        self.call.phone.heard().disordered
    }

    fn lost(&self) -> u64 {
        self.freeswitch.packets_lost(&self.call.uuid)
    }

    fn witness(&self) {
        self.freeswitch.ok(&format!("uuid_setvar {} RECORD_READ_ONLY true", self.call.uuid));
        self.freeswitch.ok(&format!("uuid_record {} start {}", self.call.uuid, self.file().display()));
    }

    fn delivered(&self) -> Option<Vec<i16>> {
        let file = self.file();
        self.freeswitch.api(&format!("uuid_record {} stop {}", self.call.uuid, file.display()));
        let mut noted = wav::read(&file);
        // The recorder's thread finishes the file.
        eventually(Duration::from_secs(5), || {
            noted = wav::read(&file);
            noted.is_ok()
        });
        let _ = std::fs::remove_file(&file);
        Some(noted.unwrap_or_else(|error| panic!("{}: {error}", file.display())).channel(0))
    }

    fn hang_up(&self) {
        self.call.hang_up();
    }
}

/// The stand-in, in this process.
pub struct StandIn<'h> {
    host: &'h Host,
    placed: Mutex<HashMap<String, Call<'h>>>,
    phones: AtomicUsize,
}

impl<'h> StandIn<'h> {
    /// Loads the module.
    pub fn load(host: &'h Host, module: &Path) -> Self {
        host.load_module_at(module, MODULE).unwrap_or_else(|error| panic!("the module was not loaded: {error}"));
        host.set_log_level(crate::host::level::WARNING);
        Self { host, placed: Mutex::default(), phones: AtomicUsize::new(0) }
    }
}

impl Switch for StandIn<'_> {
    fn name(&self) -> &str {
        "the stand-in FreeSWITCH"
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn api(&self, command: &str) -> String {
        self.host.api(command)
    }

    fn place(&self) -> String {
        let call = self.host.call(CallOptions::default());
        let uuid = call.uuid().to_owned();
        self.placed.lock().insert(uuid.clone(), call);
        uuid
    }

    fn kill(&self, uuid: &str) {
        let call = self.placed.lock().remove(uuid);
        drop(call);
    }

    fn phone(&self) -> Box<dyn Phone + '_> {
        self.phones.fetch_add(1, Ordering::Relaxed);
        let call = self.host.call(CallOptions { kind: CallKind::Playing, ..CallOptions::default() });
        Box::new(StandInPhone { call, phones: &self.phones })
    }

    fn calls(&self) -> usize {
        self.placed.lock().len() + self.phones.load(Ordering::Relaxed)
    }

    fn keeps_nothing_of_a_call(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.host.forget_records();
    }
}

struct StandInPhone<'h> {
    call: Call<'h>,
    phones: &'h AtomicUsize,
}

impl Phone for StandInPhone<'_> {
    fn uuid(&self) -> &str {
        self.call.uuid()
    }

    fn say(&self, samples: &[i16]) {
        self.call.speak(samples);
    }

    fn said(&self) -> u64 {
        self.call.frames_read()
    }

    fn heard(&self) -> Vec<i16> {
        self.call.heard()
    }

    fn disordered(&self) -> usize {
        0
    }

    fn lost(&self) -> u64 {
        0
    }

    fn witness(&self) {}

    fn delivered(&self) -> Option<Vec<i16>> {
        None
    }

    fn hang_up(&self) {
        self.call.hangup();
        self.call.wait_ended();
        self.phones.fetch_sub(1, Ordering::Relaxed);
    }
}
