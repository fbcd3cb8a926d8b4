//! Files of one directory, as the disk tier needs them: a trait, so that tests can have them fail.

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file that is read and written at places. All calls block.
pub(crate) trait File: Send + Sync {
    /// Writes all of these bytes.
    ///
    /// # Errors
    /// Of the file system; some of them may be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file is shorter; those of the file system.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Has what is written reach the disk.
    ///
    /// # Errors
    /// Of the file system.
    fn sync(&self) -> io::Result<()>;
}

/// The files of one directory. All calls block.
pub(crate) trait Files: Send + Sync {
    /// Their names and lengths.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// A new one, in place of one of that name.
    ///
    /// # Errors
    /// Of the file system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// One that is there.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Removes one.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts a short one in place of another, all of it or nothing, on disk when this returns.
    ///
    /// # Errors
    /// Of the file system; the other is there still.
    fn replace(&self, name: &str, contents: &[u8]) -> io::Result<()>;
}

/// Those of a directory of the file system.
#[derive(Debug)]
pub(crate) struct FsFiles(PathBuf);

impl FsFiles {
    /// Those of a directory, which is made.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self(dir.to_owned()))
    }
}

impl Files for FsFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                found.push((name, about.len()));
            }
        }
        Ok(found)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::options().read(true).write(true).open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn replace(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (file, aside) = (self.0.join(name), self.0.join(format!("{name}.tmp")));
        fs::write(&aside, contents)?;
        fs::File::open(&aside)?.sync_all()?;
        fs::rename(&aside, &file)?;
        fs::File::open(&self.0)?.sync_all()
    }
}

impl File for fs::File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// No files at all: of a tier that is off.
#[derive(Debug)]
pub(crate) struct NoFiles;

impl NoFiles {
    fn none<T>() -> io::Result<T> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Files for NoFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Self::none()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        Self::none()
    }

    fn open(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        Self::none()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Self::none()
    }

    fn replace(&self, _name: &str, _contents: &[u8]) -> io::Result<()> {
        Self::none()
    }
}
