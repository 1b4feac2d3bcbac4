//! When it is night.

use std::time::Duration;

use jiff::ZonedDateTime;
use jiff::civil::Time;

use crate::config::{DayTime, Panel as Settings};

/// How bright, in percent, and after how long to look again; never where there is no night or no
/// trustworthy clock. A jump of the clock is noticed at the latest after an hour.
pub(super) fn brightness(
    settings: &Settings,
    clock_set: bool,
    now: &ZonedDateTime,
) -> (u8, Option<Duration>) {
    let (Some(from), Some(to)) = (time(settings.night_from), time(settings.night_to)) else {
        return (settings.brightness, None);
    };
    if !clock_set {
        return (settings.brightness, None);
    }
    let at = now.time();
    let is_night = if from < to {
        (from..to).contains(&at)
    } else {
        at >= from || at < to
    };
    let next = if is_night { to } else { from };
    let day = 86_400_i64;
    let seconds = |time: Time| {
        i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
    };
    let wait = (seconds(next) - seconds(at)).rem_euclid(day);
    let wait = u64::try_from(wait).unwrap_or(0).clamp(1, 3600);
    let percent = if is_night {
        settings.night_brightness.min(settings.brightness)
    } else {
        settings.brightness
    };
    (percent, Some(Duration::from_secs(wait)))
}

fn time(time: DayTime) -> Option<Time> {
    let (hour, minute) = time.0?;
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> ZonedDateTime {
        format!("2026-11-26T{text}[Europe/Berlin]").parse().unwrap()
    }

    fn night(from: &str, to: &str) -> Settings {
        Settings {
            night_from: from.parse().unwrap(),
            night_to: to.parse().unwrap(),
            ..Settings::default()
        }
    }

    #[test]
    fn the_night_lies_between_its_times_also_over_midnight() {
        let settings = night("22:00", "07:00");
        for (now, percent) in [
            ("21:59:59", 100),
            ("22:00:00", 10),
            ("00:00:00", 10),
            ("06:59:59", 10),
            ("07:00:00", 100),
        ] {
            assert_eq!(brightness(&settings, true, &at(now)).0, percent, "{now}");
        }
        let siesta = night("13:00", "15:00");
        assert_eq!(brightness(&siesta, true, &at("14:00:00")).0, 10);
        assert_eq!(brightness(&siesta, true, &at("23:00:00")).0, 100);
    }

    #[test]
    fn the_next_look_is_at_the_change_and_within_an_hour() {
        let settings = night("22:00", "07:00");
        let wait = |now| brightness(&settings, true, &at(now)).1.unwrap().as_secs();
        assert_eq!(wait("21:59:30"), 30);
        assert_eq!(wait("06:50:00"), 600);
        assert_eq!(wait("12:00:00"), 3600);
    }

    #[test]
    fn without_a_night_or_a_clock_nobody_looks_again() {
        let day = Settings::default();
        assert_eq!(brightness(&day, true, &at("23:00:00")), (100, None));
        let settings = night("22:00", "07:00");
        assert_eq!(brightness(&settings, false, &at("23:00:00")), (100, None));
    }
}
