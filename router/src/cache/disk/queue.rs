//! A bounded queue between tasks, which never wait, and threads, which do.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, u64)>,
    bytes: u64,
    closed: bool,
}

/// The queue. What does not fit is given back.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items_max: usize,
    bytes_max: u64,
    state: Mutex<State<T>>,
    filled: Condvar,
}

/// What there is for a thread to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// This.
    Item(T),
    /// Nothing came in time.
    Idle,
    /// Nothing comes any more.
    Closed,
}

impl<T> Queue<T> {
    /// An empty one, of so many items and bytes at most.
    pub(crate) fn new(items_max: usize, bytes_max: u64) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self { items_max, bytes_max, state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Adds an item that holds so many bytes. Answers whether it did.
    pub(crate) fn push(&self, item: T, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let after = state.bytes.saturating_add(bytes);
        // One that is larger than all may be is taken where it is the only one.
        let fits = after <= self.bytes_max || state.items.is_empty();
        if state.closed || state.items.len() >= self.items_max || !fits {
            return false;
        }
        state.bytes = after;
        state.items.push_back((item, bytes));
        drop(state);
        self.filled.notify_one();
        true
    }

    /// The next item; waits for it for so long.
    pub(crate) fn pop(&self, within: Duration) -> Next<T> {
        let mut state = self.state.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_front() {
                state.bytes = state.bytes.saturating_sub(bytes);
                return Next::Item(item);
            }
            if state.closed {
                return Next::Closed;
            }
            if self.filled.wait_for(&mut state, within).timed_out() && state.items.is_empty() {
                return if state.closed { Next::Closed } else { Next::Idle };
            }
        }
    }

    /// Takes nothing any more; what is in it is still given out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Takes out all that is in it.
    pub(crate) fn clear(&self) {
        let taken = {
            let mut state = self.state.lock();
            state.bytes = 0;
            std::mem::take(&mut state.items)
        };
        drop(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let queue = Queue::new(2, 10);
        assert!(queue.push(1, 100), "alone, whatever its size");
        assert!(!queue.push(2, 1));
        assert_eq!(queue.pop(Duration::ZERO), Next::Item(1));
        assert!(queue.push(2, 5) && queue.push(3, 5));
        assert!(!queue.push(4, 0), "two at most");
        queue.close();
        assert!(!queue.push(5, 0));
        assert_eq!(queue.pop(Duration::ZERO), Next::Item(2));
        assert_eq!(queue.pop(Duration::ZERO), Next::Item(3));
        assert_eq!(queue.pop(Duration::ZERO), Next::Closed);
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let queue = Queue::new(1, 1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.pop(Duration::from_secs(60)));
            assert!(queue.push(7, 1));
            assert_eq!(waits.join().unwrap(), Next::Item(7));
        });
        assert_eq!(queue.pop(Duration::ZERO), Next::Idle);
        assert!(queue.push(8, 1));
        queue.clear();
        assert_eq!(queue.pop(Duration::ZERO), Next::Idle);
    }
}
