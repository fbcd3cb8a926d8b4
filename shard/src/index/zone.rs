//! Bounds of the rows below a node that searches find: what lets a search skip the node.

use super::column::{Times, bloom};

/// Listing types.
pub(super) const TYPES: usize = 3;

/// What is summarised of a row that searches find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) listing_type: usize,
    pub(super) territory: u32,
    /// One more than the number of the property type; 0 = none.
    pub(super) property: u8,
    pub(super) group: Option<u32>,
    pub(super) energy: Option<u32>,
    pub(super) neighborhood: Option<u32>,
    pub(super) amenities: u64,
    pub(super) amount: f64,
    pub(super) sq_meters: f64,
    pub(super) bedrooms: f64,
    pub(super) bathrooms: f64,
    pub(super) published: i64,
    pub(super) lat: f64,
    pub(super) lng: f64,
}

/// The least and the greatest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Default for Span {
    fn default() -> Self {
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Span {
    /// NaN changes nothing.
    pub(super) fn add(&mut self, number: f64) {
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn join(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Whether there is no number.
    pub(super) fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// Whether a number may lie within bounds.
    pub(super) fn meets(self, min: f64, max: f64) -> bool {
        self.min <= max && self.max >= min
    }
}

/// Bounds of a subtree. They may be wider than its rows are, never narrower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zone {
    /// Rows per listing type; exact.
    pub(super) counts: [u32; TYPES],
    /// Amounts per listing type.
    pub(super) amount: [Span; TYPES],
    /// Latest publication per listing type.
    pub(super) published: [i64; TYPES],
    /// Latitudes.
    pub(super) lat: Span,
    /// Longitudes.
    pub(super) lng: Span,
    /// Whether every row has coordinates.
    pub(super) located: bool,
    /// Bits of the property types per listing type, bit 0 = none.
    pub(super) properties: [u16; TYPES],
    /// Amenities that any row of a listing type has.
    pub(super) amenities: [u64; TYPES],
    pub(super) territories: u64,
    pub(super) groups: u64,
    pub(super) energy: u64,
    pub(super) neighborhoods: u64,
    pub(super) sq_meters: Span,
    pub(super) bedrooms_max: f64,
    pub(super) bathrooms_max: f64,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            counts: [0; TYPES],
            amount: [Span::default(); TYPES],
            published: [Times::NONE; TYPES],
            lat: Span::default(),
            lng: Span::default(),
            located: true,
            properties: [0; TYPES],
            amenities: [0; TYPES],
            territories: 0,
            groups: 0,
            energy: 0,
            neighborhoods: 0,
            sq_meters: Span::default(),
            bedrooms_max: f64::NEG_INFINITY,
            bathrooms_max: f64::NEG_INFINITY,
        }
    }
}

impl Zone {
    /// Takes a row in.
    pub(super) fn add(&mut self, facts: &Facts) {
        let of = facts.listing_type;
        if let Some(count) = self.counts.get_mut(of) {
            *count += 1;
        }
        if let Some(amount) = self.amount.get_mut(of) {
            amount.add(facts.amount);
        }
        if let Some(published) = self.published.get_mut(of) {
            *published = (*published).max(facts.published);
        }
        self.lat.add(facts.lat);
        self.lng.add(facts.lng);
        self.located &= !facts.lat.is_nan();
        if let Some(properties) = self.properties.get_mut(of) {
            *properties |= 1_u16.checked_shl(facts.property.into()).unwrap_or(u16::MAX);
        }
        if let Some(amenities) = self.amenities.get_mut(of) {
            *amenities |= facts.amenities;
        }
        let bit = |code: Option<u32>| code.map_or(0, bloom);
        self.territories |= bloom(facts.territory);
        self.groups |= bit(facts.group);
        self.energy |= bit(facts.energy);
        self.neighborhoods |= bit(facts.neighborhood);
        self.sq_meters.add(facts.sq_meters);
        self.bedrooms_max = self.bedrooms_max.max(facts.bedrooms);
        self.bathrooms_max = self.bathrooms_max.max(facts.bathrooms);
    }

    /// Widens these bounds to hold others.
    pub(super) fn join(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        for (amount, more) in self.amount.iter_mut().zip(other.amount) {
            amount.join(more);
        }
        for (published, more) in self.published.iter_mut().zip(other.published) {
            *published = (*published).max(more);
        }
        self.lat.join(other.lat);
        self.lng.join(other.lng);
        self.located &= other.located;
        for (properties, more) in self.properties.iter_mut().zip(other.properties) {
            *properties |= more;
        }
        for (amenities, more) in self.amenities.iter_mut().zip(other.amenities) {
            *amenities |= more;
        }
        self.territories |= other.territories;
        self.groups |= other.groups;
        self.energy |= other.energy;
        self.neighborhoods |= other.neighborhoods;
        self.sq_meters.join(other.sq_meters);
        self.bedrooms_max = self.bedrooms_max.max(other.bedrooms_max);
        self.bathrooms_max = self.bathrooms_max.max(other.bathrooms_max);
    }

    /// Rows of a listing type.
    pub(super) fn count(&self, listing_type: usize) -> u32 {
        self.counts.get(listing_type).copied().unwrap_or_default()
    }
}
