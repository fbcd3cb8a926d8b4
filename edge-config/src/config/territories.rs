//! Section `territories`: those with shards of their own, one `[[territories]]` each.

use super::{
    Placement,
    placement::{read_labels, read_replicas},
    section::Section,
};
use crate::{PopId, Territory};

/// A territory that has shards of its own, and where its replicas may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerritoryPolicy {
    /// The territory, such as `IT:lombardia`.
    ///
    /// Required, each once. The same list on all nodes. Since 0.1.
    pub territory: Territory,
    /// Residency: a node must carry all of these labels to hold a replica.
    ///
    /// Too few nodes with them: the territory has fewer replicas than asked, which is reported and never
    /// relaxed. Default those of `placement.labels`. Since 0.1. Watch `hexpop_shards_under_replicated`.
    pub labels: Vec<String>,
    /// How many voting replicas each of its shards has.
    ///
    /// 1 does not survive a node; 3 survive one, 5 two. Odd, 1 to 7. Default that of
    /// `placement.replicas`. Since 0.1.
    pub replicas: u32,
    /// A PoP in whose ring (`placement.rings`) the voters of its shards are.
    ///
    /// Far from where it is written and read: every write and every strong read pays for the way. Default none:
    /// the ring where most of a shard's voters are already, or at first the one with the most room. Since 0.1.
    pub near: Option<PopId>,
}

impl TerritoryPolicy {
    /// What it leaves open is as in `placement`.
    pub(super) fn read(section: &mut Section<'_>, placement: &Placement) -> Option<Self> {
        let territory = section.key("territory", "The territory, such as IT:lombardia.").required();
        let labels = read_labels(section, placement.labels.clone());
        let replicas = read_replicas(section, placement.replicas);
        let near =
            section.key("near", "A PoP in whose ring the voters of its shards are.").optional();
        Some(Self { territory: territory?, labels, replicas, near })
    }
}
