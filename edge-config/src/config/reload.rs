//! Which changes take effect in a running node.

use super::{Loaded, Setting};

/// What changed from `old` to `new`, by key.
///
/// # Errors
/// The keys that only a restart can change, if there are any among the changed ones. Nothing of `new`
/// should be taken then, so that a node never runs with half of a file.
pub fn reloadable_changes(old: &Loaded, new: &Loaded) -> Result<Vec<String>, Vec<String>> {
    let before = |setting: &Setting| {
        let same =
            |other: &&Setting| other.section == setting.section && other.name == setting.name;
        old.settings.iter().find(same).and_then(|other| other.value.as_ref())
    };
    let changed = new.settings.iter().filter(|setting| before(setting) != setting.value.as_ref());
    let (live, restart): (Vec<_>, Vec<_>) = changed.partition(|setting| setting.reloads);
    let keys = |settings: Vec<&Setting>| settings.into_iter().map(Setting::key).collect();
    if restart.is_empty() { Ok(keys(live)) } else { Err(keys(restart)) }
}
