//! `hexpop explain CODE`: the long text of a problem type.

use clap::Args;

use super::{
    error::{CliError, CliResult},
    output::print,
};
use crate::http::problem::explanation;
use hexpop_router::Problem as ProblemType;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The problem's type, such as `unknown-filter`; all of them without.
    code: Option<String>,
}

pub(super) fn run(args: &ExplainArgs) -> CliResult {
    let Some(code) = &args.code else {
        let list: String = ProblemType::ALL
            .into_iter()
            .map(|kind| format!("{:<22} {}  {}\n", kind.slug(), kind.status(), kind.title()))
            .collect();
        return print(&list);
    };
    let slug = code.strip_prefix("urn:hexpop:problem:").unwrap_or(code);
    let kind = ProblemType::from_slug(slug).ok_or_else(|| {
        CliError::failed(format!("there is no problem type `{slug}`"))
            .help("`hexpop explain` lists them")
    })?;
    print(&format!(
        "{}  (HTTP {})\n{}\n\n{}\n",
        kind.slug(),
        kind.status(),
        kind.title(),
        wrapped(explanation(kind))
    ))
}

/// Breaks a text into lines of at most 80 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.len() + word.len() >= 80 {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
