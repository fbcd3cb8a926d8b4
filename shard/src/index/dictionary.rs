//! Values of a column and their codes.

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc};

/// Values and their codes: what readers need of a dictionary. A clone shares it.
#[derive(Debug)]
pub(super) struct Dictionary<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug, Clone)]
struct Shared<K> {
    by_key: BTreeMap<K, u32>,
    by_code: Vec<Option<K>>,
}

impl<K> Clone for Dictionary<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord> Default for Dictionary<K> {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { by_key: BTreeMap::new(), by_code: Vec::new() }) }
    }
}

impl<K: Ord + Clone> Dictionary<K> {
    /// The code of a value that a row has.
    pub(super) fn code<Q: Ord + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.shared.by_key.get(key).copied()
    }

    /// The value of a code.
    pub(super) fn key(&self, code: u32) -> Option<&K> {
        self.shared.by_code.get(code as usize)?.as_ref()
    }

    /// The values that rows have, ascending, and their codes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.shared.by_key.iter().map(|(key, code)| (key, *code))
    }

    /// Bytes of memory, about; `of_key` says what a value owns elsewhere.
    pub(super) fn bytes(&self, of_key: impl Fn(&K) -> usize) -> usize {
        let keys: usize = self.shared.by_key.keys().map(of_key).sum();
        keys + self.shared.by_code.len() * (2 * size_of::<Option<K>>() + 8)
    }
}

/// How many rows have each value of a dictionary: what the writer needs besides. Codes of values that
/// no row has any more are given to others.
///
/// A value that is new to the shard copies the dictionary while a reader holds it: values are few, and
/// rows that bring a new one are fewer.
#[derive(Debug, Default)]
pub(super) struct Uses {
    rows: Vec<u32>,
    free: Vec<u32>,
}

impl Uses {
    /// The code for one more row with a text.
    pub(super) fn take_text(&mut self, texts: &mut Dictionary<Arc<str>>, text: &str) -> u32 {
        self.take_as(texts, text, |text: &str| Arc::from(text))
    }

    /// The code for one more row with a value.
    pub(super) fn take<K: Ord + Clone>(&mut self, values: &mut Dictionary<K>, value: &K) -> u32 {
        self.take_as(values, value, Clone::clone)
    }

    fn take_as<K: Ord + Clone + Borrow<Q>, Q: Ord + ?Sized>(
        &mut self,
        dictionary: &mut Dictionary<K>,
        key: &Q,
        owned: impl Fn(&Q) -> K,
    ) -> u32 {
        let code = dictionary.code(key).unwrap_or_else(|| self.add(dictionary, owned(key)));
        if let Some(rows) = self.rows.get_mut(code as usize) {
            *rows += 1;
        }
        code
    }

    fn add<K: Ord + Clone>(&mut self, dictionary: &mut Dictionary<K>, key: K) -> u32 {
        let shared = Arc::make_mut(&mut dictionary.shared);
        let code = self.free.pop().unwrap_or_else(|| {
            shared.by_code.push(None);
            self.rows.push(0);
            // Codes are fewer than rows, and rows are counted in 32 bits.
            u32::try_from(shared.by_code.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = shared.by_code.get_mut(code as usize) {
            *slot = Some(key.clone());
        }
        shared.by_key.insert(key, code);
        code
    }

    /// One row less has the value of a code.
    pub(super) fn give_back<K: Ord + Clone>(
        &mut self,
        dictionary: &mut Dictionary<K>,
        code: Option<u32>,
    ) {
        let Some((code, rows)) = code.and_then(|it| Some((it, self.rows.get_mut(it as usize)?)))
        else {
            return;
        };
        *rows = rows.saturating_sub(1);
        if *rows > 0 {
            return;
        }
        let shared = Arc::make_mut(&mut dictionary.shared);
        if let Some(key) = shared.by_code.get_mut(code as usize).and_then(Option::take) {
            shared.by_key.remove(&key);
        }
        self.free.push(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_reused_and_readers_keep_theirs() {
        let mut values = Dictionary::<Arc<str>>::default();
        let mut uses = Uses::default();
        let codes = ["a", "b", "a"].map(|key| uses.take_text(&mut values, key));
        assert_eq!(codes, [0, 1, 0]);
        let kept = values.clone();
        uses.give_back(&mut values, Some(0));
        assert_eq!(values.code("a"), Some(0));
        uses.give_back(&mut values, Some(0));
        uses.give_back(&mut values, None);
        assert_eq!(values.code("a"), None);
        assert_eq!(uses.take_text(&mut values, "c"), 0);
        assert_eq!(values.key(0).map(AsRef::as_ref), Some("c"));
        assert_eq!((kept.key(0).map(AsRef::as_ref), kept.code("c")), (Some("a"), None));
        let all: Vec<_> = values.iter().map(|(key, code)| (key.as_ref(), code)).collect();
        assert_eq!(all, [("b", 1), ("c", 0)]);
    }
}
