//! One row outside of its leaf, and changes of it.

use super::super::zone::Facts;

/// Of the kind: searches find the row.
const SEARCHABLE: u8 = 4;
/// Of the kind: the listing is active.
const ACTIVE: u8 = 8;
const TYPE_MASK: u8 = 3;

/// Amenities with a code below this have a bit of their own.
pub(in crate::index) const AMENITY_BITS: u32 = 64;

/// What a row is to searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::index) struct Kind(pub(super) u8);

impl Kind {
    /// Bits of a kind.
    pub(super) const BITS: usize = 4;
    /// The bits in which all rows of a listing type that searches find are alike.
    pub(super) const FOUND_BITS: u8 = SEARCHABLE | TYPE_MASK;

    /// A row of the listing type with this number.
    pub(in crate::index) fn new(listing_type: u8, active: bool, hidden: bool) -> Self {
        let active_bit = if active { ACTIVE } else { 0 };
        let searchable = if active && !hidden { SEARCHABLE } else { 0 };
        Self((listing_type & TYPE_MASK) | active_bit | searchable)
    }

    pub(in crate::index) fn hidden(self, hidden: bool) -> Self {
        Self::new(self.0 & TYPE_MASK, self.0 & ACTIVE != 0, hidden)
    }

    /// The number of the listing type, if searches find the row.
    pub(in crate::index) fn found_as(self) -> Option<usize> {
        (self.0 & SEARCHABLE != 0).then_some(usize::from(self.0 & TYPE_MASK))
    }
}

/// All that a leaf keeps of one row.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::index) struct Values {
    pub(in crate::index) kind: Kind,
    /// One more than the number of the property type; 0 = none.
    pub(in crate::index) property: u8,
    pub(in crate::index) group: Option<u32>,
    pub(in crate::index) energy: Option<u32>,
    pub(in crate::index) city: Option<u32>,
    pub(in crate::index) neighborhood: Option<u32>,
    /// Bits of the amenities with codes below [`AMENITY_BITS`].
    pub(in crate::index) amenities: u64,
    /// Codes of the others, ascending.
    pub(in crate::index) more_amenities: Vec<u32>,
    pub(in crate::index) amount: f64,
    pub(in crate::index) sq_meters: f64,
    pub(in crate::index) bedrooms: f64,
    pub(in crate::index) bathrooms: f64,
    pub(in crate::index) published: i64,
    pub(in crate::index) lat: f64,
    pub(in crate::index) lng: f64,
    pub(in crate::index) id: Box<str>,
}

/// A change of one row.
#[derive(Debug)]
pub(in crate::index) enum Change {
    /// It comes.
    Insert(Values),
    /// It goes; these were its values.
    Remove(Values),
    /// It is hidden or shown; `from` was its kind.
    Turn { values: Values, to: Kind },
}

impl Change {
    /// What goes and what comes of what searches find.
    pub(super) fn facts(&self, territory: u32) -> (Option<Facts>, Option<Facts>) {
        match self {
            Self::Insert(values) => (None, values.facts(territory)),
            Self::Remove(values) => (values.facts(territory), None),
            Self::Turn { values, to } => {
                let turned = Values { kind: *to, ..values.clone() };
                (values.facts(territory), turned.facts(territory))
            }
        }
    }
}

impl Values {
    /// What is summarised of the row, if searches find it.
    pub(in crate::index) fn facts(&self, territory: u32) -> Option<Facts> {
        Some(Facts {
            listing_type: self.kind.found_as()?,
            territory,
            property: self.property,
            group: self.group,
            energy: self.energy,
            neighborhood: self.neighborhood,
            amenities: self.amenities,
            amount: self.amount,
            sq_meters: self.sq_meters,
            bedrooms: self.bedrooms,
            bathrooms: self.bathrooms,
            published: self.published,
            lat: self.lat,
            lng: self.lng,
        })
    }
}
