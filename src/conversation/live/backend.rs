//! Tasks that the model hands on, and the functions that they call.
//!
//! ```text
//! delegation ─► second model ─ calls ─► results ─ all there, and its response over ─► response.create ─► … ─► its answer, spoken
//! delegation ─► the operator's function `delegate` ─► its result, spoken
//! ```
//! Pure; one for each connection. Bounded: [`MOST_TASKS`] tasks and [`MOST_CALLS`] calls are known, the oldest go.

use std::collections::VecDeque;

/// Tasks under way.
const MOST_TASKS: usize = 16;
/// Calls that are known again.
const MOST_CALLS: usize = 64;
/// What was said since the last task, for the operator's function, bytes.
const MOST_TALK: usize = 16 << 10;

/// A task of the second model.
#[derive(Debug)]
struct Task {
    id: String,
    /// Calls without a result.
    calls: Vec<String>,
    called: bool,
    /// Its response is over.
    over: bool,
}

/// What has become of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    /// Nobody here has asked for it.
    Unknown,
    /// A function of the second model's; `goes_on`: it is to go on now.
    Backend { goes_on: bool },
    /// A task of the operator's.
    Operator,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tasks {
    tasks: VecDeque<Task>,
    /// Calls that were reported.
    called: VecDeque<String>,
    /// Tasks of the operator's without a result.
    operator: VecDeque<String>,
    /// What was said since the last of them: whether by the caller, and the words.
    talk: VecDeque<(bool, String)>,
}

fn remember(known: &mut VecDeque<String>, id: &str) -> bool {
    if known.iter().any(|known| known == id) {
        return false;
    }
    if known.len() == MOST_CALLS {
        known.pop_front();
    }
    known.push_back(id.to_owned());
    true
}

impl Tasks {
    fn task(&mut self, id: &str) -> Option<&mut Task> {
        if !self.tasks.iter().any(|task| task.id == id) {
            if self.tasks.len() == MOST_TASKS {
                self.tasks.pop_front();
            }
            self.tasks.push_back(Task { id: id.to_owned(), calls: Vec::new(), called: false, over: false });
        }
        self.tasks.iter_mut().find(|task| task.id == id)
    }

    /// The second model begins a response for this task.
    pub(super) fn begun(&mut self, task: &str) {
        if let Some(task) = self.task(task) {
            task.over = false;
        }
    }

    /// It calls a function; whether that is news.
    pub(super) fn called(&mut self, task: &str, call_id: &str) -> bool {
        if !remember(&mut self.called, call_id) {
            return false;
        }
        if let Some(task) = self.task(task) {
            (task.called, task.over) = (true, false);
            task.calls.push(call_id.to_owned());
        }
        true
    }

    /// Its response is over; whether it is to go on with the results, which are all there.
    pub(super) fn over(&mut self, task: &str) -> bool {
        if let Some(task) = self.task(task) {
            task.over = true;
        }
        self.goes_on(task)
    }

    /// Whether a task has all of its results. One that has called nothing is done.
    fn goes_on(&mut self, id: &str) -> bool {
        let Some(at) = self.tasks.iter().position(|task| task.id == id && task.over && task.calls.is_empty()) else {
            return false;
        };
        self.tasks.remove(at).is_some_and(|task| task.called)
    }

    /// Whether anything is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Somebody has said something.
    pub(super) fn said(&mut self, by_caller: bool, words: &str) {
        match self.talk.back_mut() {
            Some((last, text)) if *last == by_caller => text.push_str(words),
            _ => self.talk.push_back((by_caller, words.to_owned())),
        }
        let mut bytes: usize = self.talk.iter().map(|(_, text)| text.len()).sum();
        while bytes > MOST_TALK {
            bytes -= self.talk.pop_front().map_or(bytes, |(_, text)| text.len());
        }
    }

    /// The operator's function gets a task; what was said since the last one, or `None` where it is no news.
    pub(super) fn delegated(&mut self, id: &str) -> Option<Vec<(bool, String)>> {
        remember(&mut self.operator, id).then(|| {
            let words = |(by_caller, text): (bool, String)| (by_caller, text.trim().to_owned());
            self.talk.drain(..).map(words).filter(|(_, text)| !text.is_empty()).collect()
        })
    }

    /// There is the result of a call.
    pub(super) fn given(&mut self, call_id: &str) -> Given {
        if let Some(at) = self.operator.iter().position(|id| id == call_id) {
            self.operator.remove(at);
            return Given::Operator;
        }
        let task = self.tasks.iter_mut().find(|task| task.calls.iter().any(|id| id == call_id));
        let Some(id) = task.map(|task| {
            task.calls.retain(|id| id != call_id);
            task.id.clone()
        }) else {
            return Given::Unknown;
        };
        Given::Backend { goes_on: self.goes_on(&id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_model_goes_on_once_it_has_all_results() {
        let mut tasks = Tasks::default();
        tasks.begun("d1");
        assert!(tasks.called("d1", "c1") && !tasks.called("d1", "c1") && tasks.called("d1", "c2"));
        assert_eq!(tasks.given("c1"), Given::Backend { goes_on: false });
        assert!(!tasks.over("d1"), "a result is missing");
        assert_eq!(tasks.given("c2"), Given::Backend { goes_on: true });
        assert_eq!((tasks.given("c2"), tasks.is_idle()), (Given::Unknown, true));
        // A result may come before the response is over.
        tasks.begun("d1");
        tasks.called("d1", "c3");
        assert_eq!(tasks.given("c3"), Given::Backend { goes_on: false });
        assert!(tasks.over("d1") && tasks.is_idle());
        tasks.begun("d1");
        assert!(!tasks.over("d1") && tasks.is_idle(), "it has called nothing, and is done");
    }

    #[test]
    fn the_operator_gets_what_was_said_since_the_last_task() {
        let mut tasks = Tasks::default();
        for (by_caller, words) in [(true, " Where is"), (true, " it?"), (false, " One moment."), (true, " ")] {
            tasks.said(by_caller, words);
        }
        let talk = [(true, "Where is it?".to_owned()), (false, "One moment.".to_owned())];
        assert_eq!(tasks.delegated("d1").as_deref(), Some(&talk[..]));
        assert_eq!((tasks.delegated("d1"), tasks.delegated("d2")), (None, Some(Vec::new())));
        assert_eq!((tasks.given("d1"), tasks.given("d1")), (Given::Operator, Given::Unknown));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut tasks = Tasks::default();
        for n in 0..1_000 {
            tasks.called(&format!("d{n}"), &format!("c{n}"));
            tasks.delegated(&format!("e{n}"));
            tasks.said(n % 2 == 0, &"word ".repeat(10));
        }
        let talk: usize = tasks.talk.iter().map(|(_, text)| text.len()).sum();
        assert_eq!((tasks.tasks.len(), tasks.called.len(), tasks.operator.len()), (MOST_TASKS, MOST_CALLS, MOST_CALLS));
        assert!(talk <= MOST_TALK, "{talk}");
    }
}
