//! Whether a node is being emptied, kept in its data directory: a drain lasts until it is undone, however
//! often the node starts meanwhile.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// A file that is there while the node is being emptied.
#[derive(Debug, Clone)]
pub struct DrainMark {
    file: PathBuf,
}

impl DrainMark {
    /// That of the node with this data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { file: data_dir.join("draining") }
    }

    /// Whether the node is being emptied.
    ///
    /// # Errors
    /// When the data directory cannot be looked at.
    pub fn is_set(&self) -> io::Result<bool> {
        self.file.try_exists()
    }

    /// Makes it so, durably; a repeat changes nothing. Blocks.
    ///
    /// # Errors
    /// When the data directory cannot be written to. It may be so or not.
    pub fn set(&self, on: bool) -> io::Result<()> {
        if on {
            File::create(&self.file)?.sync_all()?;
        } else if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        match self.file.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_it_is_undone_and_repeats_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mark = || DrainMark::new(dir.path());
        assert!(!mark().is_set().unwrap());
        for on in [true, true, false, false, true] {
            mark().set(on).unwrap();
            assert_eq!(mark().is_set().unwrap(), on);
        }
        assert!(DrainMark::new(&dir.path().join("none")).set(true).is_err());
    }
}
