//! Defaults, then the file, then the environment, then the command line.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigErrors, Problem, ProblemKind, Setting, Source,
    ledger::Ledger,
    section::Section,
    suggest::closest,
    tree::{Raw, RawTable, RawValue, overlay, read_document, read_value},
};

/// What environment variables that set a key begin with.
pub const ENV_PREFIX: &str = "HEXPOP__";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration, and how it came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it was read from.
    pub file: PathBuf,
    /// Every key with its value and where that comes from.
    pub settings: Vec<Setting>,
    /// The sections in the order of printing.
    pub(super) sections: Vec<String>,
}

impl Config {
    /// Reads the configuration file at `path`, with `env` over it.
    ///
    /// `env` is the whole environment: variables that begin with `HEXPOP__` set a key
    /// (`HEXPOP__RAFT__HEARTBEAT=500ms`), all others are ignored. What is text in the file is taken as it
    /// stands; numbers, lists and tables are written as in TOML or JSON. Take it from `std::env::vars_os`
    /// and leave out what is no UTF-8, because `std::env::vars` panics on that.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        Self::load_with(path, env, [])
    }

    /// As [`load`](Self::load), with `flags` over it all: keys (`listen.http`) and their values, written
    /// as in the environment.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load_with(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        let text = read_file(path).map_err(|message| {
            let problem = Problem::new(&Source::Default, "", ProblemKind::Unreadable, message);
            ConfigErrors::new(path, vec![problem])
        })?;
        Self::from_text(&text, path, env, flags)
    }

    /// As [`load_with`](Self::load_with), of a file that was read already; `path` names it in messages,
    /// and its directory is where relative paths start.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn from_text(
        text: &str,
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        let mut tree = read_document(text).map_err(|errors| ConfigErrors::new(path, errors))?;
        let base = std::path::absolute(path).unwrap_or_else(|_no_directory| path.to_owned());
        let mut ledger = Ledger::new(base.parent().unwrap_or(&base));
        let known = known_settings();
        for (name, value) in env {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                put(&mut tree, &known, &key, &value, &Source::Env(name), &mut ledger.problems);
            }
        }
        for (key, value) in flags {
            let at = Source::Flag(key.clone());
            put(&mut tree, &known, &key, &value, &at, &mut ledger.problems);
        }
        let config = Section::read_root(&tree, &mut ledger, Self::read);
        ledger.report_unknown();
        match config {
            Some(config) if ledger.problems.is_empty() => Ok(Loaded {
                config,
                file: path.to_owned(),
                settings: ledger.settings,
                sections: ledger.sections.into_iter().map(|(path, _)| path).collect(),
            }),
            _ => Err(ConfigErrors::new(path, ledger.problems)),
        }
    }
}

/// Reads a file of bounded size.
fn read_file(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= FILE_BYTES_MAX => Ok(text),
        _ => Err("is larger than 1MiB, which no configuration is".to_owned()),
    }
}

/// All keys there are, found by reading nothing.
pub(super) fn known_settings() -> Vec<Setting> {
    let mut ledger = Ledger::new(Path::new(""));
    Section::read_root(&RawTable::new(), &mut ledger, |root| drop(Config::read(root)));
    ledger.settings
}

/// Puts a value from outside of the file into the tree.
fn put(
    tree: &mut RawTable,
    known: &[Setting],
    key: &str,
    text: &str,
    at: &Source,
    problems: &mut Vec<Problem>,
) {
    let Some(setting) = known.iter().find(|setting| setting.key() == key) else {
        problems.push(unknown(known, key, at));
        return;
    };
    let raw = if setting.text {
        Some(Raw { key_at: at.clone(), at: at.clone(), value: RawValue::Text(text.to_owned()) })
    } else {
        read_value(text, at)
    };
    match raw {
        Some(raw) => overlay(tree, &key.split('.').collect::<Vec<_>>(), raw),
        None => {
            let message = "the value is neither TOML nor JSON";
            let problem = Problem::new(at, key, ProblemKind::Wrong, message);
            problems.push(problem.help("a list is written [\"a\", \"b\"], a number 5"));
        }
    }
}

fn unknown(known: &[Setting], key: &str, at: &Source) -> Problem {
    let section = key.split('.').next().unwrap_or_default();
    if super::RESERVED.contains(&section) {
        let message = format!("section `{section}` has no effect in this version");
        return Problem::new(at, key, ProblemKind::NoEffect, message).help("remove it");
    }
    let problem = Problem::new(at, key, ProblemKind::Unknown, "there is no such key");
    let written = |key: &str| match at {
        Source::Env(_) => format!("{ENV_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__")),
        _ => key.to_owned(),
    };
    let keys: Vec<_> = known.iter().map(Setting::key).collect();
    match closest(key, keys.iter().map(|key| &**key)) {
        Some(meant) => problem.help(format!("did you mean {}?", written(meant))),
        None => problem.help("`hexpop config schema` lists all keys"),
    }
}
