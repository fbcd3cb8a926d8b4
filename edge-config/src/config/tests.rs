//! The configuration as its users meet it: files, environment, messages.

mod messages;
mod printing;
mod sample;
mod sources;

use std::path::Path;

use super::{Config, ConfigErrors, Loaded};

/// The least that a file has to say.
const LEAST: &str = r#"[node]
id = 1
pop = "mil"
data_dir = "data"
[mesh]
cluster = "demo"
listen = "127.0.0.1:7080"
bootstrap = [1, 2, 3]
ca = "ca.pem"
cert = "/etc/node.pem"
key = "node.key"
[listen]
http = "127.0.0.1:8080"
"#;

/// The number of lines of [`LEAST`].
const LEAST_LINES: usize = 13;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_text(text, Path::new("/conf/node.toml"), env, [])
}

/// [`LEAST`] and `more` below it.
fn load_more(more: &str) -> Result<Loaded, ConfigErrors> {
    load(&format!("{LEAST}{more}"), &[])
}
