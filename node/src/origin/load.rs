//! Filling the platform at the start, from files or from a seed.

use std::path::PathBuf;

use bytes::Bytes;
use hexpop_bench::dataset::{
    Generator,
    files::{self, LineError},
};
use tokio_util::sync::CancellationToken;

use super::{error::Error, platform::Platform, record::Record};

/// How many bad lines are logged one by one.
const REPORTS_MAX: u64 = 20;

/// Where the listings come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files of newline-delimited JSON, plain or gzipped.
    Files(Vec<PathBuf>),
    /// Made from a seed.
    Synthetic {
        /// The seed.
        seed: u64,
        /// How many.
        listings: u64,
    },
}

/// What was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Lines that are listings; repeated ids count.
    pub accepted: u64,
    /// Lines that are not; each of the first ones is logged with the reason.
    pub rejected: u64,
}

impl Platform {
    /// Takes in all listings of `source`. Blocks; ends early, without an error, once `stop` is
    /// cancelled.
    ///
    /// # Errors
    /// When a file cannot be opened or read to its end. Bad lines are no error.
    pub fn load(&self, source: &Source, stop: &CancellationToken) -> Result<Loaded, Error> {
        let mut loaded = Loaded::default();
        match source {
            Source::Synthetic { seed, listings } => {
                for (number, body) in (1..).zip(Generator::new(*seed, *listings).json()) {
                    if stop.is_cancelled() {
                        break;
                    }
                    self.load_line("synthetic listings", number, body, &mut loaded);
                }
            }
            Source::Files(paths) => {
                for path in paths {
                    let name = path.display().to_string();
                    let lines = files::open_lines(path)
                        .map_err(|source| Error::Open { path: path.clone(), source })?;
                    for line in lines {
                        if stop.is_cancelled() {
                            return Ok(loaded);
                        }
                        match line {
                            Ok((number, body)) => {
                                self.load_line(&name, number, body, &mut loaded);
                            }
                            Err(error @ LineError::TooLong { .. }) => {
                                report(&error, &mut loaded);
                            }
                            Err(error @ LineError::Read { .. }) => return Err(error.into()),
                        }
                    }
                }
            }
        }
        Ok(loaded)
    }

    fn load_line(&self, file: &str, number: u64, body: Vec<u8>, loaded: &mut Loaded) {
        match Record::parse(Bytes::from(body)) {
            Ok(parsed) => {
                self.store.write().load(parsed);
                loaded.accepted += 1;
            }
            Err(error) => report(&format!("{file}, line {number}: {error}"), loaded),
        }
    }
}

fn report(problem: &impl std::fmt::Display, loaded: &mut Loaded) {
    loaded.rejected += 1;
    if loaded.rejected <= REPORTS_MAX {
        tracing::warn!(%problem, "a line is no listing and was left out");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::origin::{Faults, Limits};

    fn platform() -> Platform {
        Platform::new(Limits::default(), Faults::default(), jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn bad_lines_do_not_stop_the_others() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (n, body) in Generator::new(1, 20).json().enumerate() {
            let body = if n == 7 { b"{\"id\":1}".to_vec() } else { body };
            file.write_all(&body).unwrap();
            file.write_all(b"\n").unwrap();
        }
        file.flush().unwrap();
        let platform = platform();
        let source = Source::Files(vec![file.path().to_owned()]);
        let loaded = platform.load(&source, &CancellationToken::new()).unwrap();
        assert_eq!(loaded, Loaded { accepted: 19, rejected: 1 });
        assert_eq!(platform.listings(), 19);
        let missing = Source::Files(vec!["no-such-file".into()]);
        let error = platform.load(&missing, &CancellationToken::new()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read no-such-file: "));
    }

    #[test]
    fn real_files_are_taken_in_whole() {
        let Ok(folder) = std::env::var("HEXPOP_TEST_DATA") else { return };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(PathBuf::from(folder).join("listings"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let platform = platform();
        let loaded = platform.load(&Source::Files(paths), &CancellationToken::new()).unwrap();
        assert_eq!(loaded.rejected, 0);
        assert_eq!(loaded.accepted, platform.listings() as u64);
    }
}
