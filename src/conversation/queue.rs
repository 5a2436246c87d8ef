//! The queue of what a state machine has to say: filled by an input, emptied before the next.
//!
//! Pure; owned by an engine, the agent or the driver. Nothing is lost: it holds the outputs of one input.

use std::collections::VecDeque;

/// Of an empty queue no more room is kept.
const KEPT: usize = 32;

/// The oldest of `queue`. An empty one gives back the memory of a burst, which a quiet call would keep to its end.
pub(super) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let oldest = queue.pop_front();
    if oldest.is_none() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_gives_back_the_memory_of_a_burst() {
        let mut queue: VecDeque<_> = (0..1_000).collect();
        assert!((0..1_000).all(|number| pop(&mut queue) == Some(number)) && queue.capacity() >= 1_000);
        assert_eq!((pop(&mut queue), queue.capacity()), (None, 0));
        queue.push_back(1);
        let capacity = queue.capacity();
        assert_eq!((pop(&mut queue), pop(&mut queue), queue.capacity()), (Some(1), None, capacity));
    }
}
