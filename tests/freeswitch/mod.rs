//! The harness around a real FreeSWITCH: finds it, starts it with a configuration of ours, calls it, listens.
//!
//! A case has a FreeSWITCH of each installation for itself, which later cases use again. One FreeSWITCH runs a case at a
//! time; with `FREESWITCH_JOBS=<n>` and as many test threads up to `n` do, of whatever installations and cases.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod balancer;
pub mod bots;
pub mod callee;
pub mod codec;
pub mod config;
pub mod disk;
pub mod esl;
pub mod installation;
pub mod opus;
pub mod process;
pub mod rtp;
pub mod server;
pub mod sip;
pub mod staircase;
pub mod stream;

use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use parking_lot::{Condvar, Mutex};

use balancer::Balancer;
use installation::Installation;
use server::{FreeSwitch, Launch};

/// FreeSWITCHes without a case.
static IDLE: Mutex<Vec<FreeSwitch>> = Mutex::new(Vec::new());
static LANES: Lanes = Lanes { taken: Mutex::new(0), left: Condvar::new() };

/// Runs `case` in each installed FreeSWITCH, with the module loaded and no calls left over; says so and passes where
/// there is none. When the case fails the log of that time is printed, and the next case gets a fresh FreeSWITCH.
pub fn in_freeswitch(case: impl Fn(&FreeSwitch) + Sync) {
    let installations = installed();
    thread::scope(|scope| {
        // Named as the test is: a panic's message tells it.
        let name = thread::current().name().unwrap_or("a case").to_owned();
        let run = |installation| in_one(installation, &case);
        let start =
            |installation| thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || run(installation));
        let cases: Vec<_> = installations.iter().map(|installation| start(installation).expect("a thread")).collect();
        let outcomes: Vec<_> = cases.into_iter().map(thread::ScopedJoinHandle::join).collect();
        if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
            resume_unwind(panic);
        }
    });
}

fn in_one(installation: &Installation, case: impl Fn(&FreeSwitch)) {
    let _lane = LANES.take(1);
    run_in(installation, case);
}

fn run_in(installation: &Installation, case: impl Fn(&FreeSwitch)) {
    let idle = {
        let mut idle = IDLE.lock();
        let index = idle.iter().position(|one| one.installation.binary == installation.binary);
        index.map(|index| idle.swap_remove(index))
    };
    let mut freeswitch = idle.unwrap_or_else(|| FreeSwitch::start(installation, Launch::default()));
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
        Ok(()) => IDLE.lock().push(freeswitch),
        Err(panic) => {
            let _ = writeln!(stderr(), "in FreeSWITCH {}:\n{}", installation.version, freeswitch.last_words());
            resume_unwind(panic);
        }
    }
}

/// The same with no other case meanwhile, one installation after another: for cases that load the machine.
pub fn in_freeswitch_alone(case: impl Fn(&FreeSwitch)) {
    for installation in installed() {
        let _alone = LANES.take(Lanes::all());
        run_in(&installation, &case);
    }
}

/// Runs `case` in each installation with a FreeSWITCH of its own, started as `launch` says, with no other case meanwhile.
pub fn in_fresh_freeswitch(launch: Launch, case: impl Fn(FreeSwitch)) {
    for installation in installed() {
        let _alone = LANES.take(Lanes::all());
        case(FreeSwitch::start(&installation, launch));
    }
}

/// Runs `case` in each installation with two FreeSWITCHes of its own and a Kamailio in front of them, with no other case meanwhile;
/// says so and passes where there is no Kamailio.
pub fn in_cluster(case: impl Fn([FreeSwitch; 2], &Balancer)) {
    for installation in installed() {
        if !Balancer::is_installed() {
            installation::say_skipped("there is no Kamailio here (Debian's package kamailio)");
            return;
        }
        let _alone = LANES.take(Lanes::all());
        let servers = [(); 2].map(|()| FreeSwitch::start(&installation, Launch::default()));
        let balancer = Balancer::start(&servers.each_ref());
        case(servers, &balancer);
    }
}

/// How many times a case repeats a race: `usual`, or `thorough` where `FREESWITCH_RACES=thorough` says so.
pub fn repetitions(usual: usize, thorough: usize) -> usize {
    if std::env::var("FREESWITCH_RACES").is_ok_and(|value| value == "thorough") { thorough } else { usual }
}

/// All installations; says that the case is skipped where there is none.
fn installed() -> Vec<Installation> {
    let installations = installation::installations();
    if installations.is_empty() {
        installation::skip("there is no FreeSWITCH here (set FREESWITCH_PREFIX to where it is installed)");
    }
    installations
}

/// How many FreeSWITCHes run a case at a time.
struct Lanes {
    taken: Mutex<usize>,
    left: Condvar,
}

/// Lanes that are taken until this is dropped.
struct Taken(usize);

impl Lanes {
    /// `FREESWITCH_JOBS`, else one.
    fn all() -> usize {
        match std::env::var("FREESWITCH_JOBS") {
            Ok(number) => number.parse().ok().filter(|n| *n > 0).expect("FREESWITCH_JOBS is a number from 1 on"),
            Err(_) => 1,
        }
    }

    /// Waits until so many are free.
    fn take(&self, count: usize) -> Taken {
        let mut taken = self.taken.lock();
        self.left.wait_while(&mut taken, |taken| *taken + count > Self::all());
        *taken += count;
        Taken(count)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *LANES.taken.lock() -= self.0;
        LANES.left.notify_all();
    }
}
