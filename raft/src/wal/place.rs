//! Noting where records ended up, and what they made unneeded.

use hexpop_edge_config::GroupId;

use super::{segment::Place, space::STATE_BYTES, state::State};

#[derive(Debug)]
pub(super) struct Placed {
    pub(super) group: GroupId,
    pub(super) place: Place,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Entry {
        index: u64,
        op: u64,
    },
    Vote,
    Purged,
    Committed,
    Group {
        vote: bool,
        purged: bool,
        committed: bool,
    },
    Destroyed,
    /// Needed only as long as older segments are.
    Passing,
}

impl State {
    pub(super) fn place(&mut self, placed: &Placed) {
        let Placed { group: id, place, what } = *placed;
        let Some(group) = self.groups.get_mut(&id) else { return };
        let segments = &mut self.segments;
        let mut settle = |at: &mut u64, present: bool| {
            if *at != 0 {
                segments.release_one(*at, id, STATE_BYTES);
            }
            *at = if present { place.seq } else { 0 };
            if present {
                segments.hold(place.seq, id, STATE_BYTES);
            }
        };
        match what {
            What::Entry { index, op } => {
                segments.hold(place.seq, id, place.bytes);
                match group.slot_mut(index).filter(|slot| slot.op == op) {
                    Some(slot) => {
                        if let Some(old) = slot.place.replace(place) {
                            segments.release_one(old.seq, id, old.bytes);
                        }
                    }
                    None => self.limbo.push((place.seq, id, place.bytes)),
                }
            }
            What::Vote => settle(&mut group.places.vote, true),
            What::Purged => settle(&mut group.places.purged, true),
            What::Committed => settle(&mut group.places.committed, true),
            What::Group { vote, purged, committed } => {
                settle(&mut group.places.group, true);
                settle(&mut group.places.vote, vote);
                settle(&mut group.places.purged, purged);
                settle(&mut group.places.committed, committed);
            }
            What::Destroyed => {
                settle(&mut group.places.group, true);
                settle(&mut group.places.vote, false);
                settle(&mut group.places.purged, false);
                settle(&mut group.places.committed, false);
            }
            What::Passing => {}
        }
    }
}
