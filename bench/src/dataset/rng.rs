//! The generator's own randomness: its values must never change with a dependency's release.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, fast, and good enough to draw listings from. Not
/// for anything an attacker gains from guessing.
///
/// The derived draws use only additions, multiplications and comparisons, which IEEE 754 defines to
/// the bit; the platform's `ln`, `exp` or `cos` would give other bytes on another machine.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Starts a sequence.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Starts the sequence of element `index` of the set that `seed` names, so that any element can
    /// be made without those before it.
    #[must_use]
    pub const fn for_element(seed: u64, index: u64) -> Self {
        let mut outer = Self::new(seed);
        let salt = outer.next_u64();
        Self::new(salt ^ index.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A whole number from `low` to `high`, both included; `low` when they are out of order.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// Approximately the standard normal distribution (twelve uniform draws less six), so never
    /// beyond 6 standard deviations.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_draw| self.unit()).fold(-6.0, |sum, draw| sum + draw)
    }

    /// A factor with median 1 and standard deviation `sigma` of its logarithm.
    pub fn log_normal(&mut self, sigma: f64) -> f64 {
        exp(self.normal() * sigma)
    }

    /// One of `items`, each as likely as the others; `None` when there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        usize::try_from(index).ok().and_then(|index| items.get(index))
    }

    /// One of `items` by weight; `None` when all weights are 0.
    pub fn weighted<'a, T>(&mut self, items: &'a [T], weight: impl Fn(&T) -> u64) -> Option<&'a T> {
        let total = items.iter().map(&weight).sum();
        let mut left = self.below(total);
        items.iter().find(|item| match left.checked_sub(weight(item)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

/// e^x for small x, as (1 + x/4096)^4096: within 0.2 % for |x| up to 4.
fn exp(x: f64) -> f64 {
    (0..12).fold(1.0 + x / 4096.0, |power, _square| power * power)
}

/// The cosine of a latitude in degrees, by its series: within 1e-6 up to 75 degrees.
pub(super) fn cos_degrees(degrees: f64) -> f64 {
    let x = degrees * std::f64::consts::PI / 180.0;
    let square = x * x;
    1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0 * (1.0 - square / 56.0)))
}

/// Rounds to `decimals` decimal places (at most 9).
pub(super) fn round_to(value: f64, decimals: u32) -> f64 {
    let scale = 10_u32.pow(decimals.min(9));
    (value * f64::from(scale)).round() / f64::from(scale)
}

/// The nearest whole number; 0 for anything negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and negative values are cut off before"
)]
pub(super) fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn weights_decide_how_often() {
        let mut rng = Rng::new(1);
        let items = [("never", 0), ("rare", 1), ("often", 9)];
        let picks: Vec<_> =
            (0..10_000).filter_map(|_| rng.weighted(&items, |item| item.1)).collect();
        let often = picks.iter().filter(|item| item.0 == "often").count();
        assert_eq!(picks.len(), 10_000);
        assert!((8_800..9_200).contains(&often), "{often}");
        assert!(picks.iter().all(|item| item.0 != "never"));
        assert!(rng.weighted(&items[..1], |item| item.1).is_none());
        assert!(rng.pick::<u8>(&[]).is_none());
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut rng = Rng::new(2);
        let draws: Vec<f64> = (0..50_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 50_000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 50_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn own_functions_are_close_to_the_true_ones() {
        for tenth in -30_i32..=30 {
            let x = f64::from(tenth) / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 0.002, "{x}");
        }
        for degrees in 0..70 {
            let degrees = f64::from(degrees);
            assert!((cos_degrees(degrees) - degrees.to_radians().cos()).abs() < 1e-4);
        }
    }
}
