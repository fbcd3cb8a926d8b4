//! Columns of few distinct values, dictionary-encoded in as few bytes as there are values.

use std::collections::BTreeMap;

/// An unsigned integer that codes are kept in.
pub(super) trait Code: Copy + Default {
    /// The code of that number.
    fn from_number(number: usize) -> Self;

    /// The number of a code.
    fn number(self) -> usize;
}

impl Code for u8 {
    fn from_number(number: usize) -> Self {
        Self::try_from(number).expect("at most 255 different values")
    }

    fn number(self) -> usize {
        usize::from(self)
    }
}

impl Code for u16 {
    fn from_number(number: usize) -> Self {
        Self::try_from(number).expect("at most 65,535 different values")
    }

    fn number(self) -> usize {
        usize::from(self)
    }
}

impl Code for u32 {
    fn from_number(number: usize) -> Self {
        Self::try_from(number).expect("fewer values than rows")
    }

    fn number(self) -> usize {
        self as usize
    }
}

/// A code per row; code 0 stands for a missing value, code n for the n-th value in order.
pub(super) struct Coded<K, C> {
    codes: Vec<C>,
    keys: Vec<K>,
}

impl<K: Ord, C: Code> Coded<K, C> {
    /// The codes of all rows.
    pub(super) fn codes(&self) -> &[C] {
        &self.codes
    }

    /// All values, ascending.
    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// The value of a row.
    pub(super) fn get(&self, row: u32) -> Option<&K> {
        self.keys.get(self.codes[row as usize].number().checked_sub(1)?)
    }

    /// The code of the first value that is at least `key`.
    pub(super) fn first_code(&self, key: &K) -> usize {
        self.keys.partition_point(|it| it < key) + 1
    }

    /// Bytes of the codes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.codes)
    }
}

/// Encodes row after row.
pub(super) struct CodedBuilder<K, C> {
    codes: Vec<C>,
    by_key: BTreeMap<K, usize>,
}

impl<K: Ord, C: Code> CodedBuilder<K, C> {
    /// For about `rows` rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { codes: Vec::with_capacity(rows), by_key: BTreeMap::new() }
    }

    /// The next row.
    pub(super) fn push(&mut self, key: Option<K>) {
        let next = self.by_key.len() + 1;
        let code = key.map_or(0, |key| *self.by_key.entry(key).or_insert(next));
        self.codes.push(C::from_number(code));
    }

    /// Bytes of the codes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.codes)
    }

    /// The column with its values in order, its rows as `order` says.
    pub(super) fn finish(self, order: &[u32]) -> Coded<K, C> {
        let mut sorted = vec![C::default(); self.by_key.len() + 1];
        for (at, provisional) in self.by_key.values().enumerate() {
            sorted[*provisional] = C::from_number(at + 1);
        }
        let codes = order.iter().map(|row| sorted[self.codes[*row as usize].number()]).collect();
        Coded { codes, keys: self.by_key.into_keys().collect() }
    }
}
