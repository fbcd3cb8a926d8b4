//! Which words each row has, so that they can be taken away and scored without the document.

use std::sync::Arc;

use super::{
    super::{
        Row,
        shared::{ARC_BYTES, SharedVec},
    },
    field::{FIELDS, Field},
};

/// Rows per block: what one change copies.
const BLOCK: u32 = 32;

/// The codes of the words of every row, by field.
#[derive(Debug, Clone, Default)]
pub(super) struct RowWords {
    blocks: SharedVec<Option<Arc<Block>>>,
}

/// The words of neighbouring rows, encoded, one row behind the other.
#[derive(Debug, Clone, Default)]
struct Block {
    ends: [u32; BLOCK as usize],
    bytes: Box<[u8]>,
}

impl Block {
    fn range(&self, at: usize) -> Option<std::ops::Range<usize>> {
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Some(start as usize..*self.ends.get(at)? as usize)
    }

    /// The same block with other words for one row.
    fn with(&self, at: usize, words: &[u8]) -> Option<Self> {
        let range = self.range(at)?;
        let (before, after) = (self.bytes.get(..range.start)?, self.bytes.get(range.end..)?);
        let mut ends = self.ends;
        for end in ends.iter_mut().skip(at) {
            let moved = *end as usize - range.len() + words.len();
            // Documents are bounded, so 32 of them have far less than 4 GiB of words.
            *end = u32::try_from(moved).ok()?;
        }
        Some(Self { ends, bytes: [before, words, after].concat().into() })
    }
}

const fn place(row: Row) -> (u32, usize) {
    (row / BLOCK, (row % BLOCK) as usize)
}

impl RowWords {
    /// The words of a row, encoded; empty if it has none.
    pub(super) fn get(&self, row: Row) -> &[u8] {
        let (block, at) = place(row);
        self.blocks
            .get(block)
            .and_then(Option::as_ref)
            .and_then(|block| block.bytes.get(block.range(at)?))
            .unwrap_or_default()
    }

    /// Sets the words of a row.
    pub(super) fn set(&mut self, row: Row, words: &[u8]) {
        let (block, at) = place(row);
        self.blocks.change(block, |slot| {
            let changed = match slot {
                Some(block) => block.with(at, words),
                None => Block::default().with(at, words),
            };
            *slot = changed.filter(|block| !block.bytes.is_empty()).map(Arc::new);
        });
    }

    /// Bytes of everything.
    pub(super) fn bytes(&self) -> usize {
        let mut bytes = self.blocks.bytes();
        self.blocks.each(&mut |_, block| {
            bytes += block
                .as_ref()
                .map_or(0, |block| ARC_BYTES + size_of::<Block>() + block.bytes.len());
        });
        bytes
    }
}

/// Codes of words by field, sorted, each once.
pub(super) type Codes = [Vec<u32>; FIELDS];

/// Encodes the words of a row: per field their number and the steps from code to code, as LEB128.
/// Frequent words have low codes, hence most steps are a byte or two. No words are no bytes.
pub(super) fn encode(codes: &Codes) -> Vec<u8> {
    let mut bytes = Vec::new();
    if codes.iter().all(Vec::is_empty) {
        return bytes;
    }
    for codes in codes {
        put(codes.len() as u64, &mut bytes);
        let mut last = 0;
        for code in codes {
            put(u64::from(code - last), &mut bytes);
            last = *code;
        }
    }
    bytes
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift = (shift + 7).min(63);
    }
}

/// The words behind [`encode`] with their field, title first.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    bytes: &'a [u8],
    fields: std::slice::Iter<'static, Field>,
    field: Field,
    left: u64,
    last: u32,
}

/// Reads encoded words.
pub(super) fn decode(bytes: &[u8]) -> Decoded<'_> {
    Decoded { bytes, fields: Field::ALL.iter(), field: Field::Title, left: 0, last: 0 }
}

impl Iterator for Decoded<'_> {
    type Item = (Field, u32);

    fn next(&mut self) -> Option<(Field, u32)> {
        while self.left == 0 {
            self.field = *self.fields.next()?;
            self.left = take(&mut self.bytes)?;
            self.last = 0;
        }
        self.left -= 1;
        self.last += u32::try_from(take(&mut self.bytes)?).ok()?;
        Some((self.field, self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &RowWords, row: Row) -> Vec<(Field, u32)> {
        decode(words.get(row)).collect()
    }

    #[test]
    fn rows_keep_their_words_whatever_their_neighbours_do() {
        let mut words = RowWords::default();
        let of = |row: u32| -> Codes {
            let many = (0..row % 7).map(|nth| nth * 1_000 * row).collect();
            [vec![row, row + 1, row + 300], Vec::new(), many]
        };
        let wanted = |row: u32| -> Vec<(Field, u32)> {
            let codes = of(row);
            let in_fields = Field::ALL.iter().zip(&codes);
            in_fields.flat_map(|(field, codes)| codes.iter().map(|code| (*field, *code))).collect()
        };
        for row in (0..200).rev() {
            words.set(row, &encode(&of(row)));
        }
        let kept = words.clone();
        for row in (0..200).filter(|row| row % 3 == 0) {
            words.set(row, &encode(&Codes::default()));
        }
        words.set(70, &encode(&[Vec::new(), vec![u32::MAX], Vec::new()]));
        for row in 0..200 {
            assert_eq!(read(&kept, row), wanted(row));
            let now = match row {
                70 => vec![(Field::Place, u32::MAX)],
                row if row % 3 == 0 => Vec::new(),
                row => wanted(row),
            };
            assert_eq!(read(&words, row), now);
        }
        assert_eq!(read(&words, 5_000), []);
    }
}
