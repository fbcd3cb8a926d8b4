//! Where a value was written.

use std::fmt;

/// Where a value was written. Later ones in this order win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Nowhere: it is the default.
    Default,
    /// In the configuration file.
    File {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In the environment variable of this name.
    Env(String),
    /// On the command line, by this key.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line, .. } => write!(f, "file:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(key) => write!(f, "flag {key}"),
        }
    }
}
