//! Which rows match, and which nodes may hold some.

use super::{
    area::{Area, Relation},
    column::CodeSet,
    columns::{IndexView, property_number, type_number},
    leaf::{AMENITY_BITS, RowLeaf},
    mask::Mask,
    text::TextMatch,
    zone::{Span, Zone},
};
use crate::{geo::Bounds, query::Filters};

/// Filters, prepared for one version of an index.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    /// The number of the listing type.
    pub(super) listing_type: u8,
    areas: Vec<Area>,
    /// Bits by [`property_number`].
    properties: Option<u16>,
    amenity_bits: u64,
    more_amenities: Vec<u32>,
    codes: Vec<(CodeColumn, CodeSet)>,
    ranges: Vec<(NumberColumn, f64, f64)>,
    published_from: Option<i64>,
    /// Whether words are asked for, whoever has taken them.
    has_words: bool,
    /// What the words of the query found.
    pub(super) words: Option<TextMatch<'a>>,
    /// Rows of the ids asked for.
    pub(super) rows: Option<Vec<super::Row>>,
    /// Something is asked for that no row has.
    pub(super) impossible: bool,
}

#[derive(Debug, Clone, Copy)]
enum CodeColumn {
    Territory,
    Group,
    Energy,
    Neighborhood,
}

#[derive(Debug, Clone, Copy)]
enum NumberColumn {
    Amount,
    SqMeters,
    Bedrooms,
    Bathrooms,
}

/// What a node can contribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing.
    None,
    /// All rows of the listing type.
    All,
    /// Some rows, all of which are inside the areas.
    Inside,
    /// Some rows.
    Some,
}

impl<'a> Filter<'a> {
    /// Prepares filters and a further box.
    pub(super) fn new(view: &'a IndexView, filters: &Filters, bounds: Option<Bounds>) -> Self {
        let mut filter = Self {
            listing_type: type_number(filters.listing_type),
            areas: filters.geometry.iter().map(Area::new).collect(),
            properties: None,
            amenity_bits: 0,
            more_amenities: Vec::new(),
            codes: Vec::new(),
            ranges: Vec::new(),
            published_from: filters.published_after_us,
            has_words: filters.words.is_some(),
            words: filters.words.as_ref().map(|words| view.text.matching(words)),
            rows: None,
            impossible: false,
        };
        filter.areas.extend(bounds.map(Area::of_bounds));
        if !filters.ids.is_empty() {
            filter.rows = Some(filters.ids.iter().filter_map(|id| view.row(id)).collect());
        }
        filter.add_numbers(filters);
        filter.add_codes(view, filters);
        filter.add_amenities(view, filters);
        filter
    }

    fn add_numbers(&mut self, filters: &Filters) {
        let ranges = [
            (NumberColumn::Amount, filters.price_min, filters.price_max),
            (NumberColumn::SqMeters, filters.sq_meters_min, filters.sq_meters_max),
            (NumberColumn::Bedrooms, filters.bedrooms_min, None),
            (NumberColumn::Bathrooms, filters.bathrooms_min, None),
        ];
        let asked = ranges.into_iter().filter(|(_, min, max)| min.is_some() || max.is_some());
        self.ranges = asked
            .map(|(column, min, max)| (column, min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX)))
            .collect();
        if !filters.property_types.is_empty() {
            let bits = filters.property_types.iter().map(|it| 1 << property_number(*it));
            self.properties = Some(bits.fold(0, |set, bit: u16| set | bit));
        }
    }

    fn add_codes(&mut self, view: &IndexView, filters: &Filters) {
        let texts = [
            (CodeColumn::Energy, &view.energy, &filters.energy_ratings),
            (CodeColumn::Neighborhood, &view.neighborhoods, &filters.neighborhoods),
        ];
        for (column, dictionary, wanted) in texts {
            if !wanted.is_empty() {
                let codes = wanted.iter().filter_map(|text| dictionary.code(text.as_str()));
                self.codes.push((column, CodeSet::new(codes)));
            }
        }
        if filters.currency.is_some() || filters.period.is_some() {
            let groups = view.groups.iter().filter(|(group, _)| {
                filters.currency.is_none_or(|currency| group.currency == currency)
                    && filters.period.is_none_or(|period| group.period == Some(period))
            });
            self.codes.push((CodeColumn::Group, CodeSet::new(groups.map(|(_, code)| code))));
        }
        if !filters.territories.is_empty() {
            let territories = view.territories.iter().filter(|(territory, _)| {
                filters.territories.iter().any(|place| {
                    place.country == territory.country
                        && place.region.as_ref().is_none_or(|region| *region == territory.region)
                })
            });
            let set = CodeSet::new(territories.map(|(_, code)| code));
            // Most often the shard holds nothing else.
            if !view.territories.iter().all(|(_, code)| set.has(Some(code))) {
                self.codes.push((CodeColumn::Territory, set));
            }
        }
        self.impossible |= self.codes.iter().any(|(_, set)| set.bloom == 0);
    }

    fn add_amenities(&mut self, view: &IndexView, filters: &Filters) {
        for amenity in &filters.amenities {
            match view.amenities.code(amenity.as_str()) {
                Some(code) if code < AMENITY_BITS => self.amenity_bits |= 1 << code,
                Some(code) => self.more_amenities.push(code),
                None => self.impossible = true,
            }
        }
    }

    /// Whether rows are limited to an area.
    pub(super) const fn has_areas(&self) -> bool {
        !self.areas.is_empty()
    }

    /// Whether nothing but the listing type and areas is asked for.
    pub(super) fn is_plain(&self) -> bool {
        self.properties.is_none()
            && self.amenity_bits == 0
            && self.more_amenities.is_empty()
            && self.codes.is_empty()
            && self.ranges.is_empty()
            && self.published_from.is_none()
            && !self.has_words
            && self.rows.is_none()
            && !self.impossible
    }

    /// What the rows within some bounds can contribute. `inside` says that they are known to be inside
    /// the areas.
    pub(super) fn reach(&self, zone: &Zone, inside: bool) -> Reach {
        let of = usize::from(self.listing_type);
        if zone.count(of) == 0 || self.impossible || !self.may_match(zone, of) {
            return Reach::None;
        }
        let mut inside_all = true;
        if !inside {
            for area in &self.areas {
                match area.relation(zone.lat, zone.lng) {
                    Relation::Outside => return Reach::None,
                    Relation::Inside => inside_all &= zone.located,
                    Relation::Border => inside_all = false,
                }
            }
        }
        if !inside_all {
            Reach::Some
        } else if self.is_plain() {
            Reach::All
        } else {
            Reach::Inside
        }
    }

    /// How a box of rows, all of which have coordinates, lies to the areas together.
    pub(super) fn relation(&self, lat: Span, lng: Span) -> Relation {
        let mut together = Relation::Inside;
        for area in &self.areas {
            match area.relation(lat, lng) {
                Relation::Outside => return Relation::Outside,
                Relation::Border => together = Relation::Border,
                Relation::Inside => {}
            }
        }
        together
    }

    fn may_match(&self, zone: &Zone, of: usize) -> bool {
        let numbers = self.ranges.iter().all(|(column, min, max)| match column {
            NumberColumn::Amount => zone.amount.get(of).is_some_and(|it| it.meets(*min, *max)),
            NumberColumn::SqMeters => zone.sq_meters.meets(*min, *max),
            NumberColumn::Bedrooms => zone.bedrooms_max >= *min,
            NumberColumn::Bathrooms => zone.bathrooms_max >= *min,
        });
        let codes = self.codes.iter().all(|(column, set)| {
            let bits = match column {
                CodeColumn::Territory => zone.territories,
                CodeColumn::Group => zone.groups,
                CodeColumn::Energy => zone.energy,
                CodeColumn::Neighborhood => zone.neighborhoods,
            };
            bits & set.bloom != 0
        });
        let published = self
            .published_from
            .is_none_or(|from| zone.published.get(of).is_some_and(|it| *it >= from));
        numbers
            && codes
            && published
            && zone.amenities.get(of).is_some_and(|it| it & self.amenity_bits == self.amenity_bits)
            && self
                .properties
                .is_none_or(|set| zone.properties.get(of).is_some_and(|it| it & set != 0))
    }

    /// Keeps the rows of a leaf that match: what costs least to compare comes first.
    pub(super) fn keep(&self, leaf: &RowLeaf, inside: bool, mask: &mut Mask) {
        leaf.keep_type(self.listing_type, mask);
        if let Some(set) = self.properties {
            leaf.keep_properties(set, mask);
        }
        if self.amenity_bits != 0 || !self.more_amenities.is_empty() {
            leaf.keep_amenities(self.amenity_bits, &self.more_amenities, mask);
        }
        if !inside {
            // Rows near each other stand together: what this leaves out are mostly whole words.
            for area in &self.areas {
                if mask.is_empty() {
                    return;
                }
                area.keep_bounds(leaf, mask);
            }
        }
        for (column, set) in &self.codes {
            if mask.is_empty() {
                return;
            }
            let column = match column {
                CodeColumn::Territory => leaf.territories(),
                CodeColumn::Group => &leaf.groups,
                CodeColumn::Energy => &leaf.energy,
                CodeColumn::Neighborhood => &leaf.neighborhoods,
            };
            column.keep_in(set, mask);
        }
        for (column, min, max) in &self.ranges {
            if mask.is_empty() {
                return;
            }
            let column = match column {
                NumberColumn::Amount => &leaf.amount,
                NumberColumn::SqMeters => &leaf.sq_meters,
                NumberColumn::Bedrooms => &leaf.bedrooms,
                NumberColumn::Bathrooms => &leaf.bathrooms,
            };
            column.keep_within(*min, *max, mask);
        }
        if let Some(from) = self.published_from {
            leaf.published.keep_from(from, mask);
        }
        if !inside {
            for area in &self.areas {
                if mask.is_empty() {
                    return;
                }
                area.keep_shape(leaf, mask);
            }
        }
    }
}
