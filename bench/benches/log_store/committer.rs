//! Group commit for stores that have transactions: one thread makes one durable transaction of all
//! that waits, and tells.

use std::{sync::Arc, thread};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::store::Change;

/// A store that takes a batch and is durable when it returns.
pub(crate) trait Backend: Send + 'static {
    fn commit(&mut self, batch: &[(u64, Change)]);
}

/// The thread, and the way to it.
pub(crate) struct Committer {
    queue: Arc<(Mutex<Queue>, Condvar)>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    changes: Vec<(u64, Change)>,
    waiting: Vec<oneshot::Sender<()>>,
    over: bool,
}

impl Committer {
    pub(crate) fn new(mut backend: impl Backend) -> Self {
        let queue = Arc::<(Mutex<Queue>, Condvar)>::default();
        let taken = queue.clone();
        let thread = thread::spawn(move || {
            while let Some((changes, waiting)) = take(&taken) {
                backend.commit(&changes);
                for done in waiting {
                    // A writer that was told to stop may be gone.
                    let _gone = done.send(());
                }
            }
        });
        Self { queue, thread: Some(thread) }
    }

    /// It is durable when the future resolves; a purge is not waited for.
    pub(crate) async fn change(&self, group: u64, change: Change) {
        let waits = !matches!(change, Change::Purge(_));
        let (sender, durable) = oneshot::channel();
        {
            let (queue, work) = &*self.queue;
            let mut queue = queue.lock();
            queue.changes.push((group, change));
            if waits {
                queue.waiting.push(sender);
            }
            work.notify_one();
        }
        if waits {
            durable.await.unwrap();
        }
    }
}

/// What is to be done, and who waits for it.
type Taken = (Vec<(u64, Change)>, Vec<oneshot::Sender<()>>);

/// All that waits, once something does; `None` when it is over.
fn take(queue: &(Mutex<Queue>, Condvar)) -> Option<Taken> {
    let (queue, work) = queue;
    let mut queue = queue.lock();
    while queue.changes.is_empty() {
        if queue.over {
            return None;
        }
        work.wait(&mut queue);
    }
    Some((std::mem::take(&mut queue.changes), std::mem::take(&mut queue.waiting)))
}

impl Drop for Committer {
    fn drop(&mut self) {
        let (queue, work) = &*self.queue;
        queue.lock().over = true;
        work.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
