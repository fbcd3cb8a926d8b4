//! From the records, in their order, to the state of every group.

use std::collections::BTreeMap;

use bytes::Bytes;
use hexpop_edge_config::GroupId;

use super::{
    OpenError,
    group::{GroupState, Places, Slot},
    record::Record,
    segment::{Place, file_name},
    space::STATE_BYTES,
    state::State,
};

/// A sound record that cannot stand where it stands.
#[derive(Debug)]
pub(super) struct Invalid(pub(super) &'static str);

/// The state so far.
#[derive(Debug, Default)]
pub(super) struct Replay {
    groups: BTreeMap<GroupId, Replayed>,
    pub(super) records: u64,
}

#[derive(Debug, Default)]
struct Replayed {
    /// Entries may have gaps on the way, where copies of older ones come later.
    entries: BTreeMap<u64, Entry>,
    state: GroupState,
    /// Whether any record, needed or not, tells what is or was in it.
    tells: bool,
}

#[derive(Debug)]
struct Entry {
    term: u64,
    tag: u8,
    starts: bool,
    place: Place,
}

impl Replay {
    pub(super) fn knows(&self, id: GroupId) -> bool {
        self.groups.contains_key(&id)
    }

    pub(super) fn apply(
        &mut self,
        id: GroupId,
        record: &Record<'_>,
        place: Place,
    ) -> Result<(), Invalid> {
        self.records += 1;
        if *record == Record::Seal {
            return Ok(());
        }
        let Replayed { entries, state, tells } = self.groups.entry(id).or_default();
        *tells |= matches!(record, Record::Entry { .. } | Record::Group(_));
        match *record {
            Record::Entry { term, index, tag, starts, moved, .. } => {
                let last = entries.last_key_value().map(|(index, _)| *index);
                if !moved && last.is_some_and(|last| last >= index) {
                    return Err(Invalid("the entry is not after the one before"));
                }
                entries.insert(index, Entry { term, tag, starts, place });
            }
            Record::Vote(vote) => {
                state.vote = Some(vote);
                state.places.vote = place.seq;
            }
            Record::Truncate { from } => drop(entries.split_off(&from)),
            Record::Purge(upto) => {
                *entries = entries.split_off(&upto.index.saturating_add(1));
                state.purged = Some(upto);
                state.places.purged = place.seq;
            }
            Record::Committed(committed) => {
                state.committed = committed;
                state.places.committed = place.seq;
            }
            Record::Group(group) => {
                let at = |present: bool| if present { place.seq } else { 0 };
                state.alive = true;
                state.about = Bytes::copy_from_slice(group.about);
                state.vote = group.vote;
                state.purged = group.purged;
                state.committed = group.committed;
                state.places = Places {
                    group: place.seq,
                    vote: at(group.vote.is_some()),
                    purged: at(group.purged.is_some()),
                    committed: at(group.committed.is_some()),
                };
            }
            Record::Destroyed { vote } => {
                entries.clear();
                let places = Places { group: place.seq, ..Places::default() };
                *state = GroupState { vote, places, ..GroupState::default() };
            }
            Record::Seal => {}
        }
        Ok(())
    }

    /// The groups, if every log is whole.
    pub(super) fn finish(self) -> Result<BTreeMap<GroupId, GroupState>, OpenError> {
        let whole = self.groups.into_iter().map(|(id, replayed)| Ok((id, replayed.finish(id)?)));
        whole.collect()
    }
}

impl Replayed {
    fn finish(self, id: GroupId) -> Result<GroupState, OpenError> {
        let Self { entries, mut state, tells } = self;
        state.remains = tells && !state.alive;
        let corrupt = |place: Place, what: String| OpenError::Corrupt {
            file: file_name(place.seq),
            offset: u64::from(place.offset),
            group: Some(id),
            what,
        };
        let nowhere = Place { seq: state.places.vote, offset: 0, bytes: 0 };
        if state.places.group == 0 {
            let place = entries.values().next().map_or(nowhere, |entry| entry.place);
            return Err(corrupt(place, "the record that created the group is missing".to_owned()));
        }
        let mut next = state.purged.map_or(0, |purged| purged.index.saturating_add(1));
        state.first = next;
        for (index, entry) in entries {
            let Entry { term, tag, starts, place } = entry;
            if index != next {
                if !state.slots.is_empty() || !starts {
                    let what = format!("entry {index} follows, but entry {next} is missing");
                    return Err(corrupt(place, what));
                }
                state.first = index;
            }
            next = index.saturating_add(1);
            state.slots.push_back(Slot { term, op: 0, tag, place: Some(place), payload: None });
        }
        Ok(state)
    }
}

impl State {
    /// Counts, after opening, what every segment holds.
    pub(super) fn count_live(&mut self) {
        for (&id, group) in &mut self.groups {
            group.life = self.next_op;
            self.next_op += 1;
            for seq in group.places.all() {
                self.segments.hold(seq, id, STATE_BYTES);
            }
            for place in group.slots.iter().filter_map(|slot| slot.place) {
                self.segments.hold(place.seq, id, place.bytes);
            }
        }
    }
}
