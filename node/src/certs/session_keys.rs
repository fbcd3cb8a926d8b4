//! Keys that session values are encrypted under: made, and added to a file.

use std::{fs, io, path::Path};

use super::{
    CertError,
    files::{Readable, io_error, write},
};
use crate::seal::{Keyring, generate};

/// Which of a file's keys a new one becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// The one that is used from the next start on.
    InUse,
    /// One that only opens, until it is moved to the end of the file.
    OnStandby,
}

const HEAD: &str = "\
# Keys that session values are encrypted under: name, residency labels (* = none), key.\n\
# The last one of its labels is used, all open. Give a node the keys of its own labels only, and keep\n\
# copies: without its key a value is lost.\n";

/// Adds a key to a file, which is made if it is not there.
///
/// # Errors
/// [`CertError`] when the file cannot be read or written, or has a key of this name.
pub fn add_session_key(
    path: &Path,
    name: &str,
    labels: &[String],
    place: NewKey,
) -> Result<(), CertError> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let keys = before.strip_prefix(HEAD).unwrap_or(&before);
    let line = generate(name, labels);
    let text = match place {
        NewKey::InUse => format!("{HEAD}{keys}{line}"),
        NewKey::OnStandby => format!("{HEAD}{line}{keys}"),
    };
    Keyring::parse(path, &text).map_err(|error| CertError::Unreadable {
        path: path.to_owned(),
        expected: "session keys that this one fits to",
        problem: error.to_string(),
    })?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    }
    write(path, &text, Readable::ByOwner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_added_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/session.keys");
        add_session_key(&path, "k1", &[], NewKey::InUse).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        add_session_key(&path, "k2", &[], NewKey::OnStandby).unwrap();
        add_session_key(&path, "k3", &["eu".to_owned()], NewKey::InUse).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let names: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(names, ["k2", "k1", "k3"]);
        assert!(text.contains(first.lines().last().unwrap()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = add_session_key(&path, "k1", &[], NewKey::InUse).unwrap_err();
        assert!(again.to_string().contains("there is a key k1"), "{again}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
