//! The command line.

use std::path::PathBuf;

use crate::text::number;

/// What is printed when the command line is not understood.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p hexpop-bench --bench replication -- [options]
  --hexpop FILE          the binary (default: the one built beside this, by `cargo build --release`)
  --dir DIR              on the disk to measure (default: in the target folder)
  --seconds N            per number of clients and kind of request (default 5)
  --clients N,N,...      (default 1,16,64,256)
  --value-bytes N        of a session (default 256)
  --territories N,N,...  whose shards the sessions are spread over, one each (default it-lombardia)";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) hexpop: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) clients: Vec<usize>,
    pub(crate) value_bytes: usize,
    pub(crate) territories: Vec<String>,
}

impl Options {
    /// Understands the arguments behind the program's name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let beside = own.parent().and_then(|deps| deps.parent()).map(|dir| dir.join("hexpop"));
        let mut options = Self {
            hexpop: beside.unwrap_or_else(|| "hexpop".into()),
            dir: env!("CARGO_TARGET_TMPDIR").into(),
            seconds: 5.0,
            clients: vec![1, 16, 64, 256],
            value_bytes: 256,
            territories: vec!["it-lombardia".to_owned()],
        };
        let mut left = arguments;
        while let Some(name) = left.next() {
            if name == "--bench" {
                continue;
            }
            let value = left.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--hexpop" => options.hexpop = value.into(),
                "--dir" => options.dir = value.into(),
                "--seconds" => options.seconds = number(&name, &value)?,
                "--clients" => {
                    options.clients =
                        value.split(',').map(|it| number(&name, it)).collect::<Result<_, _>>()?;
                }
                "--value-bytes" => options.value_bytes = number(&name, &value)?,
                "--territories" => {
                    options.territories = value.split(',').map(ToOwned::to_owned).collect();
                }
                _ => return Err(format!("{name} {value} is not understood")),
            }
        }
        Ok(options)
    }
}
