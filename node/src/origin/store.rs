//! The platform's state: listings, their indexes, and the feed of what happened to them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use hexpop_edge_config::Territory;
use hexpop_shard::{FieldError, IndexView, ShardIndex};
use http::HeaderValue;
use serde_json::{Map, Value};

use super::{
    feed::{Event, Feed},
    record::{Parsed, Record, RecordError},
};

/// How many versions of deleted listings are remembered, so that one that comes back under its old
/// id is newer than its deletion.
const TOMBSTONES_MAX: usize = 100_000;

/// Why a write was refused. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// There is no such listing.
    #[error("there is no listing with this id")]
    NotFound,
    /// There is one already.
    #[error("there is a listing with this id already")]
    Exists,
    /// `If-Match` names another state of it.
    #[error("the listing changed")]
    Changed(HeaderValue),
    /// The platform sets this field.
    #[error("`{0}` is set by the platform")]
    ReadOnly(&'static str),
    /// The result would be no listing.
    #[error(transparent)]
    Invalid(#[from] RecordError),
    /// A stored listing cannot be read back.
    #[error("the stored listing is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// A set of listing ids.
type Ids = BTreeSet<Arc<str>>;

/// All listings.
#[derive(Debug)]
pub(super) struct Store {
    listings: BTreeMap<Arc<str>, Arc<Record>>,
    by_territory: BTreeMap<Territory, Ids>,
    by_city: BTreeMap<String, Ids>,
    by_agent: BTreeMap<Box<str>, Ids>,
    index: ShardIndex,
    tombstones: BTreeMap<Arc<str>, u64>,
    tombstones_in_order: VecDeque<Arc<str>>,
    feed: Feed,
    next_number: u64,
}

impl Store {
    /// A platform without listings.
    pub(super) fn new(feed: Feed) -> Self {
        Self {
            listings: BTreeMap::new(),
            by_territory: BTreeMap::new(),
            by_city: BTreeMap::new(),
            by_agent: BTreeMap::new(),
            index: ShardIndex::default(),
            tombstones: BTreeMap::new(),
            tombstones_in_order: VecDeque::new(),
            feed,
            next_number: 0,
        }
    }

    /// Takes in a listing at the start; the feed does not tell of it. Of two with one id the newer
    /// stays, or the later one. Whether it was kept.
    pub(super) fn load(&mut self, parsed: Parsed) -> bool {
        let old = self.listings.get(parsed.record.id());
        let kept = old.is_none_or(|old| parsed.record.replaces(old));
        if kept {
            self.put(parsed);
        }
        kept
    }

    pub(super) fn len(&self) -> usize {
        self.listings.len()
    }

    pub(super) const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What searches look into.
    pub(super) const fn index(&self) -> &IndexView {
        self.index.view()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Record>> {
        self.listings.get(id)
    }

    /// Territories with their numbers of listings.
    pub(super) fn territories(&self) -> impl Iterator<Item = (&Territory, usize)> {
        self.by_territory.iter().map(|(territory, ids)| (territory, ids.len()))
    }

    /// Cities, by the slugs of their names.
    pub(super) fn cities(&self) -> impl Iterator<Item = &str> {
        self.by_city.keys().map(String::as_str)
    }

    /// The listings of a city in order of their ids; `None` when it has none.
    pub(super) fn in_city(&self, slug: &str) -> Option<impl Iterator<Item = &Arc<Record>>> {
        self.by_city.get(slug).map(|ids| self.all(ids))
    }

    /// The listings of an agent in order of their ids; `None` when it has none.
    pub(super) fn of_agent(&self, agent: &str) -> Option<impl Iterator<Item = &Arc<Record>>> {
        self.by_agent.get(agent).map(|ids| self.all(ids))
    }

    fn all<'a>(&'a self, ids: &'a Ids) -> impl Iterator<Item = &'a Arc<Record>> {
        ids.iter().filter_map(|id| self.listings.get(id))
    }

    /// The first `count` listings behind `after` (`""` = from the first), of one territory or of all.
    pub(super) fn page(
        &self,
        territory: Option<&Territory>,
        after: &str,
        count: usize,
    ) -> Vec<Arc<Record>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        match territory {
            None => self
                .listings
                .range::<str, _>(behind)
                .take(count)
                .map(|(_id, record)| Arc::clone(record))
                .collect(),
            Some(territory) => self.by_territory.get(territory).map_or_else(Vec::new, |ids| {
                ids.range::<str, _>(behind)
                    .take(count)
                    .filter_map(|id| self.listings.get(id).cloned())
                    .collect()
            }),
        }
    }

    /// Adds a listing, under a new id if it has none.
    pub(super) fn create(
        &mut self,
        mut fields: Map<String, Value>,
        now: jiff::Timestamp,
    ) -> Result<Arc<Record>, WriteError> {
        if fields.contains_key("version") {
            return Err(WriteError::ReadOnly("version"));
        }
        let id = match fields.get("id") {
            None => self.new_id(),
            Some(Value::String(id)) => id.clone(),
            Some(_other) => {
                let detail = "must be a text".to_owned();
                return Err(
                    RecordError(vec![FieldError { pointer: "/id".to_owned(), detail }]).into()
                );
            }
        };
        if self.listings.contains_key(id.as_str()) {
            return Err(WriteError::Exists);
        }
        let version = self.tombstones.get(id.as_str()).map_or(1, |version| version + 1);
        fields.insert("id".into(), id.into());
        self.write(fields, version, now)
    }

    /// Changes the fields that `patch` names: a JSON merge patch (RFC 7396).
    pub(super) fn patch(
        &mut self,
        id: &str,
        if_match: impl Fn(&HeaderValue) -> bool,
        patch: Map<String, Value>,
        now: jiff::Timestamp,
    ) -> Result<Arc<Record>, WriteError> {
        let old = self.current(id, if_match)?;
        if patch.contains_key("version") {
            return Err(WriteError::ReadOnly("version"));
        }
        if patch.get("id").is_some_and(|new| new != id) {
            return Err(WriteError::ReadOnly("id"));
        }
        let mut document: Value = serde_json::from_slice(old.body())?;
        merge(&mut document, Value::Object(patch));
        let Value::Object(fields) = document else { return Err(WriteError::NotFound) };
        self.write(fields, old.version() + 1, now)
    }

    /// Deletes a listing; its tombstone's version.
    pub(super) fn delete(
        &mut self,
        id: &str,
        if_match: impl Fn(&HeaderValue) -> bool,
    ) -> Result<u64, WriteError> {
        let old = self.current(id, if_match)?;
        let version = old.version() + 1;
        self.forget(&old);
        self.listings.remove(id);
        self.index.remove(id);
        self.bury(Arc::clone(old.id()), version);
        let event = Event::Delete { id: Arc::clone(old.id()), version };
        self.feed.push(event, vec![old.territory().clone()]);
        Ok(version)
    }

    fn current(
        &self,
        id: &str,
        if_match: impl Fn(&HeaderValue) -> bool,
    ) -> Result<Arc<Record>, WriteError> {
        let record = self.listings.get(id).ok_or(WriteError::NotFound)?;
        if if_match(record.etag()) {
            Ok(Arc::clone(record))
        } else {
            Err(WriteError::Changed(record.etag().clone()))
        }
    }

    fn write(
        &mut self,
        mut fields: Map<String, Value>,
        version: u64,
        now: jiff::Timestamp,
    ) -> Result<Arc<Record>, WriteError> {
        let now = jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        fields.insert("updatedAt".into(), now.to_string().into());
        fields.insert("version".into(), version.into());
        let body = Bytes::from(Value::Object(fields).to_string());
        let (record, old) = self.put(Record::parse(body)?);
        let mut territories = vec![record.territory().clone()];
        if let Some(old) = old
            && old.territory() != record.territory()
        {
            territories.push(old.territory().clone());
        }
        self.feed.push(Event::Put(Arc::clone(&record)), territories);
        Ok(record)
    }

    /// Stores a listing in all indexes; gives it back, and the one it replaced.
    fn put(&mut self, parsed: Parsed) -> (Arc<Record>, Option<Arc<Record>>) {
        let record = Arc::new(parsed.record);
        let id = record.id();
        self.index.insert(&parsed.columns, false);
        let old = self.listings.insert(Arc::clone(id), Arc::clone(&record));
        if let Some(old) = &old {
            self.forget(old);
        }
        self.tombstones.remove(id);
        self.by_territory.entry(record.territory().clone()).or_default().insert(Arc::clone(id));
        if let Some(city) = record.city_slug() {
            self.by_city.entry(city).or_default().insert(Arc::clone(id));
        }
        if let Some(agent) = &record.facts().agent {
            self.by_agent.entry(agent.clone()).or_default().insert(Arc::clone(id));
        }
        (record, old)
    }

    /// Takes a listing out of all indexes but the one by id.
    fn forget(&mut self, record: &Record) {
        remove(&mut self.by_territory, record.territory(), record.id());
        if let Some(city) = record.city_slug() {
            remove(&mut self.by_city, &city, record.id());
        }
        if let Some(agent) = &record.facts().agent {
            remove(&mut self.by_agent, agent, record.id());
        }
    }

    fn bury(&mut self, id: Arc<str>, version: u64) {
        self.tombstones_in_order.push_back(Arc::clone(&id));
        self.tombstones.insert(id, version);
        if self.tombstones_in_order.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones_in_order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }

    fn new_id(&mut self) -> String {
        loop {
            let id = format!("lst_{:06}", self.next_number.max(self.listings.len() as u64));
            self.next_number = self.next_number.max(self.listings.len() as u64) + 1;
            let used = self.listings.contains_key(id.as_str())
                || self.tombstones.contains_key(id.as_str());
            if !used {
                return id;
            }
        }
    }
}

fn remove<K: Ord + Clone>(index: &mut BTreeMap<K, Ids>, key: &K, id: &Arc<str>) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// RFC 7396 §2. The depth is that of parsed JSON, which the parser bounds.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use hexpop_bench::dataset::Generator;
    use serde_json::json;

    use super::*;

    fn store(count: u64) -> Store {
        let mut store = Store::new(Feed::new(1, 100));
        for body in Generator::new(3, count).json() {
            assert!(store.load(Record::parse(body.into()).unwrap()));
        }
        store
    }

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("not an object") };
        fields
    }

    fn any(_etag: &HeaderValue) -> bool {
        true
    }

    fn now() -> jiff::Timestamp {
        "2026-11-02T10:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let store = store(250);
        let mut after = String::new();
        let mut seen = Vec::new();
        loop {
            let page = store.page(None, &after, 100);
            let Some(last) = page.last() else { break };
            after = last.id().to_string();
            seen.extend(page.iter().map(|record| record.id().to_string()));
        }
        assert_eq!(seen.len(), 250);
        assert!(seen.is_sorted());
        let of_territories: usize =
            store.territories().map(|(t, _)| store.page(Some(t), "", 1_000).len()).sum();
        assert_eq!(of_territories, 250);
    }

    #[test]
    fn writes_raise_the_version_and_reach_the_feed() {
        let mut store = store(10);
        let old = Arc::clone(store.get("lst_000003").unwrap());
        let patch = fields(json!({"price": {"amount": 1}, "title": null, "new": {"a": 1}}));
        let new = store.patch("lst_000003", any, patch, now()).unwrap();
        assert_eq!(new.version(), old.version() + 1);
        assert_ne!(new.etag(), old.etag());
        let document: Value = serde_json::from_slice(new.body()).unwrap();
        assert_eq!(document["price"]["amount"], 1);
        assert_eq!(document["price"]["currency"], old.facts().price.unwrap().currency.as_str());
        assert_eq!(document["updatedAt"], "2026-11-02T10:00:00.5Z");
        assert!(document.get("title").is_none());

        let deleted = store.delete("lst_000003", any).unwrap();
        assert_eq!(deleted, new.version() + 1);
        assert!(store.get("lst_000003").is_none());
        let again = fields(serde_json::from_slice(old.body()).unwrap());
        let again = fields(again.into_iter().filter(|(name, _)| name != "version").collect());
        assert_eq!(store.create(again, now()).unwrap().version(), deleted + 1);
        assert_eq!(store.feed().len(), 3);
    }

    #[test]
    fn refused_writes_change_nothing() {
        let mut store = store(10);
        let patch = |value: Value| fields(value);
        let none = |_: &HeaderValue| false;
        let refused = [
            store.patch("lst_000001", none, patch(json!({})), now()),
            store.patch("nobody", any, patch(json!({})), now()),
            store.patch("lst_000001", any, patch(json!({"version": 9})), now()),
            store.patch("lst_000001", any, patch(json!({"id": "x"})), now()),
            store.patch("lst_000001", any, patch(json!({"price": 5})), now()),
            store.create(patch(json!({"id": "lst_000001"})), now()),
            store.create(patch(json!({"id": 7})), now()),
        ];
        assert!(refused.iter().all(Result::is_err));
        assert_eq!((store.len(), store.feed().len()), (10, 0));
    }

    #[test]
    fn a_listing_that_moves_is_told_to_both_territories() {
        let mut store = store(10);
        let head = store.feed().head();
        let old = store.get("lst_000001").unwrap().territory().clone();
        let patch = fields(json!({"country": "GR", "region": "attiki", "city": "Athína"}));
        let new = store.patch("lst_000001", any, patch, now()).unwrap();
        for territory in [&old, new.territory()] {
            assert!(!store.feed().after(head, Some(territory), 9).unwrap().lines.is_empty());
        }
        assert_eq!(store.in_city("athina").unwrap().count(), 1);
        assert_eq!(store.page(Some(new.territory()), "", 9).len(), 1);
    }

    #[test]
    fn new_ids_are_unused_ones() {
        let mut store = store(3);
        let body = fields(json!({
            "listingType": "sale", "status": "active", "country": "IT", "region": "lazio",
            "price": {"amount": 1, "currency": "EUR"},
        }));
        let first = store.create(body.clone(), now()).unwrap();
        store.delete(first.id(), any).unwrap();
        let second = store.create(body, now()).unwrap();
        assert_eq!((&**first.id(), &**second.id()), ("lst_000003", "lst_000004"));
        assert_eq!(second.version(), 1);
    }
}
