//! Checks, in their categories, as people and programs read them.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde::Serialize;

use super::counted;

/// What checks are about, in the order of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Topic {
    /// The configuration.
    Config,
    /// Limits of the system.
    Limits,
    /// Ports.
    Net,
    /// The data directory.
    Disk,
    /// The clock.
    Time,
    /// Certificates.
    Certs,
    /// The other nodes, and the shards.
    Mesh,
    /// The platform behind the mesh.
    Origin,
}

impl Topic {
    /// As it is written in reports and flags.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Limits => "limits",
            Self::Net => "net",
            Self::Disk => "disk",
            Self::Time => "time",
            Self::Certs => "certs",
            Self::Mesh => "mesh",
            Self::Origin => "origin",
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Success,
    /// Not as it should be, or not known; the node works all the same.
    Warning,
    /// Something does not work.
    Error,
}

impl Outcome {
    const fn mark(self) -> char {
        match self {
            Self::Success => '√',
            Self::Warning => '‼',
            Self::Error => '×',
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was found.
    pub description: String,
    /// Whether that is well.
    pub result: Outcome,
    /// What to do about it.
    pub hint: Option<String>,
    /// The evidence, a line each.
    pub error: Option<String>,
}

impl Check {
    fn new(result: Outcome, description: String) -> Self {
        Self { description, result, hint: None, error: None }
    }

    /// All is well.
    pub fn ok(description: impl Into<String>) -> Self {
        Self::new(Outcome::Success, description.into())
    }

    /// It works, but.
    pub fn warning(description: impl Into<String>) -> Self {
        Self::new(Outcome::Warning, description.into())
    }

    /// It does not work.
    pub fn error(description: impl Into<String>, error: impl Into<String>) -> Self {
        Self::new(Outcome::Error, description.into()).because(error)
    }

    /// Adds the evidence.
    #[must_use]
    pub fn because(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into()).filter(|error| !error.is_empty());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The checks of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Category {
    /// The topic.
    pub category_name: &'static str,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// Everything that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether no check came out as an error.
    pub success: bool,
    /// The checks by topic.
    pub categories: Vec<Category>,
}

impl Report {
    /// The checks of the topics in `only`, by topic.
    #[must_use]
    pub fn new(checks: Vec<(Topic, Check)>, only: &BTreeSet<Topic>) -> Self {
        let mut categories: Vec<Category> = Vec::new();
        for topic in only {
            let checks: Vec<Check> = checks
                .iter()
                .filter(|(of, _check)| of == topic)
                .map(|(_topic, check)| check.clone())
                .collect();
            if !checks.is_empty() {
                categories.push(Category { category_name: topic.as_str(), checks });
            }
        }
        let mut report = Self { success: true, categories };
        report.success = report.count(Outcome::Error) == 0;
        report
    }

    /// How many checks came out so.
    #[must_use]
    pub fn count(&self, result: Outcome) -> usize {
        let checks = self.categories.iter().flat_map(|category| &category.checks);
        checks.filter(|check| check.result == result).count()
    }

    /// The verdict in words.
    #[must_use]
    pub fn verdict(&self) -> String {
        let warnings = self.count(Outcome::Warning);
        match (self.count(Outcome::Error), warnings) {
            (0, 0) => "ok".to_owned(),
            (0, _) => format!("ok ({})", counted(warnings, "warning")),
            (errors, 0) => format!("failed ({})", counted(errors, "error")),
            (errors, _) => {
                format!("failed ({}, {})", counted(errors, "error"), counted(warnings, "warning"))
            }
        }
    }

    /// The report for people.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for category in &self.categories {
            text.push_str(category.category_name);
            text.push('\n');
            for check in &category.checks {
                render_check(&mut text, check);
            }
        }
        text.push_str(&format!("status: {}\n", self.verdict()));
        text
    }
}

fn render_check(text: &mut String, check: &Check) {
    text.push_str(&format!("  {} {}", check.result.mark(), check.description));
    match (&check.error, &check.hint) {
        (None, None) => {}
        (None, Some(hint)) => text.push_str(&format!("     help: {hint}")),
        (Some(error), hint) => {
            for line in error.lines() {
                text.push_str(&format!("\n      {line}"));
            }
            if let Some(hint) = hint {
                text.push_str(&format!("\n      help: {hint}"));
            }
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let checks = vec![
            (Topic::Mesh, Check::error("2 of 3 seeds answer", "a\nb").hint("open UDP 7080")),
            (Topic::Config, Check::ok("edge.toml parses")),
            (Topic::Limits, Check::warning("open files: 1024").hint("ulimit -n")),
        ];
        Report::new(checks, &Topic::value_variants().iter().copied().collect())
    }

    #[test]
    fn a_report_reads_as_the_sample_does() {
        let expected = "config\n  √ edge.toml parses\n\
                        limits\n  ‼ open files: 1024     help: ulimit -n\n\
                        mesh\n  × 2 of 3 seeds answer\n      a\n      b\n      help: open UDP 7080\n\
                        status: failed (1 error, 1 warning)\n";
        assert_eq!(report().render(), expected);
    }

    #[test]
    fn programs_get_the_same_in_a_stable_shape() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["success"], false);
        assert_eq!(json["categories"][0]["categoryName"], "config");
        let check = &json["categories"][2]["checks"][0];
        assert_eq!(check["result"], "error");
        assert_eq!(check["error"], "a\nb");
        assert_eq!(check["hint"], "open UDP 7080");
        assert!(json["categories"][0]["checks"][0]["hint"].is_null());
    }

    #[test]
    fn only_what_was_asked_for_decides() {
        let checks = vec![(Topic::Mesh, Check::error("x", "y")), (Topic::Disk, Check::ok("fine"))];
        let only = Report::new(checks, &BTreeSet::from([Topic::Disk]));
        assert!(only.success);
        assert_eq!(only.categories.len(), 1);
        assert_eq!(only.verdict(), "ok");
    }
}
