//! The file of territory keys.
//!
//! ```text
//! # name      labels  key (32 bytes in hexadecimal)
//! 2026-11     *       0f1e2d3c…
//! eu-2026-11  eu      8a9bacbd…
//! ```
//!
//! A key serves the territories whose residency labels are exactly these (`*` = those without; several
//! joined by `+`). The last of its labels wraps, every one opens. To rotate: give all nodes the new line
//! *above* the one in use and start them again, so that all can open what the first of them wraps; then
//! move it below. A key may go when no session is left that is older than the move.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::crypto::{KEY_BYTES, Secret};

/// The most keys in a file.
const KEYS_MAX: usize = 1024;

/// The most bytes of a key's name.
const NAME_BYTES_MAX: usize = 64;

/// What stands for no label.
const NO_LABEL: &str = "*";

/// Why a key file cannot be used. None of the messages shows a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no key.
    #[error("{} line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file has no key.
    #[error("{} has no key", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The territory keys that a node holds.
#[derive(Default)]
pub struct Keyring {
    keys: BTreeMap<String, Secret>,
    /// The key that wraps, by labels.
    newest: BTreeMap<String, String>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.keys()).finish()
    }
}

impl Keyring {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let text = fs::read_to_string(path)
            .map_err(|source| KeyringError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, KeyringError> {
        let mut ring = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            ring.take(line).map_err(|problem| KeyringError::Line {
                path: path.to_owned(),
                line: number,
                problem,
            })?;
        }
        if ring.keys.is_empty() {
            return Err(KeyringError::Empty { path: path.to_owned() });
        }
        Ok(ring)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { return Ok(()) };
        let (Some(labels), Some(key), None) = (words.next(), words.next(), words.next()) else {
            return Err("expected three words: name, labels (or *), key".to_owned());
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
            return Err(format!("a name is 1 to {NAME_BYTES_MAX} of A-Za-z0-9-_."));
        }
        let key = from_hex(key)
            .ok_or_else(|| format!("the key is not {KEY_BYTES} bytes in hexadecimal"))?;
        if self.keys.len() >= KEYS_MAX {
            return Err(format!("a file has at most {KEYS_MAX} keys"));
        }
        if self.keys.insert(name.to_owned(), key).is_some() {
            return Err(format!("there is a key {name} before this one"));
        }
        let labels: Vec<String> = match labels {
            NO_LABEL => Vec::new(),
            labels => labels.split('+').map(str::to_owned).collect(),
        };
        self.newest.insert(scope_of(&labels), name.to_owned());
        Ok(())
    }

    /// The key that wraps for a scope, with its name.
    pub(super) fn wrapping(&self, scope: &str) -> Option<(&str, &Secret)> {
        let name = self.newest.get(scope)?;
        Some((name, self.keys.get(name)?))
    }

    /// A key by its name.
    pub(super) fn get(&self, name: &str) -> Option<&Secret> {
        self.keys.get(name)
    }
}

/// What keys are chosen by: the labels in order, `*` for none.
pub(super) fn scope_of(labels: &[String]) -> String {
    if labels.is_empty() {
        return NO_LABEL.to_owned();
    }
    let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    labels.sort_unstable();
    labels.dedup();
    labels.join("+")
}

/// A line of a key file with a new key.
#[must_use]
pub fn generate(name: &str, labels: &[String]) -> String {
    let key: Secret = rand::random();
    format!("{name} {} {}\n", scope_of(labels), to_hex(&key))
}

fn to_hex(secret: &Secret) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in secret.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Result<Keyring, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.keys");
        fs::write(&path, text).unwrap();
        Keyring::read(&path)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "F"))
    }

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_generated_line_is_read_back_and_the_last_key_of_a_scope_wraps() {
        let text = [
            "# keys\n\n",
            &generate("a", &[]),
            &generate("b", &labels(&["pci", "eu"])),
            &generate("c", &[]),
        ]
        .concat();
        let ring = ring(&text).unwrap();
        assert_eq!(ring.wrapping("*").unwrap().0, "c");
        assert_eq!(ring.wrapping(&scope_of(&labels(&["eu", "pci"]))).unwrap().0, "b");
        assert!(ring.wrapping("eu").is_none());
        assert!(["a", "b", "c"].iter().all(|name| ring.get(name).is_some()));
        assert_ne!(ring.get("a"), ring.get("c"));
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for fill in [0_u8, 1, 0x7f, 0xff] {
            assert_eq!(from_hex(&to_hex(&[fill; 32])), Some([fill; 32]));
        }
        assert_eq!(from_hex(&"0".repeat(62)), None);
        assert_eq!(from_hex(&"+0".repeat(32)), None);
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        assert_eq!(ring("# nothing\n").unwrap_err(), "F has no key");
        let key = to_hex(&[1; 32]);
        for (line, problem) in [
            ("a *".to_owned(), "expected three words: name, labels (or *), key"),
            (format!("a * {key} x"), "expected three words: name, labels (or *), key"),
            (format!("a/b * {key}"), "a name is 1 to 64 of A-Za-z0-9-_."),
            ("a * 0011".to_owned(), "the key is not 32 bytes in hexadecimal"),
            ("a * geheim".to_owned(), "the key is not 32 bytes in hexadecimal"),
        ] {
            assert_eq!(ring(&line).unwrap_err(), format!("F line 1: {problem}"), "{line}");
        }
        let twice = format!("a * {key}\na eu {key}\n");
        assert_eq!(ring(&twice).unwrap_err(), "F line 2: there is a key a before this one");
        assert!(!format!("{:?}", ring(&format!("a * {key}")).unwrap()).contains(&key));
    }
}
