//! The words of all rows: their codes, and which rows have them.

use super::{
    super::{
        Row,
        shared::{SharedMap, SharedVec},
    },
    field::{FIELDS, Field, Nearness},
    row_set::RowSet,
    typo::{Letters, Pattern},
    word::Word,
};

/// The end of the list of free codes.
const NO_CODE: u32 = u32::MAX;

/// Words with codes and rows. A word is there as long as any row has it; then its code is reused.
#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    codes: SharedMap<Word, u32>,
    slots: SharedVec<Slot, 8>,
    /// The letters of every word by code, close together: a search for typos looks at all of them.
    letters: SharedVec<Letters, 256>,
    /// One more than the greatest code ever used.
    end: u32,
    /// The first free code.
    free: u32,
}

/// What a code stands for.
#[derive(Debug, Clone)]
enum Slot {
    /// Nothing; with the next free code.
    Free(u32),
    /// A word.
    Used(Entry),
}

/// A word.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    word: Word,
    /// The rows that have it, by field.
    pub(super) rows: [RowSet; FIELDS],
}

/// A word that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) code: u32,
    pub(super) nearness: Nearness,
    pub(super) entry: &'a Entry,
}

impl Default for Slot {
    fn default() -> Self {
        Self::Free(NO_CODE)
    }
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            codes: SharedMap::default(),
            slots: SharedVec::default(),
            letters: SharedVec::default(),
            end: 0,
            free: NO_CODE,
        }
    }
}

impl Dictionary {
    /// Words.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.codes.from(|_| false).count()
    }

    /// One more than the greatest code ever used.
    pub(super) const fn code_end(&self) -> u32 {
        self.end
    }

    /// The code of a word, a new one if it is not there. [`add`](Self::add) a row to it then:
    /// words without rows do not vanish by themselves.
    pub(super) fn code_for(&mut self, word: &str) -> u32 {
        let key = Word::from(word);
        if let Some(code) = self.codes.get(&key) {
            return *code;
        }
        let code = if self.free == NO_CODE {
            self.end += 1;
            self.end - 1
        } else {
            self.free
        };
        let entry = Entry { word: key.clone(), rows: Default::default() };
        let used = Slot::Used(entry);
        let before = self.slots.change(code, |slot| std::mem::replace(slot, used));
        if let Some(Slot::Free(next)) = before {
            self.free = next;
        }
        self.letters.change(code, |slot| *slot = Letters::of(word));
        self.codes.insert(key, code);
        code
    }

    /// Notes that a row has a word in a field.
    pub(super) fn add(&mut self, code: u32, field: Field, row: Row) {
        self.slots.change(code, |slot| {
            if let Slot::Used(entry) = slot {
                entry_rows(entry, field).insert(row);
            }
        });
    }

    /// Notes that a row has a word in a field no longer.
    pub(super) fn take(&mut self, code: u32, field: Field, row: Row) {
        let free = self.free;
        let gone = self.slots.change(code, |slot| {
            let Slot::Used(entry) = slot else {
                return None;
            };
            entry_rows(entry, field).remove(row);
            if entry.rows.iter().any(|rows| rows.len() > 0) {
                return None;
            }
            match std::mem::replace(slot, Slot::Free(free)) {
                Slot::Used(entry) => Some(entry),
                Slot::Free(_) => None,
            }
        });
        if let Some(entry) = gone.flatten() {
            self.codes.remove(&entry.word);
            self.letters.change(code, |slot| *slot = Letters::default());
            self.free = code;
        }
    }

    /// The word of a code.
    pub(super) fn word(&self, code: u32) -> Option<&str> {
        self.entry(code).map(|entry| entry.word.as_str())
    }

    fn entry(&self, code: u32) -> Option<&Entry> {
        match self.slots.get(code)? {
            Slot::Used(entry) => Some(entry),
            Slot::Free(_) => None,
        }
    }

    /// All words that a word of a query stands for, sorted by code.
    pub(super) fn find(&self, word: &str, is_prefix: bool) -> Vec<Found<'_>> {
        let (key, mut found) = (Word::from(word), Vec::new());
        if is_prefix {
            let beginning = self.codes.from(|it| *it < key);
            for (longer, code) in
                beginning.take_while(|(it, _)| it.as_bytes().starts_with(word.as_bytes()))
            {
                let same = longer.as_bytes().len() == word.len();
                let nearness = if same { Nearness::Same } else { Nearness::Longer };
                found.extend(self.found(*code, nearness));
            }
        } else if let Some(code) = self.codes.get(&key) {
            found.extend(self.found(*code, Nearness::Same));
        }
        let pattern = Pattern::new(word);
        if pattern.forgives() {
            self.find_typos(&pattern, &mut found);
        }
        // A word that begins with the one looked for may be a typo of it as well: the nearest counts.
        found.sort_unstable_by_key(|it| (it.code, it.nearness));
        found.dedup_by_key(|it| it.code);
        found
    }

    fn found(&self, code: u32, nearness: Nearness) -> Option<Found<'_>> {
        Some(Found { code, nearness, entry: self.entry(code)? })
    }

    /// Looks at the letters of all words, and at those that pass for typos more closely.
    fn find_typos<'a>(&'a self, pattern: &Pattern, found: &mut Vec<Found<'a>>) {
        let mut chars = Vec::new();
        self.letters.each(&mut |code, letters| {
            if !pattern.may_match(*letters) {
                return;
            }
            let Some(entry) = self.entry(code) else {
                return;
            };
            chars.clear();
            chars.extend(entry.word.as_str().chars());
            let nearness = match pattern.typos(&chars) {
                Some(1) => Nearness::OneTypo,
                Some(2) => Nearness::TwoTypos,
                // The word itself was found already.
                _ => return,
            };
            found.push(Found { code, nearness, entry });
        });
    }

    /// Bytes of the words, and of the rows that have them.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let (mut words, mut rows) =
            (self.codes.bytes() + self.slots.bytes() + self.letters.bytes(), 0);
        self.slots.each(&mut |_, slot| {
            if let Slot::Used(entry) = slot {
                // The text of a long word is shared with the key.
                words += entry.word.heap_bytes();
                rows += entry.rows.iter().map(RowSet::heap_bytes).sum::<usize>();
            }
        });
        (words, rows)
    }
}

fn entry_rows(entry: &mut Entry, field: Field) -> &mut RowSet {
    let [title, place, description] = &mut entry.rows;
    match field {
        Field::Title => title,
        Field::Place => place,
        Field::Description => description,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_and_go_and_codes_are_reused() {
        let mut dictionary = Dictionary::default();
        let (loft, brera) = (dictionary.code_for("loft"), dictionary.code_for("brera"));
        dictionary.add(loft, Field::Title, 1);
        dictionary.add(loft, Field::Description, 1);
        dictionary.add(brera, Field::Place, 1);
        let kept = dictionary.clone();
        dictionary.take(loft, Field::Title, 1);
        assert_eq!(dictionary.len(), 2);
        dictionary.take(loft, Field::Description, 1);
        dictionary.take(brera, Field::Place, 1);
        assert_eq!((dictionary.len(), dictionary.find("loft", true).len()), (0, 0));
        let codes = ["villa", "casa", "attico"].map(|word| dictionary.code_for(word));
        assert_eq!(codes, [brera, loft, 2]);
        assert_eq!(dictionary.code_end(), 3);
        let found = kept.find("loft", false);
        assert_eq!((found.len(), found[0].code, found[0].nearness), (1, loft, Nearness::Same));
    }
}
