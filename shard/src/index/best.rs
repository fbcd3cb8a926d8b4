//! The best of many rows, without sorting all of them.

use super::{
    area::Reference,
    leaf::RowLeaf,
    order::{LACKS_IT, ascending, from_ascending},
};
use crate::query::HitOrder;

/// A row that may be in the page.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    /// What it is ordered by, or a distance that it is not below.
    key: u64,
    is_exact: bool,
    /// Where all keys may be equal, the eight bytes of the id behind what all ids begin with: mostly
    /// enough to tell ids apart. Elsewhere 0, since reading ids costs more than it saves.
    head: u64,
    leaf: &'a RowLeaf,
    place: usize,
}

impl Candidate<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.key, self.head)
            .cmp(&(other.key, other.head))
            .then_with(|| self.leaf.id_bytes(self.place).cmp(other.leaf.id_bytes(other.place)))
    }

    /// No row that this one stands for has a greater key.
    fn key_most(&self) -> u64 {
        if self.is_exact { self.key } else { most(self.key) }
    }
}

/// The key of the greatest distance that may be behind the least.
fn most(key: u64) -> u64 {
    ascending(Reference::at_most_km(from_ascending(key)))
}

/// The best rows so far.
#[derive(Debug)]
pub(super) struct Best<'a, 'q> {
    wanted: usize,
    after: Option<&'q HitOrder>,
    /// Bytes that all ids begin with.
    common: usize,
    /// Where distances are taken from, if rows are ordered by them.
    pub(super) reference: Option<&'q Reference>,
    /// At most a few times as many as are wanted.
    rows: Vec<Candidate<'a>>,
    /// Rows at which the best are picked.
    rows_max: usize,
    /// No row with a greater key is among the best.
    key_max: u64,
}

impl<'a, 'q> Best<'a, 'q> {
    pub(super) fn new(wanted: usize, after: Option<&'q HitOrder>, common: usize) -> Self {
        let rows_max = 4 * wanted.max(64);
        let rows = Vec::with_capacity(rows_max);
        Self { wanted, after, common, reference: None, rows, rows_max, key_max: u64::MAX }
    }

    /// No row with a greater key is among the best.
    pub(super) const fn key_max(&self) -> u64 {
        self.key_max
    }

    /// Takes a row into account.
    pub(super) fn note(&mut self, key: u64, leaf: &'a RowLeaf, place: usize) {
        if key > self.key_max {
            return;
        }
        if let Some(after) = self.after
            && (key < after.key || key == after.key && leaf.id_bytes(place) <= after.id.as_bytes())
        {
            return;
        }
        let head = if key == LACKS_IT { head(leaf.id_bytes(place), self.common) } else { 0 };
        self.push(Candidate { key, is_exact: true, head, leaf, place });
    }

    /// Takes a row into account that lies so far off at least; its distance is taken only if it
    /// comes to that.
    pub(super) fn note_near(&mut self, at_least_km: f64, leaf: &'a RowLeaf, place: usize) {
        let row = Candidate { key: ascending(at_least_km), is_exact: false, head: 0, leaf, place };
        if row.key > self.key_max {
            return;
        }
        match self.after {
            Some(after) if row.key_most() < after.key => {}
            Some(after) if row.key <= after.key => {
                let row = self.exactly(row);
                self.note(row.key, leaf, place);
            }
            _ => self.push(row),
        }
    }

    fn push(&mut self, row: Candidate<'a>) {
        self.rows.push(row);
        if self.rows.len() >= self.rows_max {
            self.cut();
        }
    }

    /// The row with its own distance.
    fn exactly(&self, row: Candidate<'a>) -> Candidate<'a> {
        let place = row.leaf.location(row.place).filter(|_| !row.is_exact);
        match self.reference.zip(place) {
            Some((from, place)) => {
                Candidate { key: ascending(from.distance_km(place)), is_exact: true, ..row }
            }
            None => row,
        }
    }

    fn be_exact(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.iter_mut().for_each(|row| *row = self.exactly(*row));
        self.rows = rows;
    }

    /// Leaves out what cannot be among the best.
    fn cut(&mut self) {
        if self.rows.len() <= self.wanted || self.wanted == 0 {
            return;
        }
        if self.rows.iter().any(|row| !row.is_exact) {
            let (_, last, _) = self.rows.select_nth_unstable_by_key(self.wanted - 1, |row| row.key);
            // As many as are wanted have a key no greater than that one may have.
            let key_max = if last.key == LACKS_IT { LACKS_IT } else { most(last.key) };
            self.key_max = self.key_max.min(key_max);
            self.rows.retain(|row| row.key <= key_max);
            if self.rows.len() <= self.rows_max / 2 {
                return;
            }
            self.be_exact();
        }
        if self.rows.len() > self.wanted {
            let (_, last, _) = self.rows.select_nth_unstable_by(self.wanted - 1, Candidate::cmp);
            self.key_max = last.key;
            self.rows.truncate(self.wanted);
        }
    }

    /// Key, leaf and place of the best rows in their order.
    pub(super) fn finish(mut self) -> Vec<(u64, &'a RowLeaf, usize)> {
        self.cut();
        self.be_exact();
        self.rows.sort_unstable_by(Candidate::cmp);
        self.rows.truncate(self.wanted);
        self.rows.into_iter().map(|it| (it.key, it.leaf, it.place)).collect()
    }
}

/// The eight bytes of an id behind the first `common`, as a number in the order of ids.
fn head(id: &[u8], common: usize) -> u64 {
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(id.iter().skip(common)) {
        *to = *from;
    }
    u64::from_be_bytes(head)
}
