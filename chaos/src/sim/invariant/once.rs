//! One idempotency key makes one session: whoever repeats a create gets the first answer, or none.

use std::collections::BTreeMap;

use hexpop_shard::RecordVersion;

/// What creates with a key were answered.
#[derive(Debug, Default)]
pub(in crate::sim) struct Once {
    first: BTreeMap<String, RecordVersion>,
}

impl Once {
    /// A create with `key` was answered with a session of this version.
    pub(in crate::sim) fn answered(
        &mut self,
        key: &str,
        version: RecordVersion,
    ) -> Result<(), String> {
        let first = *self.first.entry(key.to_owned()).or_insert(version);
        if first == version {
            return Ok(());
        }
        Err(format!("key {key} made session {version}, and had made {first} before"))
    }
}
