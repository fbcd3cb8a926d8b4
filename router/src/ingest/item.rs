//! One line on its way in.

use hexpop_shard::{
    Deletion, DirectoryEntry, DirectoryTarget, Listing, ListingRef, ListingVersion, LogPosition,
    Precedence, ShardKey, UpsertItem,
};

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LineOutcome {
    /// It changed something, durably.
    Accepted,
    /// It says nothing new.
    Ignored,
    /// It was not taken in.
    Rejected { error: String, retryable: bool },
}

/// What a line wants.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// The listing to be there.
    Put { key: ShardKey, document: String },
    /// It not to be there.
    Delete,
}

/// How far a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing has been done since the directory was last read.
    Read,
    /// The copy is at its place, or gone from it.
    Placed,
    /// The directory says what the line wants.
    Committed,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(super) line: u64,
    pub(super) id: String,
    pub(super) want: Want,
    pub(super) version: ListingVersion,
    /// What the directory has, as last read.
    pub(super) entry: Option<DirectoryEntry>,
    /// Places that the directory pointed to before.
    pub(super) earlier: Vec<ShardKey>,
    /// Where our copy stands in its shard's log.
    pub(super) position: Option<LogPosition>,
    /// The copy is found already.
    pub(super) is_found: bool,
    /// Something was changed on the line's behalf.
    pub(super) changed: bool,
    pub(super) stage: Stage,
    pub(super) outcome: Option<LineOutcome>,
}

impl Item {
    pub(super) fn put(line: u64, listing: Listing) -> Self {
        let id = listing.columns.id.clone();
        let UpsertItem { key, version, document, .. } = UpsertItem::new(listing, true);
        Self::new(line, id, Want::Put { key, document }, version)
    }

    pub(super) fn delete(line: u64, deletion: Deletion) -> Self {
        Self::new(line, deletion.id, Want::Delete, deletion.version)
    }

    const fn new(line: u64, id: String, want: Want, version: ListingVersion) -> Self {
        Self {
            line,
            id,
            want,
            version,
            entry: None,
            earlier: Vec::new(),
            position: None,
            is_found: false,
            changed: false,
            stage: Stage::Read,
            outcome: None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// About what it weighs.
    pub(super) const fn bytes(&self) -> usize {
        match &self.want {
            Want::Put { document, .. } => document.len() + 128,
            Want::Delete => 128,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    pub(super) fn is_at(&self, stage: Stage) -> bool {
        self.is_open() && self.stage == stage
    }

    /// Where the listing is to be.
    pub(super) const fn key(&self) -> Option<&ShardKey> {
        match &self.want {
            Want::Put { key, .. } => Some(key),
            Want::Delete => None,
        }
    }

    /// What the directory is to say.
    pub(super) fn target(&self) -> DirectoryTarget {
        match &self.want {
            Want::Put { key, .. } => DirectoryTarget::At(key.clone()),
            Want::Delete => DirectoryTarget::Deleted,
        }
    }

    /// Whether the directory says already what the line wants.
    pub(super) fn is_in_directory(&self) -> bool {
        match (&self.want, &self.entry) {
            (Want::Put { key, .. }, Some(entry)) => entry.key() == Some(key),
            (Want::Put { .. } | Want::Delete, _) => false,
        }
    }

    /// Takes note of what the directory has, and of whether that makes the line pointless.
    pub(super) fn learn(&mut self, entry: Option<DirectoryEntry>) {
        self.stage = Stage::Read;
        if let Some(at) = entry.as_ref().and_then(DirectoryEntry::key)
            && self.key().is_some_and(|key| key != at)
            && !self.earlier.contains(at)
        {
            self.earlier.push(at.clone());
        }
        self.entry = entry;
        let Some(entry) = &self.entry else { return };
        let precedence = self.version.against(&entry.listing_version);
        let pointless = match (&self.want, &entry.target) {
            (_, DirectoryTarget::At(_)) => precedence == Precedence::Older,
            // A deletion as new as a write wins.
            (Want::Put { .. }, DirectoryTarget::Deleted) => {
                matches!(precedence, Precedence::Older | Precedence::Same)
            }
            (Want::Delete, DirectoryTarget::Deleted) => precedence != Precedence::Newer,
        };
        if pointless {
            self.end(LineOutcome::Ignored);
        }
    }

    /// Our copy, and no other one.
    pub(super) fn own_copy(&self) -> Option<ListingRef> {
        Some(self.reference(self.key()?.clone(), Some(self.position?)))
    }

    pub(super) fn reference(&self, key: ShardKey, position: Option<LogPosition>) -> ListingRef {
        ListingRef { key, id: self.id.clone(), version: self.version, position }
    }

    pub(super) fn end(&mut self, outcome: LineOutcome) {
        self.outcome.get_or_insert(outcome);
    }

    pub(super) fn retry_later(&mut self, error: String) {
        self.end(LineOutcome::Rejected { error, retryable: true });
    }

    /// The end of a line whose wish is fulfilled.
    pub(super) fn done(&mut self) {
        let outcome = if self.changed { LineOutcome::Accepted } else { LineOutcome::Ignored };
        self.end(outcome);
    }
}
