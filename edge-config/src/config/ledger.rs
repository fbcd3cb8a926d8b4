//! The account of one reading: what was read, from where, and what is wrong.

use std::path::{Path, PathBuf};

use super::{Problem, ProblemKind, Setting, Source, setting::join, suggest::closest};

/// A key or section that nobody read.
pub(super) struct Unknown {
    /// The section it stands in.
    pub(super) section: String,
    /// Its name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) at: Source,
    /// Whether a table stands behind it.
    pub(super) is_table: bool,
}

/// The account of one reading.
pub(super) struct Ledger {
    /// The directory that relative paths start from.
    pub(super) base: PathBuf,
    /// The sections and where they begin, in the order in which they were opened.
    pub(super) sections: Vec<(String, Source)>,
    /// The keys, in the order in which they were read.
    pub(super) settings: Vec<Setting>,
    /// The keys of the elements of lists of tables, such as `territories[0].replicas`.
    pub(super) element_settings: Vec<Setting>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What nobody read.
    pub(super) unknown: Vec<Unknown>,
}

impl Ledger {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            sections: Vec::new(),
            settings: Vec::new(),
            element_settings: Vec::new(),
            problems: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Where the value of `key` comes from.
    pub(super) fn source(&self, key: &str) -> Source {
        let mut settings = self.settings.iter().chain(&self.element_settings);
        let found = settings.find(|setting| setting.key() == key);
        found.map_or(Source::Default, |setting| setting.source.clone())
    }

    /// Where the section of `key` begins.
    pub(super) fn section_source(&self, key: &str) -> Source {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let found = self.sections.iter().find(|(path, _)| path == section);
        found.map_or(Source::Default, |(_, at)| at.clone())
    }

    /// Turns what nobody read into problems, now that all names are known.
    pub(super) fn report_unknown(&mut self) {
        let keys: Vec<String> = self.settings.iter().map(Setting::key).collect();
        for Unknown { section, name, at, is_table } in std::mem::take(&mut self.unknown) {
            let siblings = self.siblings(&section);
            let kind = if is_table { "section" } else { "key" };
            let key = join(&section, &name);
            let problem =
                Problem::new(&at, &*key, ProblemKind::Unknown, format!("there is no such {kind}"));
            let elsewhere = || keys.iter().find(|key| key.rsplit('.').next() == Some(&*name));
            let help = if let Some(sibling) = closest(&name, siblings.iter().map(|s| &**s)) {
                format!("did you mean `{}`?", join(&section, sibling))
            } else if let Some(other) = elsewhere() {
                format!("did you mean `{other}`?")
            } else {
                format!("known here: {}", siblings.join(", "))
            };
            self.problems.push(problem.help(help));
        }
    }

    /// The names that may stand in `section`: its keys, and the sections in it.
    fn siblings(&self, section: &str) -> Vec<String> {
        let settings = self.settings.iter().chain(&self.element_settings);
        let keys = settings.filter(|s| s.section == section).map(|s| s.name.to_owned());
        let inside = |path: &String| match section {
            "" => (!path.is_empty() && !path.contains('.')).then(|| path.clone()),
            _ => path.strip_prefix(section)?.strip_prefix('.').map(str::to_owned),
        };
        keys.chain(self.sections.iter().map(|(path, _)| path).filter_map(inside)).collect()
    }
}
