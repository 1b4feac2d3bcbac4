//! Distributions of values for percentiles: all values while they are few, then a t-digest.

use std::f64::consts::PI;

/// Values per unit of compression that are kept as they are, as Elasticsearch does.
const EXACT: usize = 20;

/// Bounds of the compression.
const COMPRESSION: std::ops::RangeInclusive<f64> = 10.0..=1000.0;

/// Values near each other, as one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Centroid {
    mean: f64,
    weight: f64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct TDigest {
    compression: f64,
    /// Values that are in no centroid yet.
    values: Vec<f64>,
    /// By mean; empty while all values are kept.
    centroids: Vec<Centroid>,
    min: f64,
    max: f64,
}

impl TDigest {
    /// No values; a higher `compression` is more exact and takes more memory.
    pub(super) fn new(compression: f64) -> Self {
        Self {
            compression: compression.clamp(*COMPRESSION.start(), *COMPRESSION.end()),
            values: Vec::new(),
            centroids: Vec::new(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds a value, which must be a number.
    pub(super) fn add(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.values.push(value);
        if self.values.len() >= self.room() {
            self.compress(Vec::new());
        }
    }

    fn room(&self) -> usize {
        usize::try_from(super::key::whole(self.compression)).unwrap_or(100) * EXACT
    }

    /// Adds what `other` has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.values.extend(&other.values);
        if !other.centroids.is_empty() || self.values.len() >= self.room() {
            self.compress(other.centroids.clone());
        }
    }

    /// Brings values and `more` centroids into the own ones.
    fn compress(&mut self, mut more: Vec<Centroid>) {
        let values = self.values.drain(..);
        more.extend(values.map(|mean| Centroid { mean, weight: 1.0 }));
        more.append(&mut self.centroids);
        more.sort_unstable_by(|a, b| a.mean.total_cmp(&b.mean));
        let total: f64 = more.iter().map(|one| one.weight).sum();
        // The scale function k1: centroids are small at both ends.
        let scale = self.compression / (2.0 * PI);
        let k = |q: f64| scale * (2.0 * q.clamp(0.0, 1.0) - 1.0).asin();
        let (mut done, mut start) = (0.0, k(0.0));
        let last = more.len().saturating_sub(1);
        for (at, one) in more.into_iter().enumerate() {
            let present = self.centroids.last_mut();
            match present {
                // The ends stay single values.
                Some(present)
                    if at > 1
                        && at < last
                        && k((done + present.weight + one.weight) / total) - start <= 1.0 =>
                {
                    present.weight += one.weight;
                    present.mean += (one.mean - present.mean) * one.weight / present.weight;
                }
                present => {
                    if let Some(present) = present {
                        done += present.weight;
                        start = k(done / total);
                    }
                    self.centroids.push(one);
                }
            }
        }
        self.values.shrink_to_fit();
    }

    /// Makes it ready to be asked.
    pub(super) fn finish(&mut self) {
        if self.centroids.is_empty() {
            self.values.sort_unstable_by(f64::total_cmp);
        } else if !self.values.is_empty() {
            self.compress(Vec::new());
        }
    }

    /// Whether there are no values.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.centroids.is_empty()
    }

    /// The value below which the share `q` of all values lies, from 0 to 1; NaN when there are
    /// none. [`TDigest::finish`] comes first.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        if self.is_empty() {
            return f64::NAN;
        }
        if self.centroids.is_empty() {
            let at = (q * (self.values.len() - 1) as f64).max(0.0);
            let low = usize::try_from(super::key::whole(at)).unwrap_or(0);
            let low = low.min(self.values.len() - 1);
            let high = (low + 1).min(self.values.len() - 1);
            let (low_value, high_value) = (self.values[low], self.values[high]);
            return low_value + (at - at.floor()) * (high_value - low_value);
        }
        let wanted = q * self.total();
        let mut left = (0.0, self.min);
        let mut done = 0.0;
        for one in &self.centroids {
            let middle = (done + one.weight / 2.0, one.mean);
            if wanted < middle.0 {
                return between(left, middle, wanted);
            }
            left = middle;
            done += one.weight;
        }
        between(left, (done, self.max), wanted)
    }

    /// The share of values that are at most `value`, from 0 to 1; NaN when there are none.
    /// [`TDigest::finish`] comes first.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.is_empty() {
            return f64::NAN;
        }
        if self.centroids.is_empty() {
            return share_of(&self.values, value);
        }
        if value < self.min {
            return 0.0;
        }
        if value >= self.max {
            return 1.0;
        }
        let total = self.total();
        let mut left = (self.min, 0.0);
        let mut done = 0.0;
        for one in &self.centroids {
            let middle = (one.mean, done + one.weight / 2.0);
            if value < middle.0 {
                return between(left, middle, value) / total;
            }
            left = middle;
            done += one.weight;
        }
        between(left, (self.max, done), value) / total
    }

    fn total(&self) -> f64 {
        self.centroids.iter().map(|one| one.weight).sum()
    }

    /// Memory behind it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.values.capacity() * size_of::<f64>()
            + self.centroids.capacity() * size_of::<Centroid>()
    }
}

/// The line from `low` to `high` at `x`.
fn between(low: (f64, f64), high: (f64, f64), x: f64) -> f64 {
    let width = high.0 - low.0;
    if width <= 0.0 {
        return high.1;
    }
    low.1 + (x - low.0) / width * (high.1 - low.1)
}

/// As Elasticsearch counts over sorted values: the first one and all that equal `x` by half,
/// and between two values along the line.
fn share_of(sorted: &[f64], x: f64) -> f64 {
    let Some(first) = sorted.first() else {
        return f64::NAN;
    };
    if x < *first {
        return 0.0;
    }
    let len = sorted.len() as f64;
    let below = sorted.partition_point(|value| *value < x);
    let until = sorted.partition_point(|value| *value <= x);
    // The first value is not among those that are counted.
    let equal = (until - below.max(1).min(until)) as f64;
    if until == sorted.len() {
        return (len - 0.5 * equal) / len;
    }
    let low = 0.5 + (below.max(1) - 1) as f64;
    if equal > 0.0 {
        return (low + 0.5 * equal) / len;
    }
    let (left, right) = (sorted[until - 1], sorted[until]);
    (low + (x - left) / (right - left)) / len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = f64>) -> TDigest {
        let mut digest = TDigest::new(100.0);
        values.for_each(|value| digest.add(value));
        digest
    }

    #[test]
    fn few_values_are_exact() {
        let mut digest = of([40.0, 10.0, 30.0, 20.0, 50.0].into_iter());
        digest.finish();
        for (q, value) in [
            (0.0, 10.0),
            (0.25, 20.0),
            (0.5, 30.0),
            (0.9, 46.0),
            (1.0, 50.0),
        ] {
            assert!((digest.quantile(q) - value).abs() < 1e-9, "{q}");
        }
        for (value, share) in [
            (5.0, 0.0),
            (10.0, 0.1),
            (30.0, 0.4),
            (35.0, 0.6),
            (60.0, 1.0),
        ] {
            let found = digest.share(value);
            assert!((found - share).abs() < 1e-9, "{value}: {found}");
        }
        assert!(of(std::iter::empty()).quantile(0.5).is_nan());
    }

    #[test]
    fn many_values_are_close_and_exact_at_the_ends() {
        let mut digest = of((0..100_000).map(|n| f64::from(n * 7919 % 100_000)));
        digest.finish();
        assert!(digest.bytes() < 32_768, "{}", digest.bytes());
        for percent in [
            0.0, 0.1, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9, 100.0,
        ] {
            let found = digest.quantile(percent / 100.0);
            assert!(
                (found - percent * 1000.0).abs() < 500.0,
                "{percent}: {found}"
            );
            let share = digest.share(percent * 1000.0) * 100.0;
            assert!((share - percent).abs() < 0.5, "{percent}: {share}");
        }
    }

    #[test]
    fn merging_keeps_the_distribution() {
        let mut merged = TDigest::new(100.0);
        for piece in 0..20 {
            merged.merge(&of(
                (0..1_000 * (piece % 3 + 1)).map(|n| f64::from(n * 20 + piece))
            ));
        }
        let mut all = of((0..20).flat_map(|piece| {
            (0..1_000 * (piece % 3 + 1)).map(move |n| f64::from(n * 20 + piece))
        }));
        merged.finish();
        all.finish();
        for q in [0.0, 0.01, 0.5, 0.9, 1.0] {
            assert!((merged.quantile(q) - all.quantile(q)).abs() < 300.0, "{q}");
        }
    }
}
