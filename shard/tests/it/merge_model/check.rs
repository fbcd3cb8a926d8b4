//! What holds after every step, and at the end.

use hexpop_shard::KeyRange;

use super::{
    clients::stored,
    world::{SESSIONS, World, session, territory},
};

impl World {
    pub(super) fn check(&self) {
        if let Err(error) = self.meta.map().check() {
            self.violated(&format!("the map: {error}"));
        }
        self.check_writers();
        self.check_ranges();
        for number in 0..SESSIONS {
            self.check_session(number);
        }
    }

    /// No key has two shards that take writes for it.
    fn check_writers(&self) {
        let writers: Vec<_> =
            self.groups.values().filter(|group| group.truth.sealed_for().is_none()).collect();
        for (at, one) in writers.iter().enumerate() {
            for other in &writers[at + 1..] {
                let (one, other) = (&one.truth, &other.truth);
                if one.range().unwrap().overlaps(other.range().unwrap()) {
                    let (one, other) = (one.shard(), other.shard());
                    self.violated(&format!("two shards take writes: {one} and {other}"));
                }
            }
        }
    }

    /// What the logs say tiles the territory.
    fn check_ranges(&self) {
        let holders = self.groups.iter().filter(|(id, _)| !self.absorbed.contains(*id));
        let mut ranges: Vec<&KeyRange> =
            holders.map(|(_, group)| group.truth.range().unwrap()).collect();
        ranges.sort_by(|a, b| a.start.cmp(&b.start));
        let whole = territory();
        let mut expected = whole.start;
        for range in ranges {
            if range.start != expected {
                self.violated(&format!("nobody holds {expected}, or two do"));
            }
            expected = range.end.clone().unwrap();
        }
        if Some(&expected) != whole.end.as_ref() {
            self.violated(&format!("nobody holds {expected}"));
        }
    }

    /// The one shard that holds a session has its last value.
    fn check_session(&self, number: usize) {
        let key = session(number).key();
        let holder = self.groups.iter().find(|(id, group)| {
            !self.absorbed.contains(*id) && group.truth.range().unwrap().contains(&key)
        });
        let Some((id, group)) = holder else { self.violated(&format!("nobody holds {key}")) };
        let found = stored(&group.truth, number).map(|(value, _)| value);
        let expected = self.reference.get(&number).map(|(value, _)| *value);
        if found != expected {
            self.violated(&format!(
                "session {number} is {found:?} in shard {id}, {expected:?} was stored last"
            ));
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_settled(&self) -> bool {
        let map = self.meta.map();
        self.operations.iter().all(|operation| operation.is_over)
            && self.erasures.iter().all(|erasure| erasure.complete.is_some())
            && self.groups.iter().all(|(id, group)| {
                let is_known = map.get(*id).is_some_and(|it| it.epoch == group.truth.epoch());
                let has_all = group.members.iter().all(|member| {
                    let copy = group.copies.get(&member.node.0);
                    copy.is_some_and(|copy| copy.state.applied() == group.truth.applied())
                });
                is_known && has_all
            })
    }

    pub(super) fn check_healed(&self) {
        if let Some(open) = self.operations.iter().find(|operation| !operation.is_over) {
            self.violated(&format!("operation {} does not end", open.id));
        }
        if self.erasures.iter().any(|erasure| erasure.complete.is_none()) {
            self.violated("an erasure does not end");
        }
        let map = self.meta.map();
        for (id, group) in &self.groups {
            if group.truth.sealed_for().is_some() || group.truth.open_merge().is_some() {
                self.violated(&format!("shard {id} is not done with a merge"));
            }
            let known = map.get(*id).map(|known| &known.range);
            if known != group.truth.range() {
                self.violated(&format!("the map has {known:?} of shard {id}"));
            }
            for member in &group.members {
                let state = group.copies.get(&member.node.0).map(|copy| copy.state.hash());
                if state != Some(group.truth.hash()) {
                    self.violated(&format!("replicas differ: {id} on {}", member.node));
                }
            }
        }
    }
}
