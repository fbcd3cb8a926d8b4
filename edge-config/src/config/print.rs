//! The effective configuration, as TOML for people and as JSON for programs.

use serde_json::{Map, Value as Json};

use super::{Loaded, Setting, Source, schema::to_json};

impl Loaded {
    /// The effective configuration as TOML, which reads back as the same configuration.
    ///
    /// `sources` adds behind each key where its value comes from (`# file:12`, `# env HEXPOP__…`,
    /// `# flag …`, `# default`). `changed` leaves out what is as the default has it. There are no secrets
    /// in a configuration, only the files that hold them.
    #[must_use]
    pub fn print(&self, sources: bool, changed: bool) -> String {
        let mut out = String::new();
        if sources {
            out.push_str(&format!("# file: {}\n", self.file.display()));
        }
        for section in &self.sections {
            let shown = |setting: &&Setting| {
                setting.section == *section && !(changed && setting.value == setting.default)
            };
            let settings: Vec<_> = self.settings.iter().filter(shown).collect();
            if settings.is_empty() || section.is_empty() {
                continue;
            }
            start_block(&mut out, &format!("[{section}]"));
            for setting in settings {
                print_setting(&mut out, setting, sources);
            }
        }
        for setting in self.settings.iter().filter(|setting| setting.section.is_empty()) {
            print_tables(&mut out, setting, sources);
        }
        out
    }

    /// The effective configuration as JSON, one object per section.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut root = Map::new();
        for setting in &self.settings {
            let path = setting.section.split('.').filter(|name| !name.is_empty());
            let mut table = &mut root;
            for name in path {
                let below = table.entry(name).or_insert_with(|| Json::Object(Map::new()));
                let Some(below) = below.as_object_mut() else { return Json::Null };
                table = below;
            }
            let value = setting.value.as_ref().map_or(Json::Null, to_json);
            table.insert(setting.name.to_owned(), value);
        }
        Json::Object(root)
    }
}

fn start_block(out: &mut String, header: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
}

fn print_setting(out: &mut String, setting: &Setting, sources: bool) {
    match &setting.value {
        Some(value) => {
            out.push_str(&format!("{} = {value}", setting.name));
            print_source(out, &setting.source, sources);
        }
        None => out.push_str(&format!("# {} is not set", setting.name)),
    }
    out.push('\n');
}

fn print_source(out: &mut String, source: &Source, sources: bool) {
    if sources {
        out.push_str(&format!(" # {source}"));
    }
}

/// A list of tables of the file as a whole, one `[[…]]` each.
fn print_tables(out: &mut String, setting: &Setting, sources: bool) {
    let Some(toml::Value::Array(tables)) = &setting.value else { return };
    for table in tables.iter().filter_map(toml::Value::as_table) {
        start_block(out, &format!("[[{}]]", setting.name));
        if sources {
            out.truncate(out.trim_end().len());
            print_source(out, &setting.source, sources);
            out.push('\n');
        }
        for (name, value) in table {
            out.push_str(&format!("{name} = {value}\n"));
        }
    }
}
