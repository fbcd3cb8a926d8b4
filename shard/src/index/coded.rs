//! A column of few distinct values: a code per row, a bitmap of rows per code.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::Row;

/// The code of rows that lack the value.
pub(super) const NONE: u32 = u32::MAX;

/// Dictionary-encoded values of the rows. Codes of values that no row has any more are reused.
#[derive(Debug)]
pub(super) struct CodedColumn<K> {
    codes: Vec<u32>,
    by_key: BTreeMap<K, u32>,
    entries: Vec<Entry<K>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    rows: RoaringBitmap,
}

impl<K> Default for CodedColumn<K> {
    fn default() -> Self {
        Self { codes: Vec::new(), by_key: BTreeMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<K: Ord + Clone> CodedColumn<K> {
    /// Gives a row that has none its value.
    pub(super) fn set(&mut self, row: Row, key: Option<K>) {
        let at = row as usize;
        if self.codes.len() <= at {
            self.codes.resize(at + 1, NONE);
        }
        let Some(key) = key else {
            return;
        };
        let code = self.code_for(key);
        if let (Some(slot), Some(entry)) =
            (self.codes.get_mut(at), self.entries.get_mut(code as usize))
        {
            *slot = code;
            entry.rows.insert(row);
        }
    }

    fn code_for(&mut self, key: K) -> u32 {
        if let Some(code) = self.by_key.get(&key) {
            return *code;
        }
        let entry = Entry { key: key.clone(), rows: RoaringBitmap::new() };
        let reused = self.free.pop();
        let code = match reused.and_then(|code| Some((code, self.entries.get_mut(code as usize)?)))
        {
            Some((code, slot)) => {
                *slot = entry;
                code
            }
            None => {
                self.entries.push(entry);
                // Codes are fewer than rows, and rows are counted in 32 bits.
                u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_key.insert(key, code);
        code
    }

    /// Takes the value of a row away.
    pub(super) fn clear(&mut self, row: Row) {
        let Some(slot) = self.codes.get_mut(row as usize) else {
            return;
        };
        let code = std::mem::replace(slot, NONE);
        let Some(entry) = self.entries.get_mut(code as usize) else {
            return;
        };
        entry.rows.remove(row);
        if entry.rows.is_empty() {
            self.by_key.remove(&entry.key);
            self.free.push(code);
        }
    }

    /// The codes of all rows.
    pub(super) fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// One more than the greatest code in use.
    pub(super) fn code_end(&self) -> usize {
        self.entries.len()
    }

    /// The value of a code in use.
    pub(super) fn key(&self, code: u32) -> Option<&K> {
        self.entries.get(code as usize).map(|entry| &entry.key)
    }

    /// The value of a row.
    pub(super) fn get(&self, row: Row) -> Option<&K> {
        self.key(*self.codes.get(row as usize)?)
    }

    /// The rows with a value.
    pub(super) fn rows(&self, key: &K) -> Option<&RoaringBitmap> {
        let code = self.by_key.get(key)?;
        self.entries.get(*code as usize).map(|entry| &entry.rows)
    }

    /// The rows with any of the values that `wanted` accepts.
    pub(super) fn rows_where(&self, wanted: impl Fn(&K) -> bool) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        for (_, code) in self.by_key.iter().filter(|(key, _)| wanted(key)) {
            if let Some(entry) = self.entries.get(*code as usize) {
                rows |= &entry.rows;
            }
        }
        rows
    }

    /// The rows with any of the values.
    pub(super) fn rows_in(&self, keys: &[K]) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        for found in keys.iter().filter_map(|key| self.rows(key)) {
            rows |= found;
        }
        rows
    }
}

/// Sets of values of the rows, such as amenities.
#[derive(Debug, Default)]
pub(super) struct SetColumn {
    values: Vec<Box<[Box<str>]>>,
    rows: BTreeMap<Box<str>, RoaringBitmap>,
}

impl SetColumn {
    /// Gives a row that has none its values.
    pub(super) fn set(&mut self, row: Row, values: &[String]) {
        let at = row as usize;
        if self.values.len() <= at {
            self.values.resize_with(at + 1, Box::default);
        }
        for value in values {
            self.rows.entry(value.as_str().into()).or_default().insert(row);
        }
        if let Some(slot) = self.values.get_mut(at) {
            *slot = values.iter().map(|value| value.as_str().into()).collect();
        }
    }

    /// Takes the values of a row away.
    pub(super) fn clear(&mut self, row: Row) {
        let Some(slot) = self.values.get_mut(row as usize) else {
            return;
        };
        for value in std::mem::take(slot) {
            if let Some(rows) = self.rows.get_mut(&value) {
                rows.remove(row);
                if rows.is_empty() {
                    self.rows.remove(&value);
                }
            }
        }
    }

    /// The rows with a value.
    pub(super) fn rows(&self, value: &str) -> Option<&RoaringBitmap> {
        self.rows.get(value)
    }
}
