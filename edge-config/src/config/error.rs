//! What is wrong with a configuration: all of it, in the order of the file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::Source;

/// The kind of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The file cannot be read.
    Unreadable,
    /// The file is no TOML.
    Syntax,
    /// A key, section or environment variable that does not exist.
    Unknown,
    /// A section or key that is reserved and has no effect in this version.
    NoEffect,
    /// A required key is missing.
    Missing,
    /// A value of the wrong type, or one that cannot be understood.
    Wrong,
    /// A value that is too low, too high, too long or too many.
    Range,
    /// Two values that do not go together.
    Conflict,
}

/// One thing that is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stands; [`Source::Default`] if it stands nowhere.
    pub source: Source,
    /// The key it is about, such as `raft.heartbeat`; empty for the file as a whole.
    pub key: String,
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(
        source: &Source,
        key: impl Into<String>,
        kind: ProblemKind,
        message: impl Into<String>,
    ) -> Self {
        Self { source: source.clone(), key: key.into(), kind, message: message.into(), help: None }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that is wrong with a configuration; never empty.
///
/// Prints one problem a line, `file:line:column: key: what is wrong`, each with a `help:` line below
/// where there is something to add.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.source.cmp(&b.source));
        Self { file: file.to_owned(), problems }
    }

    /// The file that was read.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The problems: what is missing first, then in the order of the file, then environment and flags.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.problems.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            match &problem.source {
                Source::Default => write!(f, "{}: ", self.file.display())?,
                Source::File { line, column } => {
                    write!(f, "{}:{line}:{column}: ", self.file.display())?;
                }
                Source::Env(name) => write!(f, "environment {name}: ")?,
                Source::Flag(_) => f.write_str("command line: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}
