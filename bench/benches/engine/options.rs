//! The command line.

use std::path::PathBuf;

use crate::{publish::SCHEMES, text::number};

/// What is printed when the command line is not understood.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p hexpop-bench --bench engine -- [options]
  --queries --memory --updates  only these parts (default: all three)
  --sizes N,N,...               cost against size, each size in a process of its own
  --listings N                  size of the synthetic market (default 1000000)
  --data DIR                    folder of real listings (default $HEXPOP_TEST_DATA)
  --density constant|growing    for --sizes (default constant)
  --base N                      listings in one copy at constant density (default 100000)
  --publish lock|snapshot       for --updates (default: both as far as there are)
  --seconds N                   for --updates, per reader and state (default 10)
  --updates-per-second N        (default 5000)
  --areas N                     different areas per kind of query (default 200; 100 for --sizes)
  --only Q1,Q11a,...            only these queries
  --seed N                      of listings and queries (default 42)
  --json FILE                   the numbers";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) queries: bool,
    pub(crate) memory: bool,
    pub(crate) updates: bool,
    pub(crate) sizes: Vec<usize>,
    pub(crate) listings: usize,
    pub(crate) data: Option<PathBuf>,
    pub(crate) constant_density: bool,
    pub(crate) base: usize,
    pub(crate) publish: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) updates_per_second: f64,
    pub(crate) areas: Option<usize>,
    pub(crate) only: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    /// Measure one size for another process; the smallest size of that one's run.
    pub(crate) one_of_sizes: Option<usize>,
    /// Not run by `cargo bench`: only compare answers.
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
            queries: false,
            memory: false,
            updates: false,
            sizes: Vec::new(),
            listings: 1_000_000,
            data: std::env::var_os("HEXPOP_TEST_DATA").map(PathBuf::from),
            constant_density: true,
            base: 100_000,
            publish: None,
            seconds: 10.0,
            updates_per_second: 5_000.0,
            areas: None,
            only: Vec::new(),
            seed: hexpop_bench::dataset::DEFAULT_SEED,
            json: None,
            one_of_sizes: None,
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
                "--queries" => options.queries = true,
                "--memory" => options.memory = true,
                "--updates" => options.updates = true,
                _ => options.set(&name, &value()?)?,
            }
        }
        let some = options.queries || options.memory || options.updates;
        if !some && options.sizes.is_empty() {
            (options.queries, options.memory, options.updates) = (true, true, true);
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--sizes" => {
                self.sizes =
                    value.split(',').map(|it| number(name, it)).collect::<Result<_, _>>()?;
            }
            "--listings" => self.listings = number(name, value)?,
            "--data" => self.data = Some(value.into()),
            "--density" => {
                self.constant_density = match value {
                    "constant" => true,
                    "growing" => false,
                    _ => return Err("--density is constant or growing".to_owned()),
                }
            }
            "--base" => self.base = number(name, value)?,
            "--publish" if SCHEMES.iter().any(|(scheme, _)| *scheme == value) => {
                self.publish = Some(value.to_owned());
            }
            "--seconds" => self.seconds = number(name, value)?,
            "--updates-per-second" => self.updates_per_second = number(name, value)?,
            "--areas" => self.areas = Some(number(name, value)?),
            "--only" => self.only = value.split(',').map(ToOwned::to_owned).collect(),
            "--seed" => self.seed = number(name, value)?,
            "--json" => self.json = Some(value.into()),
            "--one-of-sizes" => self.one_of_sizes = Some(number(name, value)?),
            _ => return Err(format!("{name} {value} is not understood")),
        }
        Ok(())
    }
}
