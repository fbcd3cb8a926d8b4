//! Which rows match: bitmaps first, then one scan over the columns for what they cannot say.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::{Row, columns::ShardIndex, postings::WordMatch};
use crate::{
    geo::{Geometry, LatLng},
    query::Filters,
};

/// The rows that match, in ascending order, and what the words of the query found.
#[derive(Debug)]
pub(super) struct Matches {
    pub(super) rows: Vec<Row>,
    pub(super) words: Option<WordMatch>,
}

impl ShardIndex {
    pub(super) fn matching(&self, filters: &Filters) -> Matches {
        let words = filters.words.as_ref().map(|words| self.words.matching(words));
        let mut rows: Vec<Row> = self.rows_by_bitmaps(filters, words.as_ref()).iter().collect();
        self.scan_numbers(filters, &mut rows);
        if let Some(geometry) = &filters.geometry {
            self.scan_places(geometry, &mut rows);
        }
        Matches { rows, words }
    }

    fn rows_by_bitmaps(&self, filters: &Filters, words: Option<&WordMatch>) -> RoaringBitmap {
        let amenities = filters.amenities.iter().map(|amenity| self.amenities.rows(amenity));
        let known: Option<Vec<_>> = std::iter::once(self.listing_type.rows(&filters.listing_type))
            .chain(amenities)
            .map(|rows| rows.map(Cow::Borrowed))
            .collect();
        let Some(mut sets) = known else {
            return RoaringBitmap::new();
        };
        sets.push(Cow::Borrowed(&self.searchable));
        if !filters.ids.is_empty() {
            sets.push(Cow::Owned(filters.ids.iter().filter_map(|id| self.row(id)).collect()));
        }
        sets.extend(words.map(|words| Cow::Borrowed(&words.rows)));
        if !filters.property_types.is_empty() {
            sets.push(Cow::Owned(self.property_type.rows_in(&filters.property_types)));
        }
        if !filters.energy_ratings.is_empty() {
            sets.push(Cow::Owned(self.energy_rating.rows_in(&filters.energy_ratings)));
        }
        if !filters.neighborhoods.is_empty() {
            sets.push(Cow::Owned(self.neighborhood.rows_in(&filters.neighborhoods)));
        }
        if filters.currency.is_some() || filters.period.is_some() {
            sets.push(Cow::Owned(self.price_group.rows_where(|group| {
                filters.currency.is_none_or(|currency| group.currency == currency)
                    && filters.period.is_none_or(|period| group.period == Some(period))
            })));
        }
        if !filters.territories.is_empty() {
            sets.push(Cow::Owned(self.territory.rows_where(|territory| {
                filters.territories.iter().any(|place| {
                    place.country == territory.country
                        && place.region.as_ref().is_none_or(|region| *region == territory.region)
                })
            })));
        }
        sets.sort_by_key(|rows| rows.len());
        let mut sets = sets.into_iter();
        let first = sets.next().map(Cow::into_owned).unwrap_or_default();
        sets.fold(first, |rows, more| rows & &*more)
    }

    fn scan_numbers(&self, filters: &Filters, rows: &mut Vec<Row>) {
        let ranges = [
            (&self.amount, filters.price_min, filters.price_max),
            (&self.sq_meters, filters.sq_meters_min, filters.sq_meters_max),
            (&self.bedroom_count, filters.bedrooms_min, None),
            (&self.bathrooms, filters.bathrooms_min, None),
        ];
        for (column, min, max) in ranges {
            if min.is_none() && max.is_none() {
                continue;
            }
            let (min, max) = (min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
            // NaN, which stands for an absent value, is in no range.
            rows.retain(|row| {
                column.get(*row as usize).is_some_and(|value| *value >= min && *value <= max)
            });
        }
        if let Some(after) = filters.published_after_us {
            rows.retain(|row| {
                self.published_at_us
                    .get(*row as usize)
                    .is_some_and(|at| *at >= after && *at != super::columns::UNPUBLISHED)
            });
        }
    }

    fn scan_places(&self, geometry: &Geometry, rows: &mut Vec<Row>) {
        let bounds = geometry.bounds();
        let exact = !matches!(geometry, Geometry::Bbox { .. });
        rows.retain(|row| {
            let at = *row as usize;
            let (Some(lat), Some(lng)) = (self.lat.get(at), self.lng.get(at)) else {
                return false;
            };
            let place = LatLng { lat: *lat, lng: *lng };
            bounds.contains(place) && (!exact || geometry.contains(place))
        });
    }
}
