//! The buckets of date histograms: which one an instant is in, and which one follows.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::codes::{Coded, Decode};
use super::columns::Values;
use super::params::Params;
use crate::search_node::dates::{Calendar, DateError, fixed_floor, fixed_millis, parse_offset};
use crate::search_node::failure::{Failure, Outcome};

/// Most starts of buckets that are computed ahead of looking at documents.
const MAX_STARTS: usize = 4096;

const SECOND: i64 = 1_000;
const DAY: i64 = 86_400 * SECOND;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Rounding {
    step: Step,
    /// Milliseconds that all buckets are moved by.
    pub offset: i64,
    pub zone: TimeZone,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Calendar(Calendar),
    /// Milliseconds, more than 0.
    Fixed(i64),
}

impl Rounding {
    /// Reads `calendar_interval`, `fixed_interval` and `offset`.
    pub(super) fn parse(params: &Params<'_>, zone: TimeZone) -> Outcome<Self> {
        let name = params.name;
        let wrong = |error: DateError| Failure::illegal(format!("{error} in [{name}]"));
        if params.get("interval").is_some() {
            return Err(Failure::illegal(format!(
                "[interval] is no longer supported in [{name}], use [calendar_interval] or \
                 [fixed_interval]"
            )));
        }
        let calendar = params.text("calendar_interval")?;
        let fixed = params.text("fixed_interval")?;
        let step = match (calendar, fixed) {
            (Some(unit), None) => Step::Calendar(Calendar::parse(unit).map_err(wrong)?),
            (None, Some(length)) => Step::Fixed(fixed_millis(length).map_err(wrong)?),
            (Some(_), Some(_)) => {
                return Err(Failure::illegal(format!(
                    "Cannot use [fixed_interval] with [calendar_interval] configuration option in \
                     [{name}]."
                )));
            }
            (None, None) => {
                return Err(Failure::illegal(format!(
                    "Invalid interval specified, must be non-null and non-empty: [{name}] needs \
                     [calendar_interval] or [fixed_interval]"
                )));
            }
        };
        let offset = match params.get("offset") {
            None => 0,
            Some(Value::Number(number)) if number.is_i64() => number.as_i64().unwrap_or(0),
            Some(Value::String(text)) => parse_offset(text).map_err(wrong)?,
            Some(other) => return Err(params.bad("offset", other, "a length of time")),
        };
        Ok(Self { step, offset, zone })
    }

    /// The same buckets, not moved.
    pub(super) fn without_offset(&self) -> Self {
        Self {
            offset: 0,
            ..self.clone()
        }
    }

    /// The start of the bucket of an instant.
    pub(super) fn floor(&self, millis: i64) -> i64 {
        match self.step {
            Step::Calendar(unit) => {
                let shifted = millis.saturating_sub(self.offset);
                unit.floor(shifted, &self.zone).saturating_add(self.offset)
            }
            Step::Fixed(length) => fixed_floor(millis, length, self.offset, &self.zone),
        }
    }

    /// The start of the bucket after the one that starts at `start`.
    pub(super) fn next(&self, start: i64) -> i64 {
        match self.step {
            Step::Calendar(unit) => {
                let shifted = start.saturating_sub(self.offset);
                unit.next(shifted, &self.zone).saturating_add(self.offset)
            }
            Step::Fixed(length) => {
                let mut next = self.floor(start.saturating_add(length));
                if next <= start {
                    next = self.floor(start.saturating_add(length.saturating_mul(2)));
                }
                // A change of the clocks may make shorter buckets between.
                loop {
                    let before = self.floor(next.saturating_sub(1));
                    if before <= start || before >= next {
                        return next;
                    }
                    next = before;
                }
            }
        }
    }

    /// The length of the buckets in milliseconds, when it is always the same.
    fn even(&self) -> Option<i64> {
        self.zone.to_fixed_offset().ok()?;
        Some(match self.step {
            Step::Fixed(length) => length,
            Step::Calendar(Calendar::Second) => SECOND,
            Step::Calendar(Calendar::Minute) => 60 * SECOND,
            Step::Calendar(Calendar::Hour) => 3_600 * SECOND,
            Step::Calendar(Calendar::Day) => DAY,
            Step::Calendar(Calendar::Week) => 7 * DAY,
            Step::Calendar(_) => return None,
        })
    }

    /// Codes for the buckets of `values`, which are from `low` to `high`.
    pub(super) fn codes(&self, values: Values<i64>, low: i64, high: i64) -> Coded {
        if low > high {
            return Coded::none();
        }
        let base = self.floor(low).min(low);
        if let Some(length) = self.even() {
            let length_code = length.cast_unsigned();
            let code = |value: i64| value.wrapping_sub(base).cast_unsigned() / length_code;
            return Coded {
                span: code(high).checked_add(1),
                values: values.map(code),
                decode: Decode::Steps { base, step: length },
            };
        }
        let mut starts = vec![base];
        let mut start = base;
        while starts.len() <= MAX_STARTS {
            let next = self.next(start);
            if next <= start || next > high {
                return by_starts(values, starts);
            }
            starts.push(next);
            start = next;
        }
        // Each instant by itself, but those that follow each other are mostly near each other.
        let (mut start, mut next) = (i64::MAX, i64::MIN);
        let floors = values.map(|value| {
            if value < start || value >= next {
                start = self.floor(value);
                next = self.next(start);
            }
            start
        });
        let (known, values) = floors.numbered();
        Coded {
            values,
            span: Some(known.len() as u64),
            decode: Decode::Ints(known),
        }
    }
}

fn by_starts(values: Values<i64>, starts: Vec<i64>) -> Coded {
    let (mut low, mut high, mut code) = (i64::MAX, i64::MIN, 0);
    let codes = values.map(|value| {
        if value < low || value >= high {
            let at = starts.partition_point(|start| *start <= value).max(1) - 1;
            low = starts[at];
            high = starts.get(at + 1).copied().unwrap_or(i64::MAX);
            code = at as u64;
        }
        code
    });
    Coded {
        values: codes,
        span: Some(starts.len() as u64),
        decode: Decode::Ints(starts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::search_node::aggs::key::Key;
    use crate::search_node::dates::parse_zone;

    fn rounding(body: &Value, zone: &str) -> Rounding {
        let params = Params::of("by", "date_histogram", body).unwrap();
        Rounding::parse(&params, parse_zone(zone).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn codes_stand_for_the_buckets_that_instants_are_in(
            instants in proptest::collection::vec(-5_000_000_000_000..5_000_000_000_000_i64, 1..20),
            step in 0_usize..8,
            zone in 0_usize..4,
            offset in -100_000_000..100_000_000_i64,
        ) {
            let step = [
                json!({"calendar_interval": "month", "offset": offset}),
                json!({"calendar_interval": "week", "offset": offset}),
                json!({"calendar_interval": "day", "offset": offset}),
                json!({"calendar_interval": "hour", "offset": offset}),
                json!({"calendar_interval": "year"}),
                json!({"fixed_interval": "90m", "offset": offset}),
                json!({"fixed_interval": "1d", "offset": offset}),
                json!({"fixed_interval": "400d", "offset": offset}),
            ][step].clone();
            let zone = ["UTC", "+05:30", "Europe/Berlin", "Australia/Lord_Howe"][zone];
            let rounding = rounding(&step, zone);
            let (low, high) = (*instants.iter().min().unwrap(), *instants.iter().max().unwrap());
            let values = Values { list: instants.clone(), at: None, multi: false };
            let coded = rounding.codes(values, low, high);
            for (instant, code) in instants.iter().zip(&coded.values.list) {
                prop_assert!(coded.span.unwrap() > *code);
                let keys = coded.decode.keys(&[*code]).unwrap();
                prop_assert_eq!(&keys, &[Key::Int(rounding.floor(*instant))]);
                let floor = rounding.floor(*instant);
                prop_assert!(rounding.next(floor) > *instant);
                prop_assert_eq!(rounding.floor(rounding.next(floor)), rounding.next(floor));
            }
        }

        #[test]
        fn no_instant_makes_it_panic(instants in proptest::collection::vec(any::<i64>(), 1..4)) {
            for step in [
                json!({"calendar_interval": "month"}),
                json!({"calendar_interval": "second", "offset": "-10d"}),
                json!({"fixed_interval": "1ms"}),
                json!({"fixed_interval": "100000000d"}),
            ] {
                for zone in ["UTC", "Europe/Berlin"] {
                    let values = Values { list: instants.clone(), at: None, multi: false };
                    let (low, high) = (instants.iter().min(), instants.iter().max());
                    let coded = rounding(&step, zone).codes(values, *low.unwrap(), *high.unwrap());
                    coded.decode.keys(&coded.distinct()).unwrap();
                }
            }
        }
    }
}
