//! What is measured: a store for the logs of many groups, as consensus uses one.

use std::{ops::Range, path::Path};

use bytes::Bytes;

/// What a log store is asked to do for one group.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Entries from this index on.
    Append { first: u64, entries: Vec<Bytes> },
    /// The vote, by its term.
    Vote(u64),
    /// Entries up to this index are not needed any more.
    Purge(u64),
}

/// A store on disk.
pub(crate) trait Store: Sized + Send + Sync + 'static {
    /// For people.
    const NAME: &'static str;

    /// Opens the directory with what a process left there, or begins it with `groups` empty logs.
    fn open(dir: &Path, groups: u64) -> Self;

    /// Does something for one group. It is durable when the future resolves, but for a purge, which
    /// need only be on its way.
    fn change(&self, group: u64, change: Change) -> impl Future<Output = ()> + Send;

    /// The indexes that are there.
    fn indexes(&self, group: u64) -> Range<u64>;

    /// The term last voted in, 0 for none.
    fn vote(&self, group: u64) -> u64;

    /// Every entry of a group, in order.
    fn read(&self, group: u64, each: impl FnMut(u64, &[u8]));
}

/// The bytes of all files below a folder, as the disk counts them.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    // A file may be gone before it is looked at.
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
        Ok(about) => about.blocks() * 512,
        Err(_gone) => 0,
    });
    sizes.sum()
}

/// How often a copy is begun again because a file was gone before it was copied.
const COPIES_MAX: usize = 100;

/// Copies all files of a store that is open: what a killed process would leave, as long as nothing
/// is written meanwhile. A store that tidies up in the background is copied again until no file
/// vanished under the copy.
pub(crate) fn copy(from: &Path, to: &Path) {
    for _ in 0..COPIES_MAX {
        match try_copy(from, to) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(to).unwrap();
            }
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
    panic!("{} does not come to rest", from.display());
}

fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            try_copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
