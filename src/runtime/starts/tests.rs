//! Starts that wait for a disk or panic, beside others.

#![allow(clippy::panic, clippy::unwrap_used)]

use super::super::record::tests::Refusing;
use super::*;
use crate::record::RecordRegistry;

/// What became of the starts, by their names; those of some names meet trouble.
#[derive(Default)]
struct Told {
    words: Mutex<Vec<String>>,
    /// Whether the disk of the recording "slow" answers.
    answers: Mutex<bool>,
    answered: Condvar,
    changed: Condvar,
}

impl Told {
    fn say(&self, word: String) {
        self.words.lock().push(word);
        self.changed.notify_all();
    }

    fn wait_for(&self, word: &str) {
        let mut words = self.words.lock();
        while !words.iter().any(|said| said == word) {
            let waited = self.changed.wait_for(&mut words, Duration::from_secs(30));
            assert!(!waited.timed_out(), "nobody says '{word}', but {words:?}");
        }
    }
}

impl Starter for Arc<Told> {
    fn attempt(&self, call: &dyn Call, start: Start) -> Tried {
        let Start::Recording(target, name) = start else { panic!("a stream") };
        assert!(name.key().1.as_str() != "panics", "on purpose");
        match target {
            Target::Path(path) => Tried::NoFile(path, call.audio().unwrap().0.rate, name),
            Target::File(file) => {
                drop(file.keep());
                self.say(format!("{} is attached", name.key().1));
                Tried::Attached(None)
            }
        }
    }

    fn work(&self, call: &CallId, work: Work) {
        let (told, slow) = (self.clone(), call.as_str() == "slow");
        std::thread::spawn(move || {
            let mut answers = told.answers.lock();
            while slow && !*answers {
                told.answered.wait(&mut answers);
            }
            drop(answers);
            work();
        });
    }

    fn attached(&self, _call: Option<&dyn Call>) {
        panic!("on purpose");
    }

    fn stop_attached(&self, _waiting: &Waiting, _stream: Option<&Arc<StreamHandle>>) {}

    fn stopped(&self, waiting: &Arc<Waiting>, _call: Option<&dyn Call>) {
        self.say(format!("{} is stopped", waiting.name()));
    }

    fn give_up(&self, waiting: &Arc<Waiting>, _call: Option<&dyn Call>, _code: Option<ErrorCode>, reason: &str) {
        self.say(format!("{} is given up: {reason}", waiting.name()));
    }
}

struct Scene {
    folder: PathBuf,
    registry: Arc<RecordRegistry>,
    starts: Starts,
    told: Arc<Told>,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mas-starts-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (starts, told) = (Starts::default(), Arc::new(Told::default()));
        starts.run(Arc::downgrade(&told), Arc::new(Refusing)).unwrap();
        Self { folder, registry: Arc::default(), starts, told }
    }

    /// A recording of a call of the same name is to begin.
    fn record(&self, name: &str, file: &str) -> (CallId, StreamName) {
        let (call, name) = (CallId::new(name), name.parse::<StreamName>().unwrap());
        let reservation = self.registry.reserve(&call, &name).unwrap();
        let waiting = Waiting::new(reservation.id, call.clone(), name.clone(), None);
        let start = Start::Recording(Target::Path(self.folder.join(file)), reservation);
        self.starts.add(waiting, start, Duration::from_secs(60)).unwrap();
        (call, name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.starts.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_disk_that_hangs_holds_up_one_waiting_recording() {
    let scene = Scene::new("slow");
    let (call, name) = scene.record("slow", "slow.wav");
    scene.record("quick", "quick.wav");
    scene.told.wait_for("quick is attached");
    // Meanwhile it can be stopped, which is done once the disk answers.
    let (_, idle) = scene.starts.take(Kind::Recording, &call, &name).unwrap();
    assert!(!idle && scene.starts.get(Kind::Recording, &call, &name).is_none());
    *scene.told.answers.lock() = true;
    scene.told.answered.notify_all();
    scene.told.wait_for("slow is stopped");
    let made = std::fs::read_dir(&scene.folder).unwrap().map(|file| file.unwrap().file_name());
    // The file is taken back on another thread.
    let made: Vec<_> = made.filter(|file| file != "slow.wav").collect();
    assert_eq!(made, ["quick.wav"]);
    while scene.folder.join("slow.wav").exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_start_that_panics_costs_no_other() {
    let scene = Scene::new("panics");
    scene.record("panics", "a.wav");
    scene.told.wait_for("panics is given up: the start failed inside of the module");
    // The word on each that is attached panics.
    for name in ["one", "other"] {
        scene.record(name, &format!("{name}.wav"));
        scene.told.wait_for(&format!("{name} is attached"));
    }
    scene.record("lost", "no/such.wav");
    let folder = scene.folder.join("no");
    let why = format!("lost is given up: there is no folder {}; create it, or choose another", folder.display());
    scene.told.wait_for(&why);
    while scene.starts.count() > 0 {
        std::thread::yield_now();
    }
}
