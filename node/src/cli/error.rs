//! How a command ends: what went wrong, why, and what to do about it.

use std::fmt;

/// A command that did not succeed. Printed as `error: …`, `cause: …`, `help: …` on stderr.
#[derive(Debug)]
pub struct CliError {
    what: String,
    causes: Vec<String>,
    help: Option<String>,
    exit: u8,
}

impl CliError {
    /// Exit code 1: failed, or could not find out.
    pub fn failed(what: impl Into<String>) -> Self {
        Self { what: what.into(), causes: Vec::new(), help: None, exit: 1 }
    }

    /// Exit code 2: the call makes no sense.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { exit: 2, ..Self::failed(what) }
    }

    /// Exit code 3: it ran, but a limit was missed.
    pub fn missed(what: impl Into<String>) -> Self {
        Self { exit: 3, ..Self::failed(what) }
    }

    /// Exit code 130 or 143: interrupted, after cleaning up.
    pub fn interrupted(signal: Signal) -> Self {
        Self { exit: signal as u8, ..Self::failed("interrupted") }
    }

    /// Adds why.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds an error and its sources as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their source; say each thing once.
            if self.causes.last().is_none_or(|last| !last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The process's exit code.
    pub const fn exit(&self) -> u8 {
        self.exit
    }
}

/// The signals that end a command in an orderly way; the value is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt = 130,
    /// `kill`.
    Terminate = 143,
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for cause in &self.causes {
            write!(f, "\n  cause: {cause}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// What commands answer.
pub type CliResult<T = ()> = Result<T, CliError>;
