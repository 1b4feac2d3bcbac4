//! How volumes grow: a small ring of samples a volume, a rate by regression, and when the quota
//! will be full.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::name::Name;
use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// A sample a minute for two hours, in memory alone.
const MINUTES: usize = 120;
/// A sample an hour for two weeks, on the pool: one write of a few kilobytes an hour.
const HOURS: usize = 14 * 24;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
/// Fewer samples, or a shorter time, make no rate.
const LEAST_SAMPLES: usize = 10;
const LEAST_SPAN: u64 = 600;
const MAX_BYTES: u64 = 4 << 20;

/// Bytes in use at a time in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since 1970.
    pub at: u64,
    /// Bytes.
    pub used: u64,
}

/// What the samples of a volume say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Growth {
    /// Bytes an hour, over the last two hours; absent where too little is known.
    #[serde(rename = "growth_bytes_per_hour")]
    pub bytes_per_hour: Option<f64>,
    /// Bytes a day, over the last two weeks; absent where too little is known.
    #[serde(rename = "growth_bytes_per_day")]
    pub bytes_per_day: Option<f64>,
    /// Seconds until the quota is full at the faster of both rates; absent where it does not grow.
    pub full_in_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Rings {
    #[serde(skip)]
    minutes: VecDeque<Sample>,
    hours: VecDeque<Sample>,
}

/// Samples of all volumes.
#[derive(Debug, Default)]
pub(super) struct History {
    rings: BTreeMap<Name, Rings>,
}

fn push(ring: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    // A clock that was set back makes later samples worthless.
    ring.retain(|known| known.at < sample.at);
    ring.push_back(sample);
    while ring.len() > most {
        ring.pop_front();
    }
}

impl History {
    /// What the pool has; a file that cannot be read begins anew.
    pub(super) fn load(paths: &Paths) -> Self {
        let text = fsx::read_text(&file(paths), MAX_BYTES).unwrap_or_default();
        Self {
            rings: serde_json::from_str(&text).unwrap_or_default(),
        }
    }

    fn save(&self, paths: &Paths) -> Result<(), OpError> {
        let path = file(paths);
        let text = serde_json::to_vec(&self.rings)
            .map_err(std::io::Error::other)
            .map_err(FsError::wrap("write", &path))?;
        Ok(fsx::write_atomic(&path, &text, 0o644)?)
    }

    /// Takes samples of all volumes; writes to the pool at most once an hour.
    pub(super) fn sample(
        &mut self,
        paths: &Paths,
        now: u64,
        used: &[(Name, Option<u64>)],
    ) -> Result<(), OpError> {
        self.rings
            .retain(|name, _| used.iter().any(|(known, _)| known == name));
        let mut hour_passed = false;
        for (name, used) in used {
            // One that cannot be told now keeps what is known.
            let Some(used) = used else { continue };
            let rings = self.rings.entry(name.clone()).or_default();
            let sample = Sample {
                at: now,
                used: *used,
            };
            let seen = rings.minutes.back().map_or(0, |sample| sample.at);
            if now >= seen + MINUTE || now < seen {
                push(&mut rings.minutes, sample, MINUTES);
            }
            let last = rings.hours.back().map_or(0, |sample| sample.at);
            if now >= last + HOUR || now < last {
                push(&mut rings.hours, sample, HOURS);
                hour_passed = true;
            }
        }
        if hour_passed {
            self.save(paths)?;
        }
        Ok(())
    }

    /// Hourly samples of a volume, oldest first.
    pub(super) fn hours(&self, name: &Name) -> Vec<Sample> {
        let rings = self.rings.get(name);
        rings.map_or_else(Vec::new, |rings| rings.hours.iter().copied().collect())
    }

    pub(super) fn growth(&self, name: &Name, quota: Option<u64>) -> Growth {
        let Some(rings) = self.rings.get(name) else {
            return Growth::default();
        };
        let hour = slope(&rings.minutes);
        let day = slope(&rings.hours);
        let used = rings.minutes.back().or(rings.hours.back());
        let left = quota
            .zip(used)
            .map(|(quota, sample)| quota.saturating_sub(sample.used));
        // A burst of an hour is no trend, and a trend of weeks misses a burst that fills the disk
        // tonight: the sooner end is told while both grow.
        let rate = match (hour, day) {
            (Some(hour), Some(day)) => Some(hour.max(day)),
            (rate, None) | (None, rate) => rate,
        };
        let full = rate.filter(|rate| *rate > 0.0).zip(left);
        Growth {
            bytes_per_hour: hour.map(|rate| rate * HOUR as f64),
            bytes_per_day: day.map(|rate| rate * HOUR as f64 * 24.0),
            full_in_seconds: full.and_then(|(rate, left)| {
                let seconds = left as f64 / rate;
                // Beyond a hundred years nothing is known.
                (seconds < 3.2e9).then(|| {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    let seconds = seconds.round() as u64;
                    seconds
                })
            }),
        }
    }
}

fn file(paths: &Paths) -> std::path::PathBuf {
    paths.system().join("volume-history.json")
}

/// Bytes a second by least squares.
fn slope(samples: &VecDeque<Sample>) -> Option<f64> {
    let (first, last) = (samples.front()?, samples.back()?);
    if samples.len() < LEAST_SAMPLES || last.at - first.at < LEAST_SPAN {
        return None;
    }
    let count = samples.len() as f64;
    // Differences from the first sample, so that the sums keep their digits.
    let points = samples.iter().map(|sample| {
        let x = (sample.at - first.at) as f64;
        let y = sample.used as f64 - first.used as f64;
        (x, y)
    });
    let (mut times, mut bytes, mut squares, mut products) = (0.0, 0.0, 0.0, 0.0);
    for (x, y) in points {
        times += x;
        bytes += y;
        squares += x * x;
        products += x * y;
    }
    let below = count * squares - times * times;
    (below > 0.0).then(|| (count * products - times * bytes) / below)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn name() -> Name {
        "chunks".parse().unwrap()
    }

    fn grow(history: &mut History, paths: &Paths, minutes: u64, each: u64) {
        for minute in 0..minutes {
            let used = [(name(), Some(1000 + minute * each))];
            history.sample(paths, NOW + minute * 60, &used).unwrap();
        }
    }

    fn root() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        fsx::create_dir(&paths.system(), 0o755).unwrap();
        (dir, paths)
    }

    #[test]
    fn a_steady_growth_is_told_with_its_end() {
        let (_dir, paths) = root();
        let mut history = History::default();
        grow(&mut history, &paths, 60, 1000);
        let growth = history.growth(&name(), Some(1000 + 59_000 + 60_000));
        assert!((growth.bytes_per_hour.unwrap() - 60_000.0).abs() < 1.0);
        assert_eq!(growth.full_in_seconds, Some(3600));
        assert_eq!(growth.bytes_per_day, None, "one hour is no trend");
    }

    #[test]
    fn what_does_not_grow_has_no_end() {
        let (_dir, paths) = root();
        let mut history = History::default();
        grow(&mut history, &paths, 60, 0);
        let growth = history.growth(&name(), Some(1 << 30));
        assert_eq!(growth.bytes_per_hour, Some(0.0));
        assert_eq!(growth.full_in_seconds, None);
        let unknown = history.growth(&"other".parse().unwrap(), None);
        assert_eq!(unknown, Growth::default());
    }

    #[test]
    fn samples_of_an_hour_outlive_a_restart_and_minutes_cost_no_write() {
        let (_dir, paths) = root();
        let mut history = History::default();
        grow(&mut history, &paths, 59, 10);
        let written = std::fs::metadata(file(&paths)).unwrap();
        history
            .sample(&paths, NOW + 59 * 60, &[(name(), Some(1))])
            .unwrap();
        assert_eq!(
            written.ino(),
            std::fs::metadata(file(&paths)).unwrap().ino()
        );
        history
            .sample(&paths, NOW + 3600, &[(name(), Some(1))])
            .unwrap();
        assert_eq!(History::load(&paths).hours(&name()).len(), 2);
    }

    #[test]
    fn a_volume_that_is_gone_is_forgotten_and_a_clock_set_back_begins_anew() {
        let (_dir, paths) = root();
        let mut history = History::default();
        grow(&mut history, &paths, 30, 10);
        history
            .sample(&paths, NOW - 86_400, &[(name(), Some(7))])
            .unwrap();
        assert_eq!(history.hours(&name()).len(), 1);
        history.sample(&paths, NOW, &[]).unwrap();
        assert!(history.hours(&name()).is_empty());
    }

    proptest! {
        // Each hour that passes writes a file.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_samples_give_a_rate_or_none_without_panic(
            samples in proptest::collection::vec((0u64..u64::MAX / 2, 0u64..1 << 50), 0..40),
            quota: Option<u64>,
        ) {
            let (_dir, paths) = root();
            let mut history = History::default();
            for (at, used) in samples {
                history.sample(&paths, at, &[(name(), Some(used))]).unwrap();
            }
            let growth = history.growth(&name(), quota);
            prop_assert!(growth.bytes_per_hour.is_none_or(f64::is_finite));
        }
    }
}
