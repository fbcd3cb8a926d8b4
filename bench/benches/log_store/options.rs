//! The command line.

use std::path::PathBuf;

use crate::text::number;

/// What is printed when the command line is not understood.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p hexpop-bench --bench log_store -- [options]
  --rates --recovery --churn  only these parts (default: all three)
  --dir DIR                   on the disk to measure (default: in the target folder)
  --seconds N                 per store, number of writers and size of entry (default 3)
  --groups N                  groups that are there (default 256)
  --writers N,N,...           (default 1,16,64,256)
  --entry-bytes N,N,...       (default 256,4096)
  --recovery-mib N            the log that is opened (default 256)
  --churn-mib N               appended while the disk is watched (default 2048)";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) rates: bool,
    pub(crate) recovery: bool,
    pub(crate) churn: bool,
    pub(crate) dir: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) groups: u64,
    pub(crate) writers: Vec<u64>,
    pub(crate) entry_bytes: Vec<usize>,
    pub(crate) recovery_mib: u64,
    pub(crate) churn_mib: u64,
    /// Not run by `cargo bench`: only see that every store keeps what it is given.
    pub(crate) check_only: bool,
}

impl Options {
    /// Understands the arguments behind the program's name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let arguments: Vec<String> = arguments.collect();
        let mut options = Self {
            rates: false,
            recovery: false,
            churn: false,
            dir: env!("CARGO_TARGET_TMPDIR").into(),
            seconds: 3.0,
            groups: 256,
            writers: vec![1, 16, 64, 256],
            entry_bytes: vec![256, 4096],
            recovery_mib: 256,
            churn_mib: 2048,
            // What `cargo bench` adds, and `cargo test` does not.
            check_only: !arguments.iter().any(|argument| argument == "--bench"),
        };
        if options.check_only {
            // The rest is for the test harness that this is not.
            return Ok(options);
        }
        let mut left = arguments.into_iter();
        while let Some(name) = left.next() {
            let mut value = || left.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--bench" => {}
                "--rates" => options.rates = true,
                "--recovery" => options.recovery = true,
                "--churn" => options.churn = true,
                _ => options.set(&name, &value()?)?,
            }
        }
        if !(options.rates || options.recovery || options.churn) {
            (options.rates, options.recovery, options.churn) = (true, true, true);
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--dir" => self.dir = value.into(),
            "--seconds" => self.seconds = number(name, value)?,
            "--groups" => self.groups = number(name, value)?,
            "--writers" => {
                self.writers =
                    value.split(',').map(|it| number(name, it)).collect::<Result<_, _>>()?;
            }
            "--entry-bytes" => {
                self.entry_bytes =
                    value.split(',').map(|it| number(name, it)).collect::<Result<_, _>>()?;
            }
            "--recovery-mib" => self.recovery_mib = number(name, value)?,
            "--churn-mib" => self.churn_mib = number(name, value)?,
            _ => return Err(format!("{name} {value} is not understood")),
        }
        Ok(())
    }
}
