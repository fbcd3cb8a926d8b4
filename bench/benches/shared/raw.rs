//! The limit of a disk: a loop that writes and calls `fdatasync`, and does nothing else.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use super::{clock, spread::Spread};

/// A file that is overwritten again and again when it was written to before.
const FILE_BYTES: u64 = 64 << 20;

/// What the loop reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) per_second: f64,
    pub(crate) spread: Spread,
}

/// Writes the entries of `writers` in one piece and flushes once, again and again for `duration`.
/// In a `prepared` file the flush has no new blocks to note down; otherwise the file grows.
pub(crate) fn run(
    dir: &Path,
    writers: usize,
    entry_bytes: usize,
    prepared: bool,
    duration: Duration,
) -> Raw {
    let path = dir.join("raw");
    let file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
    if prepared {
        fill(&file);
    }
    let piece: Vec<u8> = (0..=u8::MAX).cycle().take(writers * entry_bytes).collect();
    let mut offset = 0;
    let mut seconds = Vec::new();
    let started = clock::now();
    while started.elapsed() < duration {
        if prepared && offset + piece.len() as u64 > FILE_BYTES {
            offset = 0;
        }
        let before = clock::now();
        file.write_all_at(&piece, offset).unwrap();
        file.sync_data().unwrap();
        seconds.push(before.elapsed().as_secs_f64());
        offset += piece.len() as u64;
    }
    let per_second = (seconds.len() * writers) as f64 / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).unwrap();
    Raw { per_second, spread: Spread::of(seconds) }
}

fn fill(file: &File) {
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset).unwrap();
    }
    file.sync_all().unwrap();
}
