//! What runs the writer: a thread in production, a task in simulation.

use std::{io, thread};

use openraft::AsyncRuntime;

use super::{Wal, WalError, WalHandle, Work};

/// The dedicated thread that writes and flushes; parked while there is nothing to do.
///
/// Dropping it closes the log and waits until what was queued is flushed.
#[derive(Debug)]
pub struct WriterThread {
    handle: WalHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl WriterThread {
    /// Starts it.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn spawn(mut wal: Wal) -> io::Result<Self> {
        let handle = wal.handle();
        let thread = thread::Builder::new().name("wal".to_owned()).spawn(move || {
            while wal.wait() != Work::Over {
                // A failure is known to every handle, and makes the next answer `Over`.
                drop(wal.step());
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// A handle to the log.
    #[must_use]
    pub fn handle(&self) -> WalHandle {
        self.handle.clone()
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has closed the log too; there is nobody to tell here.
            drop(thread.join());
        }
    }
}

/// Writes and flushes in a task, until the log is closed or fails. Its calls of the disk block, so
/// this is for simulated disks.
///
/// # Errors
/// What made the log fail.
pub async fn drive<R: AsyncRuntime>(mut wal: Wal) -> Result<(), WalError> {
    let linger = wal.handle().options().linger;
    loop {
        match wal.work() {
            Work::Over => return wal.step(),
            Work::Now => wal.step()?,
            Work::Linger => {
                // Woken, it looks again: there is company, or the notice was an old one.
                if R::timeout(linger, wal.woken()).await.is_err() {
                    wal.step()?;
                }
            }
            Work::Idle => wal.woken().await,
        }
    }
}
