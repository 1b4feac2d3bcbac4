//! Counting different values: exactly while there are few, then by a sketch.

use std::collections::HashSet;

/// Bits of a hash that choose a register: the standard error is 1.04 / √16384 = 0.8 %.
const BITS: u32 = 14;
const REGISTERS: usize = 1 << BITS;
/// The most that a register can hold: zeros of the other bits, and one.
const MAX_RANK: u8 = 64 - 14 + 1;

/// Highest threshold up to which counts are exact, as in Elasticsearch.
pub(super) const MAX_THRESHOLD: usize = 40_000;

/// Below this a set is smaller than the registers anyway.
const MIN_THRESHOLD: usize = 128;

/// Different values, by their 64-bit hashes.
#[derive(Debug, Clone)]
pub(super) struct Distinct {
    threshold: usize,
    few: HashSet<u64>,
    /// `HyperLogLog` with Ertl's improved estimator; empty while the set is in use.
    registers: Vec<u8>,
}

impl Distinct {
    /// No values; exact for at most `threshold` of them.
    pub(super) fn new(threshold: usize) -> Self {
        Self {
            threshold: threshold.clamp(MIN_THRESHOLD, MAX_THRESHOLD),
            few: HashSet::new(),
            registers: Vec::new(),
        }
    }

    /// Adds the value with this hash, whose bits must be well mixed.
    pub(super) fn insert(&mut self, hash: u64) {
        if !self.registers.is_empty() {
            self.register(hash);
        } else if self.few.insert(hash) && self.few.len() > self.threshold {
            self.registers = vec![0; REGISTERS];
            for hash in std::mem::take(&mut self.few) {
                self.register(hash);
            }
        }
    }

    fn register(&mut self, hash: u64) {
        let at = usize::try_from(hash >> (64 - BITS)).unwrap_or(0);
        let zeros = (hash << BITS | 1 << (BITS - 1)).leading_zeros();
        let rank = u8::try_from(zeros + 1).unwrap_or(MAX_RANK);
        if let Some(register) = self.registers.get_mut(at) {
            *register = rank.max(*register);
        }
    }

    /// Adds all values of `other`.
    pub(super) fn merge(&mut self, mut other: Self) {
        if self.registers.is_empty() && !other.registers.is_empty() {
            std::mem::swap(self, &mut other);
        }
        if other.registers.is_empty() {
            for hash in other.few {
                self.insert(hash);
            }
        } else {
            for (one, more) in self.registers.iter_mut().zip(other.registers) {
                *one = more.max(*one);
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        if self.registers.is_empty() {
            return self.few.len() as u64;
        }
        let estimate = self.estimate().round();
        u64::try_from(super::key::whole(estimate)).unwrap_or(0)
    }

    /// "New cardinality estimation algorithms for `HyperLogLog` sketches", Otmar Ertl, 2017.
    fn estimate(&self) -> f64 {
        let mut counts = [0_u32; MAX_RANK as usize + 1];
        for register in &self.registers {
            counts[usize::from(*register)] += 1;
        }
        let size = REGISTERS as f64;
        let mut z = size * tau(1.0 - f64::from(counts[usize::from(MAX_RANK)]) / size);
        for count in counts[1..usize::from(MAX_RANK)].iter().rev() {
            z = 0.5 * (z + f64::from(*count));
        }
        z += size * sigma(f64::from(counts[0]) / size);
        size / (2.0 * std::f64::consts::LN_2) * size / z
    }

    /// Memory behind it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.registers.len() + self.few.capacity() * 9
    }
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let last = z;
        z += x * y;
        y += y;
        if z <= last {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let last = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= last {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn hash(value: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn of(values: impl Iterator<Item = u64>, threshold: usize) -> Distinct {
        let mut distinct = Distinct::new(threshold);
        values.for_each(|value| distinct.insert(hash(value)));
        distinct
    }

    #[test]
    fn counts_up_to_the_threshold_are_exact() {
        assert_eq!(of(0..0, 3000).count(), 0);
        assert_eq!(of((0..6000).map(|value| value / 2), 3000).count(), 3000);
    }

    #[test]
    fn counts_above_it_are_within_three_standard_errors() {
        for count in [200_u64, 5_000, 40_000, 100_000, 1_000_000] {
            let found = of(0..count, 0).count() as f64;
            let off = (found / count as f64 - 1.0).abs();
            assert!(off < 0.025, "{count}: {found}");
        }
    }

    #[test]
    fn merging_is_counting_the_union() {
        for (low, high) in [
            (0..100, 50..150),
            (0..100, 0..50_000),
            (0..50_000, 40_000..90_000),
        ] {
            let all = of(low.clone().chain(high.clone()), 1000);
            for (first, second) in [(low.clone(), high.clone()), (high, low)] {
                let mut merged = of(first, 1000);
                merged.merge(of(second, 1000));
                assert_eq!(merged.count(), all.count());
            }
        }
    }
}
