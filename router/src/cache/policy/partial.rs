//! Parts of a body, stored until they are all there (RFC 9111 §3.3, §3.4). Pure.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::{precondition::strong_date, text::EntityTag};

/// Pieces of one body that are kept; one that would be one more replaces the others.
const PIECES_MAX: usize = 64;

/// Some parts of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// How long the whole body is.
    length: u64,
    /// Where each piece begins; in order, apart from each other or touching, never overlapping.
    pieces: Vec<(u64, Bytes)>,
}

impl Pieces {
    /// One part of a body of `length` bytes; `None` if it does not lie within.
    pub(crate) fn new(length: u64, start: u64, bytes: Bytes) -> Option<Self> {
        let within = start.checked_add(bytes.len() as u64)? <= length && !bytes.is_empty();
        within.then(|| Self { length, pieces: vec![(start, bytes)] })
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are there.
    pub(crate) fn held(&self) -> u64 {
        self.pieces.iter().map(|(_start, bytes)| bytes.len() as u64).sum()
    }

    /// Both together; where they overlap, the newer counts. Only the newer if they are not parts of
    /// bodies of one length, or would be too many pieces.
    pub(crate) fn combined(&self, newer: &Self) -> Self {
        if self.length != newer.length {
            return newer.clone();
        }
        let mut pieces = newer.pieces.clone();
        for (start, bytes) in &self.pieces {
            for gap in newer.gaps(*start..start + bytes.len() as u64) {
                let cut = |at: u64| usize::try_from(at - start).unwrap_or(bytes.len());
                pieces.push((gap.start, bytes.slice(cut(gap.start)..cut(gap.end))));
            }
        }
        pieces.sort_unstable_by_key(|(start, _bytes)| *start);
        if pieces.len() > PIECES_MAX {
            return newer.clone();
        }
        Self { length: self.length, pieces }
    }

    /// What of a range is not there.
    fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut from = range.start;
        for (start, bytes) in &self.pieces {
            let end = start + bytes.len() as u64;
            if *start >= range.end {
                break;
            }
            if *start > from {
                gaps.push(from..*start);
            }
            from = from.max(end);
        }
        if from < range.end {
            gaps.push(from..range.end);
        }
        gaps
    }

    /// A range, in as many chunks as it is stored in; `None` unless all of it is there.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Vec<Bytes>> {
        if !self.gaps(range.clone()).is_empty() {
            return None;
        }
        let overlapping = self.pieces.iter().filter_map(|(start, bytes)| {
            let end = start + bytes.len() as u64;
            let (from, to) = (range.start.max(*start), range.end.min(end));
            let cut = |at: u64| usize::try_from(at - start).unwrap_or(bytes.len());
            (from < to).then(|| bytes.slice(cut(from)..cut(to)))
        });
        Some(overlapping.collect())
    }

    /// The whole body, if all of it is there.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let chunks = self.slice(0..self.length)?;
        let mut whole = BytesMut::with_capacity(usize::try_from(self.length).ok()?);
        chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        Some(whole.freeze())
    }
}

/// Whether two responses are parts of one representation: they share a strong validator
/// (RFC 9110 §15.3.7.3).
pub(crate) fn share_validator(one: &HeaderMap, other: &HeaderMap, now_ms: i64) -> bool {
    match (EntityTag::of_response(one), EntityTag::of_response(other)) {
        (Some(one), Some(other)) => one.is_same(&other),
        (None, None) => {
            let date = strong_date(one, now_ms);
            date.is_some() && date == strong_date(other, now_ms)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn pieces(start: u64, text: &'static str) -> Pieces {
        Pieces::new(10, start, Bytes::from_static(text.as_bytes())).unwrap()
    }

    fn text(pieces: &Pieces, range: Range<u64>) -> Option<String> {
        let chunks = pieces.slice(range)?;
        Some(String::from_utf8(chunks.concat()).unwrap())
    }

    #[test]
    fn rfc9111_3_3_ranges_within_a_part() {
        let part = pieces(4, "45678");
        assert_eq!(text(&part, 4..9).as_deref(), Some("45678"));
        assert_eq!(text(&part, 6..8).as_deref(), Some("67"));
        assert_eq!(text(&part, 3..8), None);
        assert_eq!(text(&part, 8..10), None);
        assert_eq!(part.whole(), None);
        assert!(Pieces::new(10, 9, Bytes::from_static(b"ab")).is_none());
    }

    #[test]
    fn rfc9111_3_4_parts_are_combined() {
        let both = pieces(0, "012").combined(&pieces(5, "56789"));
        assert_eq!((text(&both, 0..3).as_deref(), text(&both, 2..6)), (Some("012"), None));
        let all = both.combined(&pieces(2, "2345"));
        assert_eq!(all.whole().as_deref(), Some(&b"0123456789"[..]));
        assert_eq!(all.held(), 10);
        let other = Pieces::new(11, 0, Bytes::from_static(b"x")).unwrap();
        assert_eq!(all.combined(&other), other);
    }

    #[test]
    fn rfc9110_15_3_7_3_strong_validators_only() {
        let headers = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            fields
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect()
        };
        let strong = headers(&[("etag", "\"1\"")]);
        let weak = headers(&[("etag", "W/\"1\"")]);
        let dated = headers(&[
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
        ]);
        assert!(share_validator(&strong, &strong, 0));
        assert!(!share_validator(&weak, &weak, 0));
        assert!(share_validator(&dated, &dated, 0));
        assert!(!share_validator(&strong, &dated, 0));
        assert!(!share_validator(&headers(&[]), &headers(&[]), 0));
    }

    proptest! {
        #[test]
        fn pieces_are_as_an_array_with_holes(
            parts in proptest::collection::vec((0_usize..60, 1_usize..20, any::<u8>()), 1..12),
            range in (0_usize..60, 0_usize..60),
        ) {
            let mut oracle = [None; 80];
            let mut all: Option<Pieces> = None;
            for (start, length, fill) in parts {
                oracle[start..start + length].fill(Some(fill));
                let bytes = Bytes::from(vec![fill; length]);
                let part = Pieces::new(80, start as u64, bytes).unwrap();
                all = Some(all.map_or_else(|| part.clone(), |all| all.combined(&part)));
            }
            let all = all.unwrap();
            let (from, to) = (range.0.min(range.1), range.0.max(range.1));
            let expected: Option<Vec<u8>> = oracle[from..to].iter().copied().collect();
            let found = all.slice(from as u64..to as u64).map(|chunks| chunks.concat());
            prop_assert_eq!(found, expected);
            prop_assert_eq!(all.held(), oracle.iter().flatten().count() as u64);
        }
    }
}
