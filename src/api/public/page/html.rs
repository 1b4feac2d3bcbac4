//! The page's markup. Whatever comes from elsewhere is escaped where it is written.

use std::fmt::Write as _;

use super::history::History;
use crate::api::public::keys::{ApiRole, Principal};
use crate::journal;
use crate::status::{ApplianceState, Datastore, DatastoreState, Severity, Status, Volume};
use crate::units::human_bytes;

/// Lines of the journal that are shown.
const JOURNAL: usize = 30;

/// What is shown, and to whom.
pub(super) struct View<'a> {
    pub(super) status: &'a Status,
    pub(super) history: &'a History,
    pub(super) who: Option<&'a Principal>,
    pub(super) said: &'a str,
}

/// Text as markup.
fn e(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => made.push_str("&amp;"),
            '<' => made.push_str("&lt;"),
            '>' => made.push_str("&gt;"),
            '"' => made.push_str("&quot;"),
            '\'' => made.push_str("&#39;"),
            c => made.push(c),
        }
    }
    made
}

fn bytes(count: u64) -> String {
    e(&human_bytes(count))
}

/// How long ago, or in how long, in words.
fn distance(seconds: i64) -> String {
    let (past, seconds) = (seconds >= 0, seconds.unsigned_abs());
    let amount = match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds / 60),
        5400..129_600 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    if past {
        format!("{amount} ago")
    } else {
        format!("in {amount}")
    }
}

fn when(time: Option<&str>) -> String {
    let Some(text) = time else {
        return "never".to_owned();
    };
    let Ok(at) = text.parse::<jiff::Timestamp>() else {
        return e(text);
    };
    let seconds = jiff::Timestamp::now().as_second() - at.as_second();
    format!(
        "<time datetime=\"{0}\" title=\"{0}\">{1}</time>",
        e(text),
        distance(seconds)
    )
}

fn state_of(state: ApplianceState) -> (&'static str, &'static str) {
    match state {
        ApplianceState::Ready => ("ready", "good"),
        ApplianceState::Starting => ("starting", "warn"),
        ApplianceState::Degraded => ("degraded", "warn"),
        ApplianceState::Stopping => ("stopping", "warn"),
        ApplianceState::Failed => ("failed", "bad"),
    }
}

fn class_of(state: DatastoreState) -> &'static str {
    match state {
        DatastoreState::Ready => "good",
        DatastoreState::Failed | DatastoreState::Blocked => "bad",
        DatastoreState::Stopped => "soft",
        _ => "warn",
    }
}

/// One word of the status.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    e(value
        .as_ref()
        .and_then(|value| value.as_str())
        .unwrap_or_default())
}

/// A line of the last values, and in words what it shows.
fn sparkline(
    values: &std::collections::VecDeque<f64>,
    what: &str,
    shown: &dyn Fn(f64) -> String,
) -> String {
    let (Some(last), true) = (values.back(), values.len() > 1) else {
        return String::new();
    };
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let step = 100.0 / (values.len() - 1) as f64;
    let mut points = String::new();
    for (index, value) in values.iter().enumerate() {
        let (x, y) = (index as f64 * step, 19.0 - 18.0 * value / most);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let told = format!("{what}: {} now, {} at most", shown(*last), shown(most));
    format!(
        "<svg role=\"img\" viewBox=\"0 0 100 20\" preserveAspectRatio=\"none\" aria-label=\"{}\">\
         <polyline points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1\" \
         vector-effect=\"non-scaling-stroke\"/></svg>",
        e(&told),
        points.trim_end()
    )
}

impl View<'_> {
    fn is_admin(&self) -> bool {
        self.who.is_some_and(|who| who.role >= ApiRole::Admin)
    }

    /// The whole document.
    pub(super) fn whole(&self) -> String {
        let (state, _) = state_of(self.status.state);
        let account = match self.who {
            Some(who) => format!(
                "<p class=\"soft\">{} ({})</p><form method=\"post\" action=\"/logout\"><button>Log out</button></form>",
                e(&who.name),
                who.role.name()
            ),
            None => "<form method=\"post\" action=\"/login\" class=\"row\"><label for=\"key\">Key</label>\
                     <input id=\"key\" name=\"key\" type=\"password\" autocomplete=\"current-password\" required>\
                     <button>Log in</button></form>"
                .to_owned(),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{state} – Lucid</title><link rel=\"icon\" href=\"data:,\">\
             <link rel=\"stylesheet\" href=\"/page.css\"></head><body>\
             <header class=\"row\"><h1 class=\"grow\">Lucid</h1>{account}</header>\
             <main aria-live=\"polite\">{}</main>\
             <footer class=\"soft\">Lucid {} · <a href=\"/openapi.json\">API</a> · \
             <a href=\"/metrics\">metrics</a></footer>\
             <script src=\"/page.js\" defer></script></body></html>\n",
            self.main(),
            e(&self.status.version),
        )
    }

    /// What changes.
    pub(super) fn main(&self) -> String {
        let mut text = String::new();
        if !self.said.is_empty() {
            let _ = write!(
                text,
                "<section class=\"said\" role=\"status\"><p>{}</p></section>",
                e(self.said)
            );
        }
        self.summary(&mut text);
        self.alerts(&mut text);
        self.datastores(&mut text);
        self.volumes(&mut text);
        self.backups(&mut text);
        self.board(&mut text);
        self.journal(&mut text);
        text
    }

    fn summary(&self, text: &mut String) {
        let status = self.status;
        let (state, class) = state_of(status.state);
        let _ = write!(
            text,
            "<section aria-labelledby=\"s\"><div class=\"row\"><h2 id=\"s\" class=\"grow\">\
             <span class=\"state {class}\">{state}</span> since {}</h2>",
            when(Some(&status.since))
        );
        let lamps = &status.panel.lamps;
        let frame = status.panel.frames.first();
        text.push_str("<span class=\"lamps\">");
        for (index, lamp) in lamps.iter().enumerate() {
            let is_lit = frame
                .and_then(|frame| frame.levels.get(index))
                .is_some_and(|level| *level > 0);
            let colour = match lamp.as_str() {
                "red" | "green" | "blue" if is_lit => lamp.as_str(),
                _ if is_lit => "green",
                _ => "off",
            };
            let _ = write!(
                text,
                "<span class=\"lamp {colour}\" aria-hidden=\"true\"></span>"
            );
        }
        text.push_str("</span>");
        let _ = write!(
            text,
            "<p>Panel: {}{}</p>",
            e(&status.panel.pattern),
            if status.panel.meaning.is_empty() {
                String::new()
            } else {
                format!(" – {}", e(&status.panel.meaning))
            }
        );
        if self.is_admin() {
            text.push_str("<form method=\"post\" action=\"/do/identify\"><button>Show which box</button></form>");
        }
        text.push_str("</div>");
        for work in &status.work {
            let _ = write!(
                text,
                "<p>At work: {} of {}, {}</p>",
                e(&work.kind),
                e(&work.subject),
                when(Some(&work.since))
            );
        }
        if let Some(paused) = &status.background_paused {
            let _ = write!(
                text,
                "<p class=\"warn\">Background work rests: {}</p>",
                e(paused)
            );
        }
        text.push_str("</section>");
    }

    fn alerts(&self, text: &mut String) {
        let alerts = &self.status.alerts;
        let _ = write!(
            text,
            "<section aria-labelledby=\"a\"><h2 id=\"a\">Alerts</h2>"
        );
        if alerts.is_empty() {
            text.push_str("<p class=\"good\">None.</p></section>");
            return;
        }
        text.push_str("<ul>");
        for alert in alerts {
            let (word, class) = match alert.severity {
                Severity::Critical => ("critical", "bad"),
                Severity::Warning => ("warning", "warn"),
            };
            let _ = write!(
                text,
                "<li><strong class=\"{class}\">{word}</strong> {}: {} <span class=\"soft\">({})</span><br>{}</li>",
                e(&alert.subject),
                e(&alert.message),
                when(Some(&alert.since)),
                e(&alert.action)
            );
        }
        text.push_str("</ul></section>");
    }

    fn datastores(&self, text: &mut String) {
        text.push_str(
            "<section aria-labelledby=\"d\"><h2 id=\"d\">Datastores</h2><div class=\"grid\">",
        );
        for store in &self.status.datastores {
            self.datastore(text, store);
        }
        text.push_str("</div></section>");
    }

    fn datastore(&self, text: &mut String, store: &Datastore) {
        let name = e(&store.name);
        let _ = write!(
            text,
            "<article class=\"card\"><div class=\"row\"><h3 class=\"grow\">{name}</h3>\
             <span class=\"state {}\">{}</span></div><dl><dt>Engine</dt><dd>{} {}</dd>",
            class_of(store.state),
            word(&store.state),
            e(&store.engine),
            e(store.engine_version.as_deref().unwrap_or_default()),
        );
        if let Some(reason) = &store.reason {
            let _ = write!(text, "<dt>Why</dt><dd>{}</dd>", e(reason));
        }
        let lines = self.history.of(&store.name);
        if let Some(probe) = &store.probe {
            match (probe.ok, probe.latency_ms, &probe.error) {
                (true, Some(latency), _) => {
                    let _ = write!(
                        text,
                        "<dt>Latency</dt><dd>{latency:.1} ms{}</dd>",
                        sparkline(&lines.latency, "latency", &|ms| format!("{ms:.1} ms"))
                    );
                }
                (_, _, Some(error)) => {
                    let _ = write!(text, "<dt>Probe</dt><dd class=\"bad\">{}</dd>", e(error));
                }
                _ => {}
            }
        }
        if let Some(rss) = store.rss_bytes {
            let of = store
                .memory_max_bytes
                .map_or_else(String::new, |max| format!(" of {}", bytes(max)));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let shown = |value: f64| human_bytes(value as u64);
            let _ = write!(
                text,
                "<dt>Memory</dt><dd>{}{of}{}</dd>",
                bytes(rss),
                sparkline(&lines.memory, "memory", &shown)
            );
        }
        let _ = write!(
            text,
            "<dt>Address</dt><dd>{}</dd><dt>Restarts</dt><dd>{}</dd></dl>",
            e(&store.endpoint),
            store.restarts
        );
        if self.is_admin() {
            let wanted: &[&str] = if store.state == DatastoreState::Stopped {
                &["start"]
            } else {
                &["restart", "stop"]
            };
            text.push_str("<div class=\"row\">");
            for action in wanted {
                let _ = write!(
                    text,
                    "<form method=\"post\" action=\"/do/datastore/{name}/{action}\"><button>{action} {name}</button></form>"
                );
            }
            text.push_str("</div>");
        }
        text.push_str("</article>");
    }

    fn volumes(&self, text: &mut String) {
        text.push_str(
            "<section aria-labelledby=\"v\"><h2 id=\"v\">Volumes</h2><table><thead><tr><th scope=\"col\">Volume</th>\
             <th scope=\"col\">Use</th><th scope=\"col\" class=\"hide\">Of</th><th scope=\"col\">Full</th></tr></thead><tbody>",
        );
        for volume in &self.status.volumes {
            Self::volume(text, volume);
        }
        text.push_str("</tbody></table></section>");
    }

    fn volume(text: &mut String, volume: &Volume) {
        let used = volume
            .used_bytes
            .map_or_else(|| "unknown".to_owned(), bytes);
        let quota = volume
            .quota_bytes
            .map_or_else(|| "the disk".to_owned(), bytes);
        let bar = volume.percent.map_or_else(String::new, |percent| {
            format!(
                "<meter min=\"0\" max=\"100\" low=\"80\" high=\"90\" optimum=\"0\" value=\"{percent:.0}\" \
                 aria-label=\"{} is {percent:.0} percent full\">{percent:.0} %</meter>",
                e(&volume.name)
            )
        });
        let full = match volume.full_in_seconds {
            Some(seconds) => distance(-i64::try_from(seconds).unwrap_or(i64::MAX)),
            None => "–".to_owned(),
        };
        let state = if volume.mounted {
            String::new()
        } else {
            " <span class=\"bad\">not mounted</span>".to_owned()
        };
        let _ = write!(
            text,
            "<tr><th scope=\"row\">{}{state}</th><td>{used}{bar}</td><td class=\"hide\">{quota}</td><td>{full}</td></tr>",
            e(&volume.name)
        );
    }

    fn backups(&self, text: &mut String) {
        let backup = &self.status.backup;
        let _ = write!(
            text,
            "<section aria-labelledby=\"b\"><div class=\"row\"><h2 id=\"b\" class=\"grow\">Backups</h2>{}</div><dl>\
             <dt>Last good one</dt><dd>{}</dd><dt>Next</dt><dd>{}</dd><dt>Last work</dt><dd>{}</dd><dt>Last drill</dt><dd>{}</dd></dl></section>",
            if self.is_admin() {
                "<form method=\"post\" action=\"/do/backup\"><button>Back up now</button></form>"
            } else {
                ""
            },
            when(backup.last.as_deref()),
            when(backup.next.as_deref()),
            e(backup.last_result.as_deref().unwrap_or("none yet")),
            e(backup.last_drill.as_deref().unwrap_or("none yet")),
        );
    }

    fn board(&self, text: &mut String) {
        let board = &self.status.board;
        let _ = write!(
            text,
            "<section aria-labelledby=\"m\"><h2 id=\"m\">Board</h2><dl><dt>Model</dt><dd>{}{}</dd><dt>Memory</dt><dd>{}</dd>",
            e(&board.model),
            if board.simulated { " (simulated)" } else { "" },
            bytes(board.memory_bytes)
        );
        if let Some(celsius) = board.temperature_celsius {
            let class = if celsius >= 80.0 {
                "bad"
            } else if celsius >= 70.0 {
                "warn"
            } else {
                "good"
            };
            let _ = write!(
                text,
                "<dt>Temperature</dt><dd class=\"{class}\">{celsius:.1} °C</dd>"
            );
        }
        for (what, holds, fine) in [
            ("Throttled", board.throttled, "no"),
            ("Supply", board.undervoltage, "strong enough"),
        ] {
            if let Some(holds) = holds {
                let (word, class) = match (what, holds) {
                    (_, false) => (fine, "good"),
                    ("Supply", true) => ("too weak", "bad"),
                    _ => ("yes: slowed down", "bad"),
                };
                let _ = write!(text, "<dt>{what}</dt><dd class=\"{class}\">{word}</dd>");
            }
        }
        let off = self
            .status
            .tuning
            .knobs
            .iter()
            .filter(|knob| !knob.ok)
            .count();
        let _ = write!(
            text,
            "<dt>Kernel</dt><dd>{}{}</dd></dl></section>",
            word(&self.status.tuning.state),
            if off > 0 {
                format!(", {off} knobs are not as they should be")
            } else {
                String::new()
            }
        );
    }

    /// What was noted is for those who have a key.
    fn journal(&self, text: &mut String) {
        if self.who.is_none() {
            return;
        }
        text.push_str("<section aria-labelledby=\"j\"><h2 id=\"j\">Journal</h2><pre tabindex=\"0\" aria-label=\"the last events\">");
        for line in journal::last(JOURNAL) {
            let _ = writeln!(text, "{}", e(&line));
        }
        text.push_str("</pre></section>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_no_markup() {
        assert_eq!(e("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
    }

    #[test]
    fn times_are_told_in_words() {
        assert_eq!(distance(5), "5 s ago");
        assert_eq!(distance(-7200), "in 2 h");
        assert_eq!(distance(86_400 * 3), "3 days ago");
    }
}
