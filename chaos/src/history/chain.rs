//! A list of places from which one can be taken out and put back in constant time: what is left to
//! be ordered. (Knuth's dancing links.)

/// No place.
const END: u32 = u32::MAX;

/// Places in a fixed order.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// For each place, its neighbours; the last entry is the ring's own.
    links: Vec<(u32, u32)>,
    ring: u32,
}

impl Chain {
    /// The places of `order`, all below `count`, each at most once.
    pub(super) fn new(count: u32, order: impl Iterator<Item = u32>) -> Self {
        let size = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1);
        let mut chain = Self { links: vec![(END, END); size], ring: count };
        let mut last = count;
        for place in order {
            chain.join(last, place);
            last = place;
        }
        chain.join(last, count);
        chain
    }

    /// The first place that is left.
    pub(super) fn first(&self) -> Option<u32> {
        self.following(self.ring)
    }

    /// The place behind `place`, which may have been taken out since.
    pub(super) fn following(&self, place: u32) -> Option<u32> {
        let (_before, behind) = self.link(place)?;
        (behind != self.ring && behind != END).then_some(behind)
    }

    /// Takes `place` out.
    pub(super) fn take(&mut self, place: u32) {
        if let Some((before, behind)) = self.link(place) {
            self.join(before, behind);
        }
    }

    /// Puts back what was taken out last of all that are out.
    pub(super) fn restore(&mut self, place: u32) {
        if let Some((before, behind)) = self.link(place) {
            self.join(before, place);
            self.join(place, behind);
        }
    }

    fn link(&self, place: u32) -> Option<(u32, u32)> {
        self.links.get(usize::try_from(place).ok()?).copied()
    }

    fn join(&mut self, before: u32, behind: u32) {
        let index = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        if let Some((_before, next)) = self.links.get_mut(index(before)) {
            *next = behind;
        }
        if let Some((previous, _behind)) = self.links.get_mut(index(behind)) {
            *previous = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chain: &Chain) -> Vec<u32> {
        std::iter::successors(chain.first(), |place| chain.following(*place)).collect()
    }

    #[test]
    fn what_was_taken_comes_back_where_it_was() {
        let mut chain = Chain::new(5, [3, 0, 4, 1].into_iter());
        assert_eq!(all(&chain), [3, 0, 4, 1]);
        for place in [0, 3, 1] {
            chain.take(place);
        }
        assert_eq!(all(&chain), [4]);
        assert_eq!(chain.following(0), Some(4), "one that is out still knows its place");
        for place in [1, 3] {
            chain.restore(place);
        }
        assert_eq!(all(&chain), [3, 4, 1]);
        chain.restore(0);
        assert_eq!(all(&chain), [3, 0, 4, 1]);
    }

    #[test]
    fn an_empty_chain_has_no_first() {
        assert!(all(&Chain::new(3, std::iter::empty())).is_empty());
        let mut chain = Chain::new(1, std::iter::once(0));
        chain.take(0);
        assert_eq!(chain.first(), None);
    }
}
