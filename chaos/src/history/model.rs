//! What a key may do: the register of a session or of a listing, as a pure transition function.
//!
//! A session holds a value under a version until a write, a delete, an erasure of its user or its
//! expiry. A listing holds the write with the highest version, or the removal that was newer.
//! Times are microseconds on the recorder's clock.

/// No holder: the key does not exist.
const ABSENT: u32 = u32::MAX;
/// Nothing is known of what was there before the first operation.
const UNKNOWN: u32 = u32::MAX - 1;

/// What an operation does to its key, or sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// It sees, and changes nothing.
    See(Sight),
    /// It writes a session.
    Put(Put),
    /// It removes a session.
    End(Needs),
    /// It renews a session, if that is sliding.
    Renew,
    /// It removes a session if it is of this user.
    Erase(u32),
    /// It writes a listing, unless what is stored is as new.
    Upsert(Upsert),
    /// It removes a listing, unless what is stored is newer.
    Bury(Bury),
}

/// What an answer says of a key at one moment. Values and versions are numbers of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It did not exist.
    Absent,
    /// It existed, with this value and version where the answer told.
    Present {
        /// The value.
        value: Option<u32>,
        /// The version.
        version: Option<u32>,
    },
    /// It did not exist, or had another version.
    NotVersion(u32),
}

/// What a conditional write needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// No session.
    Absent,
    /// A session.
    Present,
    /// A session with this version.
    Version(u32),
}

/// A write of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) value: u32,
    /// `None`: not known; then it may be any that no other write is known to have made.
    pub(super) version: Option<u32>,
    pub(super) needs: Needs,
    /// How long it lives; `None` = for ever.
    pub(super) life_us: Option<u64>,
    pub(super) sliding: bool,
    pub(super) user: Option<u32>,
}

/// A write of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upsert {
    pub(super) value: u32,
    /// The number of the text of its version.
    pub(super) text: u32,
    pub(super) version: u64,
    /// The answer said that what is stored is as new.
    pub(super) is_ignored: bool,
}

/// A removal of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bury {
    pub(super) version: u64,
    /// The answer said that what is stored is newer.
    pub(super) is_ignored: bool,
}

/// One operation, ready to be put into an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// It takes effect no earlier.
    pub(super) start: u64,
    /// It takes effect no later; `u64::MAX` = at any time, or never.
    pub(super) end: u64,
    pub(super) duty: Duty,
    pub(super) deed: Deed,
    /// Steps that come before it, by their place.
    pub(super) after: Vec<u32>,
    /// Of a put: when what it wrote may expire, unless renewed.
    pub(super) from: u64,
    /// Of a put: the latest moment at which what it wrote may still be there.
    pub(super) until: u64,
}

/// Whether an operation took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It did, once.
    Must,
    /// It did, once, or never.
    May,
    /// It did any number of times, or never: what is left of an operation whose own truth is not
    /// asked for.
    Free,
}

/// A key between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The step whose write is stored, or [`ABSENT`], or [`UNKNOWN`].
    holder: u32,
    /// When it may expire.
    from: u64,
    /// No earlier than this.
    now: u64,
}

impl State {
    /// Before the first step.
    pub(super) const fn initial(is_known: bool) -> Self {
        Self { holder: if is_known { ABSENT } else { UNKNOWN }, from: 0, now: 0 }
    }

    /// All of it but the time, for fingerprints.
    pub(super) const fn words(self) -> [u64; 2] {
        [self.holder as u64, self.from]
    }

    /// The earliest moment at which it can be so.
    pub(super) const fn now(self) -> u64 {
        self.now
    }

    /// Whether only time has passed since `earlier`.
    pub(super) const fn holds_as(self, earlier: Self) -> bool {
        self.holder == earlier.holder && self.from == earlier.from
    }
}

/// How early a session may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// So many microseconds before its life.
    Early(u64),
    /// After half its life.
    Half,
}

impl Expiry {
    /// When a session may end that was renewed at `start` and lives for `life`.
    pub(super) const fn earliest(self, start: u64, life: u64) -> u64 {
        match self {
            Self::Early(us) => start.saturating_add(life).saturating_sub(us),
            Self::Half => start.saturating_add(life / 2),
        }
    }
}

/// The steps of a key and what bounds them.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// In the order of their starts.
    pub(super) steps: Vec<Step>,
    pub(super) is_listing: bool,
    pub(super) expiry: Expiry,
    pub(super) initial: State,
    /// For each version, the step that is known to have made it.
    pub(super) owners: Vec<Option<u32>>,
    /// For each value, whether some step may have written it.
    pub(super) is_written: Vec<bool>,
}

impl Problem {
    fn step(&self, place: u32) -> Option<&Step> {
        self.steps.get(usize::try_from(place).ok()?)
    }

    /// The key after the step at `place` took effect in `state`, as early as it can; `None` if it cannot.
    pub(super) fn after(&self, state: State, place: u32) -> Option<State> {
        let step = self.step(place)?;
        let at = Moment { problem: self, state, now: state.now.max(step.start) };
        let next = match step.deed {
            Deed::See(sight) => at.sees(sight),
            Deed::Put(put) => {
                at.meets(put.needs).map(|met| State { holder: place, from: step.from, ..met })
            }
            Deed::End(needs) => {
                at.present().filter(|_present| at.meets(needs).is_some()).map(State::ended)
            }
            Deed::Renew => at.renewed(step.start),
            Deed::Erase(user) => Some(at.erased(user)),
            Deed::Upsert(upsert) => {
                Some(at.superseded(place, upsert.version, upsert.is_ignored, u64::le))
            }
            Deed::Bury(bury) => Some(at.superseded(place, bury.version, bury.is_ignored, u64::lt)),
        }?;
        (next.now <= step.end).then_some(next)
    }
}

impl State {
    const fn ended(self) -> Self {
        Self { holder: ABSENT, from: 0, ..self }
    }
}

/// A key at the moment at which a step looks at it.
#[derive(Clone, Copy)]
struct Moment<'a> {
    problem: &'a Problem,
    state: State,
    now: u64,
}

impl Moment<'_> {
    fn holder(&self) -> Option<&Step> {
        self.problem.step(self.state.holder)
    }

    const fn unchanged(&self) -> State {
        State { now: self.now, ..self.state }
    }

    /// It exists now.
    fn present(&self) -> Option<State> {
        let exists = match self.state.holder {
            ABSENT => false,
            UNKNOWN => true,
            _ => self
                .holder()
                .is_some_and(|step| self.now <= step.until && !matches!(step.deed, Deed::Bury(_))),
        };
        exists.then(|| self.unchanged())
    }

    /// It does not exist now, or has expired as soon as it could.
    fn absent(&self) -> Option<State> {
        let is_buried = || self.holder().is_some_and(|step| matches!(step.deed, Deed::Bury(_)));
        if self.state.holder == ABSENT || is_buried() {
            Some(self.unchanged())
        } else if self.state.from == u64::MAX {
            None
        } else {
            Some(State { now: self.now.max(self.state.from), ..self.state }.ended())
        }
    }

    fn meets(&self, needs: Needs) -> Option<State> {
        match needs {
            Needs::Nothing => Some(self.unchanged()),
            Needs::Absent => self.absent(),
            Needs::Present => self.present(),
            Needs::Version(version) => {
                self.present().filter(|_present| self.has_version(version, true))
            }
        }
    }

    fn sees(&self, sight: Sight) -> Option<State> {
        match sight {
            Sight::Absent => self.absent(),
            Sight::Present { value, version } => self.present().filter(|_present| {
                value.is_none_or(|value| self.has_value(value))
                    && version.is_none_or(|version| self.has_version(version, true))
            }),
            Sight::NotVersion(version) if self.has_version(version, false) => self.absent(),
            Sight::NotVersion(_) => Some(self.unchanged()),
        }
    }

    fn has_value(&self, value: u32) -> bool {
        match self.holder().map(|step| step.deed) {
            Some(Deed::Put(put)) => put.value == value,
            Some(Deed::Upsert(upsert)) => upsert.value == value,
            Some(_) => false,
            // A value of before the recording; a listing's may have been written again by it.
            None => {
                self.state.holder == UNKNOWN
                    && (self.problem.is_listing || !self.problem.was_written(value))
            }
        }
    }

    /// Whether it has this version; `unsure` if that is not known.
    fn has_version(&self, version: u32, unsure: bool) -> bool {
        let owner = self.problem.owner(version);
        match self.holder().map(|step| step.deed) {
            Some(Deed::Put(Put { version: Some(own), .. })) => own == version,
            Some(Deed::Put(_)) => unsure && owner.is_none(),
            Some(Deed::Upsert(upsert)) => upsert.text == version,
            Some(_) => false,
            None => {
                let is_listing = self.problem.is_listing;
                self.state.holder == UNKNOWN && unsure && (is_listing || owner.is_none())
            }
        }
    }

    fn renewed(&self, touched_us: u64) -> Option<State> {
        let present = self.present()?;
        let Some(Deed::Put(Put { sliding: true, life_us: Some(life), .. })) =
            self.holder().map(|step| step.deed)
        else {
            return Some(present);
        };
        let from = self.problem.expiry.earliest(touched_us, life);
        Some(State { from: from.max(present.from), ..present })
    }

    fn erased(&self, user: u32) -> State {
        match self.holder().map(|step| step.deed) {
            Some(Deed::Put(put)) if put.user == Some(user) => self.unchanged().ended(),
            // What was there before the recording may be of any user; as UNKNOWN it may end anyway.
            _ => self.unchanged(),
        }
    }

    /// A listing's write: it counts unless what is stored is newer; `gives_way` says whether one
    /// version yields to a stored write with the other.
    fn superseded(
        &self,
        place: u32,
        version: u64,
        is_ignored: bool,
        gives_way: fn(&u64, &u64) -> bool,
    ) -> State {
        let is_older = match self.holder().map(|step| step.deed) {
            Some(Deed::Upsert(stored)) => gives_way(&version, &stored.version),
            Some(Deed::Bury(stored)) => version <= stored.version,
            // Something of before the recording that was as new, says the answer.
            _ => self.state.holder == UNKNOWN && is_ignored,
        };
        let next = self.unchanged();
        if is_older { next } else { State { holder: place, from: u64::MAX, ..next } }
    }
}

impl Problem {
    /// Whether what is stored has not certainly expired.
    pub(super) fn outlives(&self, state: State) -> bool {
        self.step(state.holder).is_none_or(|holder| state.now <= holder.until)
    }

    fn owner(&self, version: u32) -> Option<u32> {
        *self.owners.get(usize::try_from(version).ok()?)?
    }

    fn was_written(&self, value: u32) -> bool {
        usize::try_from(value)
            .ok()
            .and_then(|value| self.is_written.get(value))
            .is_some_and(|written| *written)
    }
}
