//! A node whose disk kept what was flushed can be started again.

/// What starts failed with.
#[derive(Debug, Default)]
pub(in crate::sim) struct Recovery {
    failures: u64,
}

impl Recovery {
    /// A start failed. While the disk itself fails or is full it may; never because of what is on it.
    pub(in crate::sim) fn failed(&mut self, why: &str, disk_is_well: bool) -> Result<(), String> {
        self.failures += 1;
        if disk_is_well || why.contains("corrupt") || why.contains("damaged") {
            return Err(format!("a node does not start again: {why}"));
        }
        Ok(())
    }
}
