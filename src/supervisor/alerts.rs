//! Opening and closing alerts, in the status and in the journal together.

use crate::journal::{self, Event};
use crate::status::{Alert, Severity, StatusHub};

/// Percent below a threshold at which its alert closes again.
const HYSTERESIS: f64 = 2.0;

/// Opens `alert` or renews its text. Answers whether it is new, and tells the journal only then.
pub(crate) fn raise(hub: &StatusHub, alert: Alert) -> bool {
    raise_as(hub, alert, Event::AlertRaised)
}

/// [`raise`], under an event of its own.
pub(super) fn raise_as(hub: &StatusHub, alert: Alert, event: Event) -> bool {
    let (subject, text) = (
        alert.subject.clone(),
        format!("{}; {}", alert.message, alert.action),
    );
    let new = hub.raise(alert);
    if new {
        journal::emit(event, &subject, &text);
    }
    new
}

/// Closes the alert with this id, and tells the journal where it was open.
pub(crate) fn clear(hub: &StatusHub, id: &str, subject: &str) {
    if hub.clear(id) {
        journal::emit(Event::AlertCleared, subject, &format!("{id} is over"));
    }
}

/// Closes alerts whose ids begin with `prefix` and are not in `known`.
pub(super) fn clear_others(hub: &StatusHub, prefix: &str, known: &[String]) {
    for alert in hub.snapshot().alerts {
        if alert.id.starts_with(prefix) && !known.contains(&alert.id) {
            clear(hub, &alert.id, &alert.subject);
        }
    }
}

/// How bad so many percent are, where the alert `id` is open or not: it closes, and eases, two
/// percent below the value that opened it.
pub(super) fn severity(
    hub: &StatusHub,
    id: &str,
    percent: f64,
    (warning, critical): (u8, u8),
) -> Option<Severity> {
    let open = hub.snapshot().alerts.into_iter().find(|a| a.id == id);
    let open = open.map(|alert| alert.severity);
    let least = |threshold: u8, is_open: bool| {
        f64::from(threshold) - if is_open { HYSTERESIS } else { 0.0 }
    };
    if percent >= least(critical, open == Some(Severity::Critical)) {
        Some(Severity::Critical)
    } else if percent >= least(warning, open.is_some()) {
        Some(Severity::Warning)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::hub;

    #[test]
    fn alerts_open_at_their_thresholds_and_close_and_ease_below_them() {
        let hub = hub();
        let see = |percent: f64| {
            let found = severity(&hub, "x", percent, (80, 90));
            match found {
                Some(severity) => {
                    raise(&hub, Alert::new("x", severity, "x", "m", "a"));
                }
                None => clear(&hub, "x", "x"),
            }
            found
        };
        for (percent, expected) in [
            (79.9, None),
            (80.0, Some(Severity::Warning)),
            (79.0, Some(Severity::Warning)),
            (90.0, Some(Severity::Critical)),
            (89.0, Some(Severity::Critical)),
            (87.0, Some(Severity::Warning)),
            (89.0, Some(Severity::Warning)),
            (77.9, None),
        ] {
            assert_eq!(see(percent), expected, "{percent}");
        }
    }

    #[test]
    fn what_is_not_known_any_more_is_closed_and_others_are_left() {
        let hub = hub();
        for id in ["space:a", "space:b", "down:cache"] {
            raise(&hub, Alert::new(id, Severity::Warning, "x", "m", "a"));
        }
        clear_others(&hub, "space:", &["space:b".to_owned()]);
        let ids: Vec<_> = hub.snapshot().alerts.into_iter().map(|a| a.id).collect();
        assert_eq!(ids, ["space:b", "down:cache"]);
    }
}
