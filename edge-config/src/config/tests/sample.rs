//! The sample file stays valid, complete and true.

use super::{
    super::{SAMPLE, Setting, Source, load::known_settings},
    load,
};

/// The sample with every commented key switched on.
fn uncommented() -> String {
    let switch_on = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            key.to_owned()
        }
        _ => line.to_owned(),
    };
    SAMPLE.lines().map(switch_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_is_valid_as_it_stands() {
    let loaded = load(SAMPLE, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.raft, super::super::Raft::default());
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    let loaded = load(&uncommented(), &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let is_empty = |value: &toml::Value| value.as_array().is_some_and(Vec::is_empty);
    for setting in &loaded.settings {
        let key = setting.key();
        assert!(matches!(setting.source(), Source::File { .. }), "{key} is not in the sample");
        match setting.default_value() {
            // An example says more than an empty list.
            Some(default) if !is_empty(default) => {
                assert_eq!(setting.value(), Some(default), "{key}");
            }
            _ => {}
        }
    }
    assert_eq!(loaded.settings.len(), known_settings().len());
    assert_eq!(loaded.config.territories.len(), 1);
    let keys: Vec<_> = loaded.settings.iter().map(Setting::key).collect();
    assert!(keys.contains(&"origin.url".to_owned()), "keys without a default are shown too");
}
