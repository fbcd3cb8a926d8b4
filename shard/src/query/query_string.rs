//! The flat form: arrays repeat (`amenities=a&amenities=b`), nested names are dotted
//! (`geoFilter.center.lat=45`), and the points of a polygon are numbered
//! (`geoFilter.points.0.lat=45`) or repeat in parallel (`…points.lat=45&…points.lng=9&…`).

use super::node::Node;

/// More than a polygon of the greatest size needs.
const PARAMETERS_MAX: usize = 4096;
/// Dots in a name.
const DEPTH_MAX: usize = 6;

/// Reads a query string (without `?`), and gives the problems per parameter that keep it from
/// being read.
pub(super) fn parse(query: &str) -> Result<Node, Vec<(String, String)>> {
    let mut root: Vec<(String, Node)> = Vec::new();
    let mut problems = Vec::new();
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == PARAMETERS_MAX {
            problems.push((String::new(), format!("more than {PARAMETERS_MAX} parameters")));
            break;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            problems.push((shorten(name), "is not percent-encoded UTF-8".to_owned()));
            continue;
        };
        let path: Vec<&str> = name.split('.').collect();
        if path.len() > DEPTH_MAX || !insert(&mut root, &path, value) {
            problems.push((shorten(&name), "does not go with the other parameters".to_owned()));
        }
    }
    if problems.is_empty() { Ok(Node::Object(root)) } else { Err(problems) }
}

fn shorten(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Answers whether there was a place for the value.
fn insert(members: &mut Vec<(String, Node)>, path: &[&str], value: String) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return false;
    };
    let found = members.iter_mut().find(|(known, _)| known == name);
    match (found, rest.is_empty()) {
        (Some((_, Node::Words(words))), true) => words.push(value),
        (Some((_, Node::Object(inner))), false) => return insert(inner, rest, value),
        (Some(_), _) => return false,
        (None, true) => members.push(((*name).to_owned(), Node::Words(vec![value]))),
        (None, false) => {
            let mut inner = Vec::new();
            let placed = insert(&mut inner, rest, value);
            members.push(((*name).to_owned(), Node::Object(inner)));
            return placed;
        }
    }
    true
}

/// Percent-decoding, with `+` as a space (WHATWG URL, form encoding).
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                (high << 4) | low
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_nest_and_values_repeat() {
        let words = |list: &[&str]| Node::Words(list.iter().map(|&word| word.to_owned()).collect());
        let tree = parse("a=1&b.c=x+y&a=%C3%A9&b.d=&&e").unwrap();
        let inner = Node::Object(vec![("c".into(), words(&["x y"])), ("d".into(), words(&[""]))]);
        assert_eq!(
            tree,
            Node::Object(vec![
                ("a".into(), words(&["1", "é"])),
                ("b".into(), inner),
                ("e".into(), words(&[""]))
            ])
        );
        for wrong in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a.b=2", "a.b=1&a=2", "a.b.c.d.e.f.g=1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
