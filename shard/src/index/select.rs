//! The rows that match, as whole subtrees and as masks of leaves: what totals, facets, clusters and the
//! page are all taken from, so that they agree.

use super::{
    Row,
    columns::IndexView,
    filter::{Filter, Reach},
    leaf::{RowKey, RowLeaf},
    mask::Mask,
    tree::Node,
    zone::Zone,
};

/// What looking a row up by its number costs, in rows passed in a scan; an estimate.
const LOOKUP_COST: u64 = 200;

/// With this many rows to be scored without an area to thin them, all scores are had at once.
const SCORED_ONE_BY_ONE_MAX: u64 = 4_096;

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
                    selection.add_leaf(&filter, leaf, leaf.all(), None, false);
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
            let mut mask = Mask::default();
            leaf.place(&first).into_iter().for_each(|place| mask.set(place));
            while let Some(place) = keys.peek().and_then(|key| leaf.place(key)) {
                mask.set(place);
                keys.next();
            }
            selection.add_leaf(filter, leaf, mask, None, false);
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
                selection.add_leaf(filter, leaf, leaf.all(), Some(&child.zone), inside);
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
        mut mask: Mask,
        zone: Option<&'a Zone>,
        inside: bool,
    ) {
        filter.keep(leaf, inside, &mut mask);
        if !matches!(self.scores, Scores::None) {
            mask.keep_places(|at| {
                leaf.rows.get(at).is_some_and(|row| self.scores.of(*row) != Some(0))
            });
        }
        let count = mask.count();
        if count > 0 {
            self.total += count as u64;
            self.items.push(Item::Rows { leaf, mask, zone });
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
        Node::Leaf(leaf) => visit(leaf, leaf.of_type(listing_type)),
        Node::Inner(inner) => {
            inner.children.iter().for_each(|child| below(&child.node, listing_type, visit));
        }
    }
}
