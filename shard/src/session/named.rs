//! Of which users the disks of a shard may hold something: whoever an entry of the log named, or a
//! snapshot, since all disks were last rid of what was before.
//!
//! Users are known by a digest, so that this outlives no erasure as a list of names. One digest for two
//! users costs a compaction that was not needed, and nothing else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hash_point;

/// The most users that are told apart; beyond it any may be meant.
const USERS_MAX: usize = 1 << 16;

/// The most digests in one part of a snapshot.
const PART: usize = 4096;

/// Users, or any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Users {
    digests: BTreeSet<u64>,
    is_any: bool,
}

impl Users {
    fn extend(&mut self, digests: impl IntoIterator<Item = u64>, is_any: bool) {
        self.is_any |= is_any;
        if !self.is_any {
            self.digests.extend(digests);
            self.is_any = self.digests.len() > USERS_MAX;
        }
        if self.is_any {
            self.digests.clear();
        }
    }

    fn may_be(&self, digest: u64) -> bool {
        self.is_any || self.digests.contains(&digest)
    }
}

/// Of which users disks may hold something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// Since disks were last to be rid of what is there.
    recent: Users,
    /// Before that.
    earlier: Users,
}

/// So few bits that many ids share them: to know a digest is not to know that a user was here.
fn digest(user: &str) -> u64 {
    hash_point(user.as_bytes()) >> 42
}

impl Named {
    pub(super) fn name(&mut self, user: &str) {
        self.recent.extend([digest(user)], false);
    }

    /// Somebody was named whom nobody here knows.
    pub(super) fn name_any(&mut self) {
        self.recent.extend([], true);
    }

    pub(super) fn may_hold(&self, user: &str) -> bool {
        let digest = digest(user);
        self.recent.may_be(digest) || self.earlier.may_be(digest)
    }

    /// Disks are to be rid of all that is there.
    pub(super) fn begin_anew(&mut self) {
        let Users { digests, is_any } = std::mem::take(&mut self.recent);
        self.earlier.extend(digests, is_any);
    }

    /// They are.
    pub(super) fn forget_earlier(&mut self) {
        self.earlier = Users::default();
    }

    /// It in parts, for a snapshot.
    pub(super) fn parts(&self) -> impl Iterator<Item = Self> {
        let recent = parts(&self.recent).map(|recent| Self { recent, ..Self::default() });
        let earlier = parts(&self.earlier).map(|earlier| Self { earlier, ..Self::default() });
        recent.chain(earlier)
    }

    /// Takes one part.
    pub(super) fn add(&mut self, part: Self) {
        let Self { recent, earlier } = part;
        self.recent.extend(recent.digests, recent.is_any);
        self.earlier.extend(earlier.digests, earlier.is_any);
    }
}

fn parts(users: &Users) -> impl Iterator<Item = Users> {
    let any = users.is_any.then(|| Users { is_any: true, ..Users::default() });
    let digests: Vec<u64> = users.digests.iter().copied().collect();
    let chunks: Vec<Users> = digests
        .chunks(PART)
        .map(|part| Users { digests: part.iter().copied().collect(), is_any: false })
        .collect();
    any.into_iter().chain(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_until_disks_are_rid_of_what_was_there_then() {
        let mut named = Named::default();
        assert!(!named.may_hold("u1"));
        named.name("u1");
        named.begin_anew();
        named.name("u2");
        assert!(named.may_hold("u1") && named.may_hold("u2"));
        named.forget_earlier();
        assert!(!named.may_hold("u1") && named.may_hold("u2"));
    }

    #[test]
    fn too_many_users_are_any_and_come_back_from_a_snapshot_as_they_were() {
        let mut named = Named::default();
        // Some share a digest.
        let mut users = (0..).map(|number| format!("u{number}"));
        while named.recent.digests.len() < USERS_MAX {
            named.name(&users.next().unwrap());
        }
        let nobody = (0..).map(|number| format!("nobody{number}"));
        let nobody = nobody.take(100).find(|user| !named.may_hold(user)).unwrap();
        let restored = |named: &Named| {
            let mut again = Named::default();
            named.parts().for_each(|part| again.add(part));
            again
        };
        assert!(named.parts().count() > 1);
        assert_eq!(restored(&named), named);
        named.name(&nobody);
        let other = (0..100).map(|number| format!("other{number}"));
        assert!(other.into_iter().all(|user| named.may_hold(&user)));
        assert_eq!(restored(&named), named);
    }
}
