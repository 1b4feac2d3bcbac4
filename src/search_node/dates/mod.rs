//! Dates as Elasticsearch reads, writes, rounds and buckets them.
//!
//! Every instant is an `i64` of milliseconds since 1970-01-01T00:00:00Z.

mod civil;
mod fields;
mod formats;
mod interval;
mod iso;
mod math;
mod pattern;
mod print;
mod read;
mod units;
mod zone;

pub(super) use formats::Formats;
pub(super) use interval::{Calendar, fixed_floor};
pub(super) use math::resolve;
pub(super) use units::{fixed_millis, parse_duration_millis, parse_offset};
pub(super) use zone::parse_zone;

/// A time of UTC as Elasticsearch shows it, `2026-11-26T15:04:05.678Z`.
pub(super) fn utc(millis: i64) -> String {
    iso::format(millis, &jiff::tz::TimeZone::UTC)
}

/// Which end of a span a date that leaves components out stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Round {
    /// The first millisecond, as `gte` and `lt` need it.
    Down,
    /// The last millisecond, as `lte` and `gt` need it.
    Up,
}

/// Why a date, a format, a zone or an interval was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DateError {
    /// The text is in none of the formats.
    #[error("failed to parse date field [{text}] with format [{format}]")]
    Parse {
        /// The text as given.
        text: String,
        /// The format specification.
        format: String,
    },
    /// There was no text to parse.
    #[error("cannot parse empty datetime")]
    Empty,
    /// The format has a letter that means nothing here.
    #[error("Invalid format: [{format}]: Unknown pattern letter: {letter}")]
    UnknownLetter {
        /// The format, or the alternative of it, that has the letter.
        format: String,
        /// The letter.
        letter: char,
    },
    /// The format is malformed in another way.
    #[error("Invalid format: [{format}]: {reason}")]
    InvalidFormat {
        /// The format, or the alternative of it, that is malformed.
        format: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Date math has something other than `+`, `-` or `/` before a unit.
    #[error("operator not supported for date math [{0}]")]
    MathOperator(String),
    /// Date math ends before its unit.
    #[error("truncated date math [{0}]")]
    MathTruncated(String),
    /// Date math rounds to several units.
    #[error("rounding `/` can only be used on single unit types [{0}]")]
    MathRounding(String),
    /// Date math has an unknown unit.
    #[error("unit [{unit}] not supported for date math [{math}]")]
    MathUnit {
        /// The unit as given.
        unit: char,
        /// The math after the anchor date.
        math: String,
    },
    /// The result is outside of the years that can be represented.
    #[error("date [{0}] is out of the supported range of years -9999 to 9999")]
    OutOfRange(String),
    /// A calendar interval with a number other than 1.
    #[error(
        "The supplied interval [{0}] could not be parsed as a calendar interval: only 1 is \
         supported for calendar intervals"
    )]
    CalendarMultiple(String),
    /// Not a calendar interval at all.
    #[error("The supplied interval [{0}] could not be parsed as a calendar interval.")]
    CalendarInterval(String),
    /// A fixed interval with a missing, unknown or calendar unit.
    #[error(
        "failed to parse interval [{0}] as a fixed interval: fixed intervals take a whole number \
         of ms, s, m, h or d"
    )]
    FixedInterval(String),
    /// A fixed interval of no length.
    #[error("Zero or negative time interval not supported: [{0}]")]
    EmptyInterval(String),
    /// A duration or an offset without a usable number and unit.
    #[error("failed to parse [{0}] as a time value: unit is missing or unrecognized")]
    TimeValue(String),
    /// A duration with a fraction.
    #[error("failed to parse [{0}], fractional time values are not supported")]
    FractionalTimeValue(String),
    /// A duration below zero.
    #[error("failed to parse [{0}] as a time value: negative durations are not supported")]
    NegativeTimeValue(String),
    /// A duration or an interval whose milliseconds do not fit.
    #[error("failed to parse [{0}] as a time value: the value is too large")]
    TimeValueTooLarge(String),
    /// Neither a known zone name nor an offset.
    #[error("failed to parse time zone [{0}]: unknown time-zone ID or offset")]
    Zone(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    const SPECS: [&str; 12] = [
        "strict_date_optional_time||epoch_millis",
        "date_optional_time",
        "iso8601",
        "epoch_second",
        "date_time",
        "strict_date_hour_minute_second_fraction",
        "basic_date_time",
        "yyyy-MM-dd HH:mm:ss.SSSSSS XXX",
        "EEE, dd MMM yyyy HH:mm:ss.SSS Z",
        "EEEE d MMMM uuuu hh:mm:ss.SSS a xx",
        "yyyyDDDHHmmssSSSX",
        "yyyy-MM-dd'T'HH:mm:ss.SSS'Z' VV",
    ];
    // Within years that every zone of the database can still show as 0001 to 9999.
    const EARLIEST: i64 = -62_000_000_000_000;
    const LATEST: i64 = 253_000_000_000_000;

    fn zones() -> Vec<TimeZone> {
        let names = [
            "Z",
            "+05:30",
            "-0800",
            "Europe/Berlin",
            "Australia/Lord_Howe",
        ];
        names.iter().map(|name| parse_zone(name).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn parsing_never_panics_on_any_text(text in any::<String>(), up in any::<bool>()) {
            let round = if up { Round::Up } else { Round::Down };
            let _ = Formats::parse_spec(&text);
            let _ = parse_zone(&text);
            let _ = Calendar::parse(&text);
            let _ = fixed_millis(&text);
            let _ = parse_offset(&text);
            let _ = parse_duration_millis(&text);
            for spec in SPECS {
                let formats = Formats::parse_spec(spec).unwrap();
                for zone in zones() {
                    let _ = formats.parse(&text, round, &zone);
                    let _ = resolve(&text, &formats, 0, round, &zone);
                }
            }
        }

        #[test]
        fn parsing_never_panics_on_text_that_looks_like_a_date(
            text in "(now|[-0-9]{0,10})(T?[-+:.,0-9]{0,20})(Z|UTC|Europe/Berlin|[+-][0-9:]{0,9})?(\\|\\|)?([+/-][0-9]{0,10}[yMwdhHms]){0,3}",
            millis in any::<i64>(),
        ) {
            for spec in SPECS {
                let formats = Formats::parse_spec(spec).unwrap();
                let _ = formats.parse_number(millis);
                for zone in zones() {
                    let _ = formats.format(millis, &zone);
                    for round in [Round::Down, Round::Up] {
                        let _ = formats.parse(&text, round, &zone);
                        let _ = resolve(&text, &formats, millis, round, &zone);
                    }
                }
            }
        }

        #[test]
        fn patterns_of_supported_letters_never_panic(
            pattern in "[yuMdHhmsSaEDXxZzV'\\[\\]/: .]{0,12}",
            text in "[0-9A-Za-z:/. +-]{0,20}",
            millis in any::<i64>(),
        ) {
            if let Ok(formats) = Formats::parse_spec(&pattern) {
                for zone in zones() {
                    let _ = formats.parse(&text, Round::Up, &zone);
                    let printed = formats.format(millis, &zone);
                    let _ = formats.parse(&printed, Round::Down, &zone);
                }
            }
        }

        #[test]
        fn what_a_format_prints_it_parses_back(millis in EARLIEST..LATEST) {
            for spec in SPECS {
                let formats = Formats::parse_spec(spec).unwrap();
                // Offsets of before 1900 have seconds, which no format prints.
                let zones = if millis < -1_500_000_000_000 { zones()[..3].to_vec() } else { zones() };
                for zone in zones {
                    let printed = formats.format(millis, &zone);
                    let parsed = formats.parse(&printed, Round::Down, &zone);
                    // A zone id cannot tell the two passes of an overlap apart.
                    let ambiguous = spec.ends_with("VV")
                        || (spec.contains("fraction") && zone.to_fixed_offset().is_err());
                    if !ambiguous || parsed == Ok(millis) {
                        prop_assert_eq!(parsed, Ok(millis), "{} {}", spec, printed);
                    } else {
                        let off = (parsed.unwrap() - millis).abs();
                        prop_assert!(off == 3_600_000 || off == 1_800_000, "{} {}", spec, printed);
                    }
                }
            }
        }

        #[test]
        fn every_instant_lies_in_its_own_bucket(millis in EARLIEST..LATEST) {
            let units = ["1s", "1m", "1h", "1d", "1w", "1M", "1q", "1y"];
            for unit in units.map(|unit| Calendar::parse(unit).unwrap()) {
                for zone in zones() {
                    let floor = unit.floor(millis, &zone);
                    prop_assert!(floor <= millis, "{unit:?} {zone:?}");
                    prop_assert!(millis < unit.next(floor, &zone), "{unit:?} {zone:?}");
                    prop_assert_eq!(unit.floor(floor, &zone), floor);
                }
            }
        }

        #[test]
        fn buckets_never_panic_and_always_advance(millis in any::<i64>(), step in any::<i64>()) {
            for unit in ["1m", "1h", "1d", "1w", "1M", "1q", "1y"] {
                let unit = Calendar::parse(unit).unwrap();
                for zone in zones() {
                    let floor = unit.floor(millis, &zone);
                    let next = unit.next(floor, &zone);
                    prop_assert!(next > floor || floor == i64::MAX || next == i64::MAX);
                    let _ = fixed_floor(millis, step, millis, &zone);
                }
            }
        }
    }
}
