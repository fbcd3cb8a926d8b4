//! Choices that a fuzzer's bytes make, under the interface of the tests' random choices.

/// Bytes that choose; once they are used up, `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Seeded {
    bytes: std::vec::IntoIter<u8>,
    state: u64,
}

impl Seeded {
    /// Choices of the bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec().into_iter(), state: 0 }
    }

    /// Choices that a number repeats.
    #[must_use]
    pub fn of_number(state: u64) -> Self {
        Self { bytes: Vec::new().into_iter(), state }
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.chosen(8).unwrap_or_else(|| {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }

    /// What the next bytes say, `None` without any.
    fn chosen(&mut self, bytes: usize) -> Option<u64> {
        let first = self.bytes.next()?;
        let more = self.bytes.by_ref().take(bytes - 1);
        Some(more.fold(u64::from(first), |number, byte| number << 8 | u64::from(byte)))
    }

    /// Below `end`. Small choices take one byte, so that a changed byte changes one choice.
    pub fn below(&mut self, end: usize) -> usize {
        let chosen = match end {
            0..=0x100 => self.chosen(1),
            0x101..=0x1_0000 => self.chosen(2),
            _ => None,
        };
        (chosen.unwrap_or_else(|| self.next()) % end as u64) as usize
    }

    /// Within 0 and 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Within two numbers.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One to `most` of the items.
    pub fn some<T: Clone>(&mut self, items: &[T], most: usize) -> Vec<T> {
        (0..=self.below(most)).map(|_| self.pick(items).clone()).collect()
    }
}
