//! Collections whose clones share what neither of them changes.
//!
//! The one writer of an index changes its own copy; a clone of it costs one count, stays as it is,
//! and makes the writer copy what it changes from then on: a few nodes of at most some dozen items
//! each, never a whole collection. Nodes are narrow because copying one counts every node below it
//! once more, and those counters lie all over memory.

mod map;
mod vec;

use std::sync::Arc;

pub(super) use self::map::SharedMap;
pub(crate) use self::vec::SharedVec;

/// The two counters of an [`Arc`], for accounts of memory.
pub(super) const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The items of a vector, copied if it is shared, with room for one more.
///
/// [`Arc::make_mut`] alone would copy without room, so that the next insertion would copy again and
/// leave twice the space needed.
pub(super) fn room_for_one<T: Clone>(shared: &mut Arc<Vec<T>>) -> &mut Vec<T> {
    if Arc::get_mut(shared).is_none() {
        let mut copy = Vec::with_capacity(shared.len() + 1);
        copy.extend_from_slice(shared);
        *shared = Arc::new(copy);
    }
    let items = Arc::make_mut(shared);
    if items.len() == items.capacity() {
        items.reserve_exact(items.len() / 8 + 4);
    }
    items
}

/// Takes an item out of a vector, copied if it is shared; gives room back once half of it is free.
pub(super) fn take_out<T: Clone>(shared: &mut Arc<Vec<T>>, at: usize) -> Option<T> {
    let items = Arc::make_mut(shared);
    let item = (at < items.len()).then(|| items.remove(at));
    if items.capacity() > 2 * items.len() + 4 {
        items.shrink_to(items.len() + items.len() / 8);
    }
    item
}
