//! Columns of one leaf: each in the narrowest form that gives every value back exactly.
//!
//! A column that no row of the leaf has a value in takes no memory. A value that does not fit turns
//! the column into a wider one. Masks have one byte per row, 1 = still wanted, so that comparing a
//! column is a loop without branches.

mod codes;
mod numbers;
mod times;

pub(super) use self::{
    codes::{CodeSet, Codes, bloom},
    numbers::Numbers,
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

/// The values that all fit, in a column without slack; `None` if one does not.
fn fitting<T, U>(values: &[T], fit: impl Fn(&T) -> Option<U>) -> Option<Vec<U>> {
    let mut fitted = Vec::with_capacity(values.len());
    for value in values {
        fitted.push(fit(value)?);
    }
    Some(fitted)
}
