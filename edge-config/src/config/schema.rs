//! The configuration file as JSON Schema (draft 2020-12), for editors and other tools.

use serde_json::{Map, Value as Json, json};

use super::{Config, Setting, ledger::Ledger, section::Section, tree::RawTable};

/// The configuration file as JSON Schema (draft 2020-12).
///
/// Made of the same statements that read the file, so it cannot disagree with them on names, types,
/// defaults and ranges. Rules between keys are in the descriptions only.
#[must_use]
pub fn schema() -> Json {
    let mut ledger = Ledger::new(std::path::Path::new(""));
    Section::read_root(&RawTable::new(), &mut ledger, |root| drop(Config::read(root)));
    let mut root = object(&[]);
    for (section, _) in &ledger.sections {
        let settings: Vec<_> =
            ledger.settings.iter().filter(|s| s.section == *section).cloned().collect();
        let path: Vec<_> = section.split('.').filter(|name| !name.is_empty()).collect();
        merge(&mut root, &path, object(&settings));
    }
    if let Some(root) = root.as_object_mut() {
        let head = [
            ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
            ("title", json!("hexpop node configuration")),
        ];
        for (nth, (name, value)) in head.into_iter().enumerate() {
            root.shift_insert(nth, name.to_owned(), value);
        }
    }
    root
}

/// An object with these settings as its keys, and no others.
pub(super) fn object(settings: &[Setting]) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for setting in settings {
        let mut schema = setting.schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            describe(schema, setting);
        }
        properties.insert(setting.name.to_owned(), schema);
        if setting.required {
            required.push(setting.name);
        }
    }
    let mut object = json!({"type": "object", "properties": properties});
    if let Some(object) = object.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    object
}

fn describe(schema: &mut Map<String, Json>, setting: &Setting) {
    let mut about = setting.about.to_owned();
    // The range of what is written as text has no keyword of its own.
    if let Some(Json::String(range)) = schema.remove(TEXT_RANGE) {
        about = format!("{about} {range}");
    }
    schema.insert("description".to_owned(), json!(about));
    if let Some(default) = &setting.default {
        schema.insert("default".to_owned(), to_json(default));
    }
}

/// Carries the range of a text to its description.
const TEXT_RANGE: &str = "x-range";

/// Notes the range of a value in its schema.
pub(super) fn set_range(schema: &mut Json, least: &toml::Value, highest: &toml::Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let (toml::Value::Integer(least), toml::Value::Integer(highest)) = (least, highest) {
        schema.insert("minimum".to_owned(), json!(least));
        schema.insert("maximum".to_owned(), json!(highest));
    } else {
        let text = |value: &toml::Value| to_json(value).as_str().unwrap_or_default().to_owned();
        let range = format!("From {} to {}.", text(least), text(highest));
        schema.insert(TEXT_RANGE.to_owned(), json!(range));
    }
}

/// Puts the keys of `section` into the object at `path` below `object`, making it if needed. A section
/// with a required key is itself required.
fn merge(object: &mut Json, path: &[&str], section: Json) {
    let Some(fields) = object.as_object_mut() else { return };
    let Some((name, rest)) = path.split_first() else {
        let Json::Object(section) = section else { return };
        for (keyword, value) in section {
            match (fields.get_mut(&keyword), value) {
                (Some(Json::Object(there)), Json::Object(more)) => there.extend(more),
                (Some(Json::Array(there)), Json::Array(more)) => there.extend(more),
                (_, value) => {
                    fields.insert(keyword, value);
                }
            }
        }
        return;
    };
    if section.get("required").is_some() {
        let required = fields.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut().filter(|all| !all.contains(&json!(name))) {
            required.push(json!(name));
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Json::as_object_mut) {
        let below = properties.entry(*name).or_insert_with(|| self::object(&[]));
        merge(below, rest, section);
    }
}

/// A TOML value as JSON.
pub(super) fn to_json(value: &toml::Value) -> Json {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(truth) => json!(truth),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(items) => items.iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            let entry = |(name, value): (&String, &toml::Value)| (name.clone(), to_json(value));
            Json::Object(table.iter().map(entry).collect())
        }
    }
}
