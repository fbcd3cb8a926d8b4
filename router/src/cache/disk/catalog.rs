//! What is on disk, and where: by URI and variant, by tag, by segment. Pure; `S` is how a segment is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, StatusCode};

use super::{pending::OnTheWay, renewed::Renewed};
use crate::cache::{
    index::Index,
    key::CacheKey,
    policy::{freshness::Freshness, tags::Tag, vary::selecting},
    purge::Purge,
    stored::Stored,
};

/// Variants kept of one URI; the oldest makes room.
const VARIANTS_MAX: usize = 16;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    /// Where in the segment it begins.
    pub(crate) offset: u64,
    pub(crate) head_bytes: u32,
    pub(crate) body_bytes: u64,
}

/// One response on disk.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// No other record has it; later ones have higher ones.
    pub(crate) id: u64,
    pub(crate) place: Place,
    pub(crate) status: StatusCode,
    pub(crate) freshness: Freshness,
    /// When it arrived, on the node's own clock.
    pub(crate) arrived: Duration,
    pub(crate) date_ms: i64,
    /// Of its payload, as in memory.
    pub(crate) number: u64,
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
    pub(crate) tags: Arc<[Tag]>,
    /// Its head, where the body is never taken into memory as a whole; without the segment.
    pub(crate) head: Option<Arc<Stored>>,
}

impl Entry {
    /// Of a stored response.
    pub(crate) fn of(id: u64, place: Place, stored: &Stored) -> Self {
        Self {
            id,
            place,
            status: stored.status,
            freshness: stored.freshness.clone(),
            arrived: stored.arrived,
            date_ms: stored.date_ms,
            number: stored.number,
            vary: stored.vary.clone(),
            selected_by: stored.selected_by.clone(),
            tags: Arc::clone(&stored.tags),
            head: None,
        }
    }

    /// Whether it is the same variant as a stored one.
    pub(crate) fn is_variant_of(&self, stored: &Stored) -> bool {
        self.is_variant(&stored.vary, &stored.selected_by)
    }

    fn is_variant(&self, vary: &[HeaderName], selected_by: &[Option<Vec<u8>>]) -> bool {
        self.vary == vary && self.selected_by == selected_by
    }

    fn matches(&self, request: &HeaderMap) -> bool {
        self.vary.is_empty() || selecting(&self.vary, request) == self.selected_by
    }

    /// How long it has been here.
    pub(crate) const fn resident(&self, now: Duration) -> Duration {
        now.saturating_sub(self.arrived)
    }

    /// Bytes of memory that it takes here, about, besides what its segment keeps of it.
    fn weight(&self, key: &CacheKey) -> u64 {
        let selected: usize = self.selected_by.iter().flatten().map(|value| value.len() + 32).sum();
        let tags: usize = self.tags.iter().map(|tag| 2 * tag.len() + 128).sum();
        let head = self.head.as_ref().map_or(0, |head| head.weight());
        (size_of::<Self>() + 2 * key.len() + 256 + selected + tags + head) as u64
    }
}

/// A segment and what was written to it.
#[derive(Debug)]
struct Kept<S> {
    segment: S,
    /// The URIs of all records in it, also of those that are dead by now.
    keys: Vec<CacheKey>,
    /// Bytes of memory that these take, until the segment is gone.
    weight: u64,
    live: usize,
}

/// All that is on disk.
#[derive(Debug)]
pub(crate) struct Catalog<S> {
    uris: BTreeMap<CacheKey, Vec<Entry>>,
    index: Index,
    segments: BTreeMap<u64, Kept<S>>,
    /// What is on its way there.
    pub(super) pending: OnTheWay,
    /// While what an earlier process left is still looked for.
    renewed: Option<Renewed>,
    /// Records that were forgotten and do not say so on disk yet.
    dead: Vec<(u64, u64)>,
    entries: u64,
    weight: u64,
}

impl<S> Default for Catalog<S> {
    fn default() -> Self {
        Self {
            uris: BTreeMap::new(),
            index: Index::default(),
            segments: BTreeMap::new(),
            pending: OnTheWay::default(),
            renewed: None,
            dead: Vec::new(),
            entries: 0,
            weight: 0,
        }
    }
}

impl<S: Clone> Catalog<S> {
    /// Responses, and bytes of memory that the catalogue takes.
    pub(crate) const fn size(&self) -> (u64, u64) {
        (self.entries, self.weight)
    }

    /// Whether anything is there under a URI.
    pub(crate) fn has(&self, key: &CacheKey) -> bool {
        self.uris.contains_key(key)
    }

    /// What an earlier process left is looked for from now on.
    pub(crate) fn begin_recovery(&mut self) {
        self.renewed = Some(Renewed::default());
    }

    /// All that it left is entered.
    pub(crate) fn end_recovery(&mut self) {
        self.renewed = None;
    }

    /// Whether something of a URI came, or was forgotten, since what an earlier process left is looked for.
    pub(crate) fn is_renewed(&self, key: &CacheKey) -> bool {
        self.renewed.as_ref().is_some_and(|renewed| renewed.has(key))
    }

    /// A segment.
    pub(crate) fn segment(&self, id: u64) -> Option<S> {
        self.segments.get(&id).map(|kept| kept.segment.clone())
    }

    /// All segments, the oldest first.
    pub(crate) fn segments(&self) -> impl ExactSizeIterator<Item = &S> {
        self.segments.values().map(|kept| &kept.segment)
    }

    /// Adds a segment.
    pub(crate) fn add_segment(&mut self, id: u64, segment: S) {
        self.segments.insert(id, Kept { segment, keys: Vec::new(), weight: 0, live: 0 });
    }

    /// Enters a response, in place of the same variant unless that one is newer.
    pub(crate) fn insert(&mut self, key: &CacheKey, entry: Entry) {
        let place = entry.place;
        let Some(kept) = self.segments.get_mut(&place.segment) else { return };
        // The name, and that the record is dead, which it will be.
        let kept_weight = (size_of::<CacheKey>() + key.len() + size_of::<(u64, u64)>()) as u64;
        kept.keys.push(key.clone());
        kept.weight += kept_weight;
        kept.live += 1;
        self.weight += kept_weight;
        self.entries += 1;
        self.weight += entry.weight(key);
        let entries = self.uris.entry(key.clone()).or_default();
        let of_it = |other: &Entry| other.is_variant(&entry.vary, &entry.selected_by);
        let is_newer = entries.iter().any(|other| of_it(other) && other.id > entry.id);
        let mut gone: Vec<Entry> = Vec::new();
        if is_newer {
            gone.push(entry);
        } else {
            gone.extend(entries.extract_if(.., |other| of_it(other)));
            entries.insert(0, entry);
            if entries.len() > VARIANTS_MAX {
                gone.extend(entries.drain(VARIANTS_MAX..));
            }
        }
        self.note_gone(key, &gone);
        self.reindex(key);
    }

    /// Counts entries as gone that are taken out already.
    fn note_gone(&mut self, key: &CacheKey, gone: &[Entry]) {
        for entry in gone {
            self.entries -= 1;
            self.weight -= entry.weight(key);
            if let Some(kept) = self.segments.get_mut(&entry.place.segment) {
                kept.live -= 1;
                self.dead.push((entry.place.segment, entry.place.offset));
            }
        }
    }

    fn reindex(&mut self, key: &CacheKey) {
        let tags: Arc<[Tag]> = match self.uris.get(key).map(Vec::as_slice) {
            None | Some([]) => {
                self.uris.remove(key);
                self.index.remove(key, 0);
                return;
            }
            Some([only]) => Arc::clone(&only.tags),
            Some(several) => {
                let tags: BTreeSet<Tag> =
                    several.iter().flat_map(|entry| entry.tags.iter().cloned()).collect();
                tags.into_iter().collect()
            }
        };
        self.index.set(key, 0, tags);
    }

    /// Takes out the entries of a URI that are `gone`. Answers how many.
    fn take(&mut self, key: &CacheKey, gone: impl Fn(&Entry) -> bool) -> usize {
        let Some(entries) = self.uris.get_mut(key) else { return 0 };
        let taken: Vec<Entry> = entries.extract_if(.., |entry| gone(entry)).collect();
        if !taken.is_empty() {
            self.note_gone(key, &taken);
            self.reindex(key);
        }
        taken.len()
    }

    /// The response that a request selects, the most recent of those that it does, and its segment.
    pub(crate) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<(Entry, S)> {
        let entries = self.uris.get(key)?.iter();
        let entry = entries
            .filter(|entry| entry.matches(request))
            .max_by_key(|entry| (entry.date_ms, entry.arrived, entry.id))?;
        let kept = self.segments.get(&entry.place.segment)?;
        Some((entry.clone(), kept.segment.clone()))
    }

    /// Whether a response is there as it is in memory, and not among what is evicted soon.
    pub(crate) fn holds(&self, key: &CacheKey, stored: &Stored) -> bool {
        let entries = self.uris.get(key).into_iter().flatten();
        let mut same = entries.filter(|entry| {
            entry.is_variant_of(stored)
                && (entry.number, entry.arrived) == (stored.number, stored.arrived)
                && entry.freshness == stored.freshness
        });
        same.next().is_some_and(|entry| {
            let older = self.segments.range(..entry.place.segment).count();
            older >= self.segments.len() / 4
        })
    }

    /// Forgets what is there, or on its way, of the same variant as a response.
    pub(crate) fn forget_variant(&mut self, key: &CacheKey, stored: &Stored) -> usize {
        if let Some(renewed) = &mut self.renewed {
            renewed.note(key);
        }
        self.pending.forget_variant(key, stored);
        self.take(key, |entry| entry.is_variant_of(stored))
    }

    /// Forgets one record.
    pub(crate) fn forget(&mut self, key: &CacheKey, id: u64) -> bool {
        self.take(key, |entry| entry.id == id) > 0
    }

    /// Keeps the head of a record that was read.
    pub(crate) fn attach_head(&mut self, key: &CacheKey, id: u64, head: Arc<Stored>) {
        let Some(entries) = self.uris.get_mut(key) else { return };
        let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) else { return };
        self.weight -= entry.weight(key);
        entry.head = Some(head);
        self.weight += entry.weight(key);
    }

    /// Replaces the head of a record.
    pub(crate) fn set_head(&mut self, key: &CacheKey, id: u64, head: Arc<Stored>) {
        let Some(entries) = self.uris.get_mut(key) else { return };
        let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) else { return };
        self.weight -= entry.weight(key);
        *entry = Entry { head: Some(Arc::clone(&head)), ..Entry::of(entry.id, entry.place, &head) };
        self.weight += entry.weight(key);
        self.reindex(key);
    }

    /// Forgets what a purge is about; a soft one only makes it stale. `elsewhere`: whether what it hits under a
    /// URI is counted already. Answers how many responses it hit that are not.
    pub(crate) fn purge(
        &mut self,
        purge: &Purge,
        soft: bool,
        now: Duration,
        elsewhere: impl Fn(&CacheKey) -> bool,
    ) -> usize {
        if *purge == Purge::All && !soft {
            return self.clear(elsewhere);
        }
        let keys = self.index.hit_by(purge);
        let mut hit = 0;
        for key in &keys {
            let of_it = if soft {
                self.expire(key, purge, now)
            } else {
                self.take(key, |entry| purge.hits(key, &entry.tags))
            };
            if !elsewhere(key) {
                hit += of_it;
            }
        }
        hit
    }

    /// Forgets everything.
    fn clear(&mut self, elsewhere: impl Fn(&CacheKey) -> bool) -> usize {
        let others = self.uris.iter().filter(|(key, _entries)| !elsewhere(key));
        let hit = others.map(|(_key, entries)| entries.len()).sum();
        let all = std::mem::take(&mut self.uris);
        let places = all.values().flatten().map(|entry| entry.place);
        self.dead.extend(places.map(|place| (place.segment, place.offset)));
        self.index = Index::default();
        self.entries = 0;
        // Their names stay as long as the segments.
        self.weight = self.segments.values().map(|kept| kept.weight).sum();
        self.segments.values_mut().for_each(|kept| kept.live = 0);
        hit
    }

    fn expire(&mut self, key: &CacheKey, purge: &Purge, now: Duration) -> usize {
        let mut hit = 0;
        for entry in self.uris.get_mut(key).into_iter().flatten() {
            if purge.hits(key, &entry.tags) {
                entry.freshness = entry.freshness.expired(entry.resident(now));
                hit += 1;
            }
        }
        hit
    }

    /// Takes out the oldest segment that may go, with all that is in it.
    pub(crate) fn retire_oldest(&mut self, may: impl Fn(&S) -> bool) -> Option<(S, u64)> {
        let (oldest, _kept) = self.segments.iter().find(|(_id, kept)| may(&kept.segment))?;
        self.retire(*oldest)
    }

    /// Whether anything in a segment is alive.
    pub(crate) fn has_live(&self, id: u64) -> bool {
        self.segments.get(&id).is_some_and(|kept| kept.live > 0)
    }

    /// Takes out a segment. Answers how many responses went with it.
    pub(crate) fn retire(&mut self, id: u64) -> Option<(S, u64)> {
        let kept = self.segments.remove(&id)?;
        let before = self.entries;
        for key in &kept.keys {
            self.take(key, |entry| entry.place.segment == id);
        }
        self.weight -= kept.weight;
        self.dead.retain(|(segment, _offset)| *segment != id);
        Some((kept.segment, before - self.entries))
    }

    /// Segments that were written to and in which nothing is alive.
    pub(crate) fn empty_segments(&self) -> Vec<u64> {
        let is_empty = |kept: &Kept<S>| kept.live == 0 && !kept.keys.is_empty();
        self.segments.iter().filter(|(_id, kept)| is_empty(kept)).map(|(id, _kept)| *id).collect()
    }

    /// Records that do not say on disk yet that they are dead, with their segments.
    pub(crate) fn take_dead(&mut self) -> Vec<(S, u64)> {
        let dead = std::mem::take(&mut self.dead);
        let at = |(id, offset): (u64, u64)| Some((self.segments.get(&id)?.segment.clone(), offset));
        dead.into_iter().filter_map(at).collect()
    }

    /// What is there of one record.
    pub(crate) fn entry(&self, key: &CacheKey, id: u64) -> Option<&Entry> {
        self.entries(key).iter().find(|entry| entry.id == id)
    }

    /// What is there under a URI.
    pub(crate) fn entries(&self, key: &CacheKey) -> &[Entry] {
        self.uris.get(key).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
