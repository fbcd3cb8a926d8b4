//! The port to a data directory, and its production side over `std::fs`.
//!
//! The calls are synchronous and positional, so that a simulated disk can be a plain map, and a
//! decorator around [`Disk`] and [`DiskFile`] can delay or fail any of them.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// One flat directory of files that belongs to one process.
///
/// What a call changed in the directory (a file created, renamed or removed) survives a crash only
/// after [`sync_dir`](Self::sync_dir); what it changed in a file, only after
/// [`DiskFile::sync_data`].
pub trait Disk: fmt::Debug + Send + Sync {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Whatever the directory answers.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing; `create` makes it, empty, and fails if it is there.
    ///
    /// # Errors
    /// `NotFound` or `AlreadyExists`, and whatever the directory answers.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; handles that are open stay readable.
    ///
    /// # Errors
    /// `NotFound`, and whatever the directory answers.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, atomically replacing what had it.
    ///
    /// # Errors
    /// `NotFound`, and whatever the directory answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// Whatever the directory answers; what is durable is then unknown.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file of a [`Disk`].
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Its size in bytes.
    ///
    /// # Errors
    /// Whatever the file answers.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, and whatever the file answers.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if need be.
    ///
    /// # Errors
    /// Whatever the file answers; any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable, with as much metadata as reading it back needs
    /// (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the file answers; what is durable is then unknown, and a second call proves nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// A [`Disk`] over a directory of the operating system, locked against other processes.
#[derive(Debug)]
pub struct FsDisk {
    dir: PathBuf,
    /// The directory itself, for `fsync`.
    handle: File,
    /// Held for the lifetime of the value; the lock goes with the process.
    _lock: File,
}

impl FsDisk {
    /// The file whose lock says that a process uses the directory.
    const LOCK: &str = "lock";

    /// Opens `dir`, creating it if need be.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it open; whatever the operating system answers.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let handle = File::open(&dir)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(Self::LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, handle, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is in use by another process", dir.display()),
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Disk for FsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != Self::LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .open(self.dir.join(name))?;
        Ok(Arc::new(FsFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

#[derive(Debug)]
struct FsFile(File);

impl DiskFile for FsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
