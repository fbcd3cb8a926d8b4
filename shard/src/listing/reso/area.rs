//! Areas and their units.

use super::{
    map::Draft,
    record::{Number, Record},
    words,
};

/// What an area is measured in.
#[derive(Clone, Copy)]
enum Unit {
    /// Always this.
    Fixed(&'static str),
    /// What a field says, or what is usual in the country.
    Named(&'static str),
    /// What a field says; without it the area means nothing.
    Only(&'static str),
}

impl Unit {
    /// Square metres of one.
    fn square_metres(self, record: &mut Record<'_>, country: Option<&str>) -> Option<f64> {
        match self {
            Self::Fixed(unit) => words::square_metres(unit),
            Self::Only(field) => words::square_metres(&record.word(field)?),
            Self::Named(field) => {
                let Some(word) = record.word(field) else {
                    let is_imperial = matches!(country, Some("US" | "CA"));
                    return words::square_metres(if is_imperial { "sqft" } else { "sqm" });
                };
                let factor = words::square_metres(&word);
                if factor.is_none() {
                    record.fail(field, "must be Square Feet or Square Meters");
                }
                factor
            }
        }
    }
}

/// Areas in square metres. An area of 0 is not known.
pub(super) fn areas(record: &mut Record<'_>, draft: &mut Draft, country: Option<&str>) {
    const LIVING: &[(&str, Unit)] = &[
        ("LivingArea", Unit::Named("LivingAreaUnits")),
        ("BuildingAreaTotal", Unit::Named("BuildingAreaUnits")),
    ];
    const LOT: &[(&str, Unit)] = &[
        ("LotSizeSquareFeet", Unit::Fixed("sqft")),
        ("LotSizeAcres", Unit::Fixed("acres")),
        ("LotSizeArea", Unit::Only("LotSizeUnits")),
    ];
    for (native, pointer, fields) in
        [("sqMeters", "/sqMeters", LIVING), ("lotSqMeters", "/lotSqMeters", LOT)]
    {
        let given = fields.iter().find_map(|(field, unit)| {
            let area = record.number(field).filter(|area| area.value != 0.0)?;
            Some((*field, area, unit.square_metres(record, country)?))
        });
        let Some((field, area, factor)) = given else { continue };
        let area = if factor == 1.0 {
            area
        } else {
            Number::of((area.value * factor * 10.0).round() / 10.0)
        };
        draft.json(native, pointer, &area.json, field);
    }
}
