//! The rows that match, as whole subtrees and as masks of leaves: what totals, facets, clusters and the
//! page are all taken from, so that they agree.

use super::{
    Row,
    columns::IndexView,
    filter::{Filter, Reach},
    leaf::{ROWS_MAX, RowKey, RowLeaf},
    tree::Node,
    zone::Zone,
};

/// What looking a row up by its number costs, in rows passed in a scan; an estimate.
const LOOKUP_COST: u64 = 200;

/// With this many rows to be scored without an area to thin them, all scores are had at once.
const SCORED_ONE_BY_ONE_MAX: u64 = 4_096;

/// Some of the rows of a leaf, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mask([u64; ROWS_MAX / 64]);

impl Mask {
    /// The mask of bytes that are 0 or 1.
    fn of_bytes(bytes: &[u8]) -> Self {
        /// Gathers the lowest bits of eight bytes in the highest byte of the product.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let mut mask = Self::default();
        for (word, bytes) in mask.0.iter_mut().zip(bytes.chunks(64)) {
            let (eights, rest) = bytes.as_chunks::<8>();
            for (at, eight) in eights.iter().enumerate() {
                *word |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (at * 8);
            }
            for (at, byte) in rest.iter().enumerate() {
                *word |= u64::from(*byte) << (eights.len() * 8 + at);
            }
        }
        mask
    }

    /// The places of the rows, ascending.
    pub(super) const fn places(&self) -> Places {
        Places { words: self.0, at: 0 }
    }

    /// The places of the rows in a list.
    pub(super) fn list<'a>(&self, room: &'a mut [u16; ROWS_MAX]) -> &'a [u16] {
        let mut len = 0;
        for (slot, place) in room.iter_mut().zip(self.places()) {
            *slot = u16::try_from(place).unwrap_or(u16::MAX);
            len += 1;
        }
        room.get(..len).unwrap_or_default()
    }
}

/// The places of a mask, ascending.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The words, without the bits that were given.
    words: [u64; ROWS_MAX / 64],
    /// The current word.
    at: usize,
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let word = self.words.get_mut(self.at)?;
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(self.at * 64 + bit);
            }
            self.at += 1;
        }
    }
}

/// Rows that match.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    /// All rows of the listing type below a node.
    Whole { node: &'a Node<RowLeaf>, zone: &'a Zone },
    /// Some rows of a leaf.
    Rows { leaf: &'a RowLeaf, mask: Mask, zone: Option<&'a Zone> },
}

/// All rows that match, each once.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) listing_type: u8,
    pub(super) items: Vec<Item<'a>>,
    /// How many rows.
    pub(super) total: u64,
    pub(super) scores: Scores<'a>,
}

/// What the words of a query are worth in a row.
#[derive(Debug)]
pub(super) enum Scores<'a> {
    /// There are no words.
    None,
    /// Asked one by one.
    Each(super::text::TextMatch<'a>),
    /// By row number.
    Table(Vec<u16>),
}

impl Scores<'_> {
    /// The score of a row: 0 if it lacks a word.
    pub(super) fn of(&self, row: Row) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Each(words) => Some(words.score(row)),
            Self::Table(scores) => Some(scores.get(row as usize).copied().map_or(0, u64::from)),
        }
    }
}

/// The rows of the listing type in a leaf.
pub(super) fn of_type(leaf: &RowLeaf, listing_type: u8) -> Mask {
    let mut bytes = [1; ROWS_MAX];
    let bytes = bytes.get_mut(..leaf.rows.len()).unwrap_or_default();
    leaf.keep_type(listing_type, bytes);
    Mask::of_bytes(bytes)
}

impl IndexView {
    /// The rows that match.
    ///
    /// Two plans: down the tree, passing over what cannot match and taking whole what must; or from the
    /// rows that ids or words name, if those are so few that looking each up costs less.
    pub(super) fn select<'a>(&'a self, mut filter: Filter<'a>) -> Selection<'a> {
        let mut selection = Selection {
            listing_type: filter.listing_type,
            items: Vec::new(),
            total: 0,
            scores: Scores::None,
        };
        if filter.impossible {
            return selection;
        }
        let named = self.named(&filter);
        selection.scores = match filter.words.take() {
            None => Scores::None,
            Some(words)
                if named.is_none()
                    && !filter.has_areas()
                    && words.count_max() > SCORED_ONE_BY_ONE_MAX =>
            {
                Scores::Table(words.scores_by_row())
            }
            Some(words) => Scores::Each(words),
        };
        match named {
            Some(rows) => self.select_named(&filter, rows, &mut selection),
            None => match self.rows.root() {
                Node::Leaf(leaf) => {
                    selection.add_leaf(&filter, leaf, &mut [1; ROWS_MAX], None, false);
                }
                node @ Node::Inner(_) => descend(&filter, node, false, &mut selection),
            },
        }
        selection
    }

    /// The rows that ids or words name, if they are few.
    fn named(&self, filter: &Filter<'_>) -> Option<Vec<Row>> {
        if let Some(rows) = &filter.rows {
            return Some(rows.clone());
        }
        let words = filter.words.as_ref()?;
        let few = words.count_max().saturating_mul(LOOKUP_COST) < self.len() as u64;
        few.then(|| words.rows().collect())
    }

    fn select_named<'a>(
        &'a self,
        filter: &Filter<'a>,
        rows: Vec<Row>,
        selection: &mut Selection<'a>,
    ) {
        let mut keys: Vec<RowKey> = rows.into_iter().filter_map(|row| self.key(row)).collect();
        keys.sort_unstable();
        let mut keys = keys.into_iter().peekable();
        while let Some(first) = keys.next() {
            let Some(leaf) = self.rows.leaf(&first) else {
                continue;
            };
            let mut bytes = [0; ROWS_MAX];
            let mut want = |place: usize| {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = 1;
                }
            };
            leaf.place(&first).into_iter().for_each(&mut want);
            while let Some(place) = keys.peek().and_then(|key| leaf.place(key)) {
                want(place);
                keys.next();
            }
            selection.add_leaf(filter, leaf, &mut bytes, None, false);
        }
    }
}

fn descend<'a>(
    filter: &Filter<'a>,
    node: &'a Node<RowLeaf>,
    inside: bool,
    selection: &mut Selection<'a>,
) {
    let Node::Inner(inner) = node else {
        return;
    };
    for child in &inner.children {
        let reach = filter.reach(&child.zone, inside);
        match (reach, &child.node) {
            (Reach::None, _) => {}
            (Reach::All, node) => {
                selection.total += u64::from(child.zone.count(usize::from(filter.listing_type)));
                selection.items.push(Item::Whole { node, zone: &child.zone });
            }
            (Reach::Inside | Reach::Some, Node::Leaf(leaf)) => {
                let inside = reach == Reach::Inside;
                let mut bytes = [1; ROWS_MAX];
                selection.add_leaf(filter, leaf, &mut bytes, Some(&child.zone), inside);
            }
            (Reach::Inside | Reach::Some, node @ Node::Inner(_)) => {
                descend(filter, node, reach == Reach::Inside, selection);
            }
        }
    }
}

impl<'a> Selection<'a> {
    /// Adds the rows of a leaf that are wanted so far and match.
    fn add_leaf(
        &mut self,
        filter: &Filter<'a>,
        leaf: &'a RowLeaf,
        bytes: &mut [u8; ROWS_MAX],
        zone: Option<&'a Zone>,
        inside: bool,
    ) {
        let bytes = bytes.get_mut(..leaf.rows.len()).unwrap_or_default();
        let mut count = filter.keep(leaf, inside, bytes);
        if count > 0 && !matches!(self.scores, Scores::None) {
            for (wanted, row) in bytes.iter_mut().zip(&leaf.rows) {
                if *wanted != 0 && self.scores.of(*row) == Some(0) {
                    *wanted = 0;
                    count -= 1;
                }
            }
        }
        if count > 0 {
            self.total += count as u64;
            self.items.push(Item::Rows { leaf, mask: Mask::of_bytes(bytes), zone });
        }
    }

    /// Shows all leaves with rows that match.
    pub(super) fn for_each_leaf(&self, mut visit: impl FnMut(&'a RowLeaf, Mask)) {
        for item in &self.items {
            match item {
                Item::Rows { leaf, mask, .. } => visit(leaf, *mask),
                Item::Whole { node, .. } => below(node, self.listing_type, &mut visit),
            }
        }
    }
}

/// Shows the leaves below a node with their rows of a listing type.
pub(super) fn below<'a>(
    node: &'a Node<RowLeaf>,
    listing_type: u8,
    visit: &mut impl FnMut(&'a RowLeaf, Mask),
) {
    match node {
        Node::Leaf(leaf) => visit(leaf, of_type(leaf, listing_type)),
        Node::Inner(inner) => {
            inner.children.iter().for_each(|child| below(&child.node, listing_type, visit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_every_place() {
        for step in [1, 2, 3, 7, 64, 255] {
            let bytes: Vec<u8> = (0..=255_usize).map(|at| u8::from(at % step == 0)).collect();
            for len in [0, 1, 9, 200, 256] {
                let mask = Mask::of_bytes(&bytes[..len]);
                let expected: Vec<usize> = (0..len).filter(|at| at % step == 0).collect();
                assert_eq!(mask.places().collect::<Vec<_>>(), expected);
                let mut room = [0; ROWS_MAX];
                assert_eq!(mask.list(&mut room).len(), expected.len());
            }
        }
    }
}
