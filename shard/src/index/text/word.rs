//! A word as a key.

use std::{cmp::Ordering, sync::Arc};

/// Bytes that fit without an allocation: nearly all words in Latin letters.
const SHORT_BYTES: usize = 22;

/// A word, sorted by its bytes, which is the order of its characters.
#[derive(Clone)]
pub(super) enum Word {
    /// Its bytes, as many as the number says.
    Short(u8, [u8; SHORT_BYTES]),
    Long(Arc<str>),
}

impl Word {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    /// The first bytes as a number in their order; what a short word lacks is 0, which is in no word.
    fn head(&self) -> u64 {
        let first = match self {
            Self::Short(_, bytes) => bytes.first_chunk(),
            Self::Long(text) => text.as_bytes().first_chunk(),
        };
        first.map_or(0, |first| u64::from_be_bytes(*first))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(..) => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }

    /// Bytes it owns elsewhere.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short(..) => 0,
            Self::Long(text) => super::super::shared::ARC_BYTES + text.len(),
        }
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(slot), Ok(len)) => {
                slot.copy_from_slice(text.as_bytes());
                Self::Short(len, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Word {}

impl PartialOrd for Word {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Word {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most words differ in their first bytes.
        self.head().cmp(&other.head()).then_with(|| self.as_bytes().cmp(other.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_text_and_their_order() {
        let long = "ß".repeat(12);
        let texts =
            ["", "a", "ab", "abcdefgh", "abcdefghi", "straße", "x234567890123456789012", &long];
        let words = texts.map(Word::from);
        assert_eq!(words.each_ref().map(Word::as_str), texts);
        assert!(words.is_sorted() && matches!(words[6], Word::Short(22, _)));
        assert!(matches!(words[7], Word::Long(_)));
        assert_eq!(size_of::<Word>(), 24);
    }
}
