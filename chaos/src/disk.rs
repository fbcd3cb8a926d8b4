//! A disk that is slow or fails on demand.

use std::{io, sync::Arc, time::Instant};

use hexpop_raft::{Disk, DiskFile};

use crate::{
    registry::{Registry, Target},
    rule::{Effect, Hook},
};

/// A [`Disk`] whose writes and flushes ask the registry first.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    registry: Arc<Registry>,
}

impl FaultyDisk {
    /// Wraps a disk.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, registry: Arc<Registry>) -> Self {
        Self { inner, registry }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, create)?;
        Ok(Arc::new(FaultyFile { inner, registry: Arc::clone(&self.registry) }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    registry: Arc<Registry>,
}

impl FaultyFile {
    fn suffer(&self, hook: Hook) -> io::Result<()> {
        if !self.registry.is_armed() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "the disk's own thread stalls in real time")]
        let now = Instant::now();
        match self.registry.decide(hook, Target::default(), now) {
            None => Ok(()),
            Some(decision) if decision.effect == Effect::Delay => {
                // Only the log's writer thread is here: a stalled disk stalls whoever writes to it.
                std::thread::sleep(decision.delay);
                Ok(())
            }
            Some(_) => Err(io::Error::other("a fault rule says that the disk fails")),
        }
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.suffer(Hook::DiskAppend)?;
        self.inner.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.suffer(Hook::DiskFlush)?;
        self.inner.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hexpop_raft::FsDisk;

    use super::*;

    #[test]
    fn a_flush_fails_while_a_rule_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new(Duration::from_secs(60)));
        let disk = FaultyDisk::new(
            Arc::new(FsDisk::open(dir.path().join("data")).unwrap()),
            Arc::clone(&registry),
        );
        let file = disk.open("segment", true).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync_data().unwrap();
        let rule = r#"{"where":"disk-flush","what":"error","ttl":"1m"}"#;
        #[expect(clippy::disallowed_methods, reason = "the decorator reads the real clock")]
        registry.add(serde_json::from_str(rule).unwrap(), Instant::now()).unwrap();
        file.write_at(1, b"y").unwrap();
        assert!(file.sync_data().is_err());
        registry.clear();
        file.sync_data().unwrap();
    }
}
