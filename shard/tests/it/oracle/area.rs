//! Places and areas, by the formulas of the textbooks.

use serde_json::Value;

pub(super) fn km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (f1, f2) = (a.0.to_radians(), b.0.to_radians());
    let (df, dl) = ((b.0 - a.0).to_radians(), (b.1 - a.1).to_radians());
    let (f, l) = ((df / 2.0).sin(), (dl / 2.0).sin());
    // In this order of operations: distances that differ in their last bit are no tie.
    let h = f * f + f1.cos() * f2.cos() * l * l;
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

pub(super) fn point(json: &Value) -> (f64, f64) {
    (json["lat"].as_f64().unwrap(), json["lng"].as_f64().unwrap())
}

/// Whether a place lies in a box given by two corners.
pub(super) fn in_box(area: &Value, (lat, lng): (f64, f64)) -> bool {
    let (top, left) = point(&area["topLeft"]);
    let (bottom, right) = point(&area["bottomRight"]);
    let crosses = left > right;
    let between = if crosses { lng >= left || lng <= right } else { lng >= left && lng <= right };
    lat <= top && lat >= bottom && between
}

pub(super) fn in_area(area: &Value, (lat, lng): (f64, f64)) -> bool {
    match area["type"].as_str().unwrap() {
        "radius" => km(point(&area["center"]), (lat, lng)) <= area["radiusKm"].as_f64().unwrap(),
        "bbox" => in_box(area, (lat, lng)),
        _ => {
            // The winding of the corners around the place, borders counted in.
            let corners: Vec<_> = area["points"].as_array().unwrap().iter().map(point).collect();
            let mut winding = 0;
            for (at, a) in corners.iter().enumerate() {
                let b = corners[(at + 1) % corners.len()];
                let side = (b.1 - a.1) * (lat - a.0) - (b.0 - a.0) * (lng - a.1);
                let (low, high) = (a.0.min(b.0), a.0.max(b.0));
                let (west, east) = (a.1.min(b.1), a.1.max(b.1));
                if side == 0.0 && lat >= low && lat <= high && lng >= west && lng <= east {
                    return true;
                }
                if a.0 <= lat && b.0 > lat && side > 0.0 {
                    winding += 1;
                }
                if a.0 > lat && b.0 <= lat && side < 0.0 {
                    winding -= 1;
                }
            }
            winding != 0
        }
    }
}
