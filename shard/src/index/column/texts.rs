//! Texts end to end.

use super::{insert, remove, split_off};

/// Texts of rows, 64 KiB at most together.
#[derive(Debug, Clone, Default)]
pub(in crate::index) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u16>,
}

impl Texts {
    /// Room for so many texts of so many bytes together.
    pub(in crate::index) fn with_capacity(texts: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(texts) }
    }

    /// Bytes of all texts.
    pub(in crate::index) const fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where the text at a place begins.
    fn start(&self, at: usize) -> u16 {
        at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end)
    }

    /// The text of a row.
    #[inline]
    pub(in crate::index) fn get(&self, at: usize) -> &[u8] {
        let start = self.start(at);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }

    /// Adds a text behind all others.
    pub(in crate::index) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(u16::try_from(self.bytes.len()).unwrap_or(u16::MAX));
    }

    /// Inserts the text of a row.
    pub(in crate::index) fn insert(&mut self, at: usize, text: &[u8]) {
        let start = self.start(at);
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        if self.bytes.capacity() < self.bytes.len() + text.len() {
            self.bytes.reserve_exact(text.len() * super::ROOM);
        }
        let from = usize::from(start).min(self.bytes.len());
        self.bytes.splice(from..from, text.iter().copied());
        for end in self.ends.iter_mut().skip(at) {
            *end = end.saturating_add(length);
        }
        insert(&mut self.ends, at, start.saturating_add(length));
    }

    /// Takes the text of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        let start = self.start(at);
        let Some(end) = self.ends.get(at).copied() else {
            return;
        };
        drop(self.bytes.drain(usize::from(start)..usize::from(end)));
        remove(&mut self.ends, at);
        for it in self.ends.iter_mut().skip(at) {
            *it = it.saturating_sub(end - start);
        }
    }

    /// Takes the texts of the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        let start = self.start(at);
        let mut ends = split_off(&mut self.ends, at);
        for end in &mut ends {
            *end = end.saturating_sub(start);
        }
        Self { bytes: split_off(&mut self.bytes, usize::from(start)), ends }
    }

    /// Bytes on the heap.
    pub(in crate::index) const fn bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_wherever_they_are_put() {
        let mut texts = Texts::default();
        let mut expected: Vec<&[u8]> = Vec::new();
        for (at, text) in [(0, "b"), (0, ""), (2, "ddd"), (1, "aa"), (4, "e")] {
            texts.insert(at, text.as_bytes());
            expected.insert(at, text.as_bytes());
        }
        let all = |texts: &Texts, len: usize| -> Vec<Vec<u8>> {
            (0..len).map(|at| texts.get(at).to_vec()).collect()
        };
        assert_eq!(all(&texts, 5), expected);
        texts.remove(3);
        expected.remove(3);
        texts.remove(4);
        assert_eq!(all(&texts, 4), expected);
        let rest = texts.split_off(1);
        assert_eq!(
            (all(&rest, 3), all(&texts, 1)),
            (all_of(&expected[1..]), all_of(&expected[..1]))
        );
        assert_eq!((rest.text_bytes(), texts.get(1)), (4, &b""[..]));
    }

    fn all_of(texts: &[&[u8]]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.to_vec()).collect()
    }
}
