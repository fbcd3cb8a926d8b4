//! Section `node`: who this node is.

use std::{collections::BTreeSet, path::PathBuf};

use super::{checks::check_labels, section::Section};
use crate::{NodeId, PopId};

/// Who this node is, and where its state lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The number of this node: unique in the cluster, and the one in its certificate. It stays the same
    /// when the disk is replaced.
    ///
    /// Required, at least 1. Since 0.1.
    pub id: NodeId,
    /// The point of presence this node stands in: the failure domain that replicas are spread over.
    ///
    /// Nodes that can fail together share one; naming each node's PoP differently lets all replicas of
    /// a shard be lost at once. Required. Since 0.1.
    pub pop: PopId,
    /// What this node offers to residency rules, such as `eu`. A territory with labels is held only by
    /// nodes that carry all of them.
    ///
    /// A label that is missing keeps territories away; one that is wrong moves data to where it must not
    /// be. Default none; at most 16, each of lower-case letters, digits and single dashes. Since 0.1.
    pub labels: BTreeSet<String>,
    /// The directory that holds all state of this node: write-ahead log, snapshots, and what can be
    /// rebuilt. Nothing is written outside of it.
    ///
    /// Required; never shared by two nodes. Since 0.1. Watch `hexpop_disk_flush_duration_seconds`.
    pub data_dir: PathBuf,
}

impl Node {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let id =
            section.key("id", "The number of this node, the one in its certificate.").required();
        let pop = section.key("pop", "The point of presence this node stands in.").required();
        let labels = section
            .key("labels", "What this node offers to residency rules, such as \"eu\".")
            .check(|labels: &BTreeSet<String>| check_labels(labels))
            .or(BTreeSet::new());
        let data_dir =
            section.key("data_dir", "The directory that holds all state of this node.").required();
        Some(Self { id: id?, pop: pop?, labels, data_dir: data_dir? })
    }
}
