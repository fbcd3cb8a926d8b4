//! Certificate and key files: PEM in, PEM out, keys for the owner only.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use super::CertError;

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readable {
    /// Everybody.
    ByAll,
    /// The owner.
    ByOwner,
}

impl Readable {
    const fn mode(self) -> u32 {
        match self {
            Self::ByAll => 0o644,
            Self::ByOwner => 0o600,
        }
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertError {
    let path = path.to_owned();
    move |source| CertError::Io { action, path, source }
}

/// Says no when `path` exists and must not be replaced. Asked for all files of a set before the
/// first is written, so that a refusal leaves nothing half made.
pub(super) fn refuse_existing(path: &Path, force: bool) -> Result<(), CertError> {
    if !force && path.exists() {
        return Err(CertError::Exists { path: path.to_owned() });
    }
    Ok(())
}

/// Writes a file aside and renames it into place, so that no reader sees half of it.
pub(super) fn write(path: &Path, text: &str, readable: Readable) -> Result<(), CertError> {
    let aside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(readable.mode())
        .open(&aside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(io_error("write", &aside))?;
    std::fs::rename(&aside, path).map_err(io_error("write", path))
}

/// The certificates of a PEM file, at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let text = std::fs::read(path).map_err(io_error("read", path))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(|error| CertError::Unreadable {
            path: path.to_owned(),
            expected: "certificate in PEM",
            problem: error.to_string(),
        })?;
    if certificates.is_empty() {
        return Err(CertError::Unreadable {
            path: path.to_owned(),
            expected: "certificate in PEM",
            problem: "there is no CERTIFICATE section".to_owned(),
        });
    }
    Ok(certificates)
}

/// The private key of a PEM file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertError> {
    let text = std::fs::read(path).map_err(io_error("read", path))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| CertError::Unreadable {
        path: path.to_owned(),
        expected: "private key in PEM",
        problem: error.to_string(),
    })
}
