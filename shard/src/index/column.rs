//! Columns of one leaf: each in the narrowest form that gives every value back exactly.
//!
//! A column that no row of the leaf has a value in takes no memory. A value that does not fit turns
//! the column into a wider one. Whatever a value is, a column holds whole numbers in its place, whose
//! order is that of the values, so that comparing a column is a loop over whole numbers.

mod cells;
mod codes;
mod numbers;
mod packed;
mod texts;
mod times;

pub(super) use self::{
    cells::{Cells, cell_of, own_bits},
    codes::{CodeSet, Codes, bloom},
    numbers::Numbers,
    texts::Texts,
    times::Times,
};

/// Room made at once: insertions into a leaf come in runs, and columns have no slack otherwise.
const ROOM: usize = 8;

/// Inserts a value without doubling the column.
pub(super) fn insert<T>(values: &mut Vec<T>, at: usize, value: T) {
    if values.len() == values.capacity() {
        values.reserve_exact(ROOM);
    }
    // A position behind the end is the end.
    values.insert(at.min(values.len()), value);
}

/// Takes a value out, if there is one.
pub(super) fn remove<T>(values: &mut Vec<T>, at: usize) {
    if at < values.len() {
        values.remove(at);
    }
}

/// Takes the values from `at` on out, and gives the room back.
pub(super) fn split_off<T>(values: &mut Vec<T>, at: usize) -> Vec<T> {
    let rest = values.split_off(at.min(values.len()));
    values.shrink_to_fit();
    rest
}
