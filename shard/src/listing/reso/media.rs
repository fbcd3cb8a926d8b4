//! The media of a RESO record.

use super::{
    super::{fields::RawObject, parse::ObjectWriter},
    record::Record,
    words::key,
};

/// Who may see a medium that is not for the public.
const NOT_PUBLIC: [&str; 4] = ["agentonly", "firmonly", "officeonly", "private"];

/// The media as a JSON list, in their `Order`: each as it came, with `MediaURL` as `url` and
/// without nulls. Those without an address, and those not for the public, are left out.
pub(super) fn media(record: &mut Record<'_>) -> Option<String> {
    let raw = record.raw("Media")?;
    let Ok(list) = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(raw) else {
        record.fail("Media", "must be a list of media, each with a MediaURL");
        return None;
    };
    let mut media = Vec::new();
    for (at, medium) in list.iter().enumerate() {
        match medium.get() {
            "null" => {}
            url if url.starts_with('"') => media.push((f64::MAX, url.to_owned())),
            object => match RawObject::parse(object) {
                Ok(object) => media.extend(entry(&object)),
                Err(_) => {
                    record.fail(&format!("Media/{at}"), "must be an object with a MediaURL");
                }
            },
        }
    }
    media.sort_by(|one, other| one.0.total_cmp(&other.0));
    let media: Vec<String> = media.into_iter().map(|(_, medium)| medium).collect();
    (!media.is_empty()).then(|| format!("[{}]", media.join(",")))
}

/// One medium and its place among them.
fn entry(object: &RawObject<'_>) -> Option<(f64, String)> {
    let url = object.get("MediaURL").filter(|url| url.starts_with('"') && *url != "\"\"")?;
    let permissions: Vec<String> = match object.get("Permission") {
        Some(list) if list.starts_with('[') => serde_json::from_str(list).unwrap_or_default(),
        Some(text) => {
            let text: String = serde_json::from_str(text).unwrap_or_default();
            text.split(',').map(ToOwned::to_owned).collect()
        }
        None => Vec::new(),
    };
    let not_public = |it: &String| NOT_PUBLIC.contains(&key(it).as_str());
    if !permissions.is_empty() && permissions.iter().all(not_public) {
        return None;
    }
    let order = object.get("Order").map_or(f64::MAX, |order| {
        order.trim_matches('"').parse().ok().filter(|it: &f64| !it.is_nan()).unwrap_or(f64::MAX)
    });
    let mut out = ObjectWriter::default();
    out.member("url", url);
    for (name, value) in &object.0 {
        let known = matches!(name.as_str(), "MediaURL" | "url") || name.contains('@');
        if !known && value.get() != "null" {
            out.member(name, value.get());
        }
    }
    Some((order, out.finish()))
}
