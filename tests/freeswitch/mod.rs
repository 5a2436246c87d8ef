//! The harness around a real FreeSWITCH: finds it, starts it with a configuration of ours, calls it, listens.
//!
//! One FreeSWITCH of each installation serves all cases of a test binary, one case at a time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bots;
pub mod config;
pub mod esl;
pub mod installation;
pub mod process;
pub mod rtp;
pub mod server;
pub mod sip;
pub mod stream;

use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use parking_lot::Mutex;

use installation::Installation;
use server::{FreeSwitch, Launch};

static RUNNING: Mutex<Vec<FreeSwitch>> = Mutex::new(Vec::new());

/// Runs `case` in each installed FreeSWITCH, with the module loaded and no calls left over; says so and passes where
/// there is none. When the case fails the log of that time is printed, and the next case gets a fresh FreeSWITCH.
pub fn in_freeswitch(case: impl Fn(&FreeSwitch)) {
    in_each(|installation| {
        let mut running = RUNNING.lock();
        let index = running.iter().position(|one| one.installation.binary == installation.binary);
        let mut freeswitch = match index {
            Some(index) => running.swap_remove(index),
            None => FreeSwitch::start(installation, Launch::default()),
        };
        freeswitch.mark_log();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if !freeswitch.loaded() {
                freeswitch.load();
            }
            case(&freeswitch);
            assert!(freeswitch.alive(), "FreeSWITCH has died");
            freeswitch.hang_up_all();
        }));
        match outcome {
            Ok(()) => running.push(freeswitch),
            Err(panic) => {
                let _ = writeln!(stderr(), "in FreeSWITCH {}:\n{}", installation.version, freeswitch.last_words());
                resume_unwind(panic);
            }
        }
    });
}

/// Runs `case` in each installation with a FreeSWITCH of its own, started as `launch` says.
pub fn in_fresh_freeswitch(launch: Launch, case: impl Fn(FreeSwitch)) {
    in_each(|installation| {
        // Two at a time would disturb each other's timing.
        let _alone = RUNNING.lock();
        case(FreeSwitch::start(installation, launch));
    });
}

fn in_each(mut case: impl FnMut(&Installation)) {
    let installations = installation::installations();
    if installations.is_empty() {
        installation::skip("there is no FreeSWITCH here (set FREESWITCH_PREFIX to where it is installed)");
    }
    installations.iter().for_each(&mut case);
}
