//! Events for the journal: one kind, one message id, one place.
//!
//! Under systemd events go to journald with structured fields (`LUCID_EVENT`,
//! `LUCID_DATASTORE`, `LUCID_VOLUME`, `MESSAGE_ID`); `journalctl -x` explains each id from
//! `systemd/lucid.catalog`. Elsewhere the same events go to stderr.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::fmt::{MakeWriter, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How loud an event is. The order is that of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Needs a person.
    Error,
    /// Should be known.
    Warn,
    /// Normal course of things.
    Info,
    /// For finding faults.
    Debug,
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $id:literal, $level:ident;)*) => {
        /// A kind of event. Name and id are stable: scripts filter by them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event { $($(#[$doc])* $variant,)* }

        impl Event {
            /// Every kind, for the catalog test.
            pub const ALL: &'static [Event] = &[$(Event::$variant,)*];

            /// `LUCID_EVENT`.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$variant => $name,)* }
            }

            /// `MESSAGE_ID`: 128 bits in hexadecimal, made once at random.
            pub const fn message_id(self) -> &'static str {
                match self { $(Event::$variant => $id,)* }
            }

            /// Level it is logged at.
            pub const fn level(self) -> Level {
                match self { $(Event::$variant => Level::$level,)* }
            }
        }
    };
}

events! {
    /// The supervisor took over the appliance.
    SupervisorStarted = "supervisor-started", "3d5cebdf4ef401511264105f4fd914f3", Info;
    /// A clean shutdown began.
    SupervisorStopping = "supervisor-stopping", "a114b2ad7557d2343df05c1b0b5d2e76", Info;
    /// The supervisor leaves; engines go on for the next one.
    SupervisorHandover = "supervisor-handover", "d7b8a000c10317ac89a447d77918bf0a", Info;
    /// Every enabled datastore is ready.
    ApplianceReady = "appliance-ready", "fdcf1562643b22157ad562c627506938", Info;
    /// Something a person must know is wrong.
    ApplianceDegraded = "appliance-degraded", "5bbcd94ba49334529a7eb8942fe34503", Warn;
    /// A datastore cannot serve without a person.
    ApplianceFailed = "appliance-failed", "9e86f939a84bcdd7cc681a29cea5ce3b", Error;
    /// The configuration was read again.
    ConfigReloaded = "config-reloaded", "0bae8f4f705d10369ebdc4363a7f45a3", Info;
    /// A changed configuration is not valid; the old one stays.
    ConfigRejected = "config-rejected", "a62427c3a9837ae2e49835a5463c29be", Error;
    /// An engine was launched.
    DatastoreStarting = "datastore-starting", "2ee6c81044e25121a816ae5f0094bd43", Info;
    /// A running engine was taken over from an earlier supervisor.
    DatastoreAdopted = "datastore-adopted", "266d1d89b716ba37c679c70a46d2b61b", Info;
    /// An engine passed a real write and read.
    DatastoreReady = "datastore-ready", "7417a753209e036ba4379a9ce41cc062", Info;
    /// An engine serves, with a fault.
    DatastoreDegraded = "datastore-degraded", "f726e48e870757f06807db6188ffb68b", Warn;
    /// An engine ended without being asked to.
    DatastoreExited = "datastore-exited", "e2b7d89eef25084cb50415ca83d5db7b", Warn;
    /// An engine did not answer in time and is killed.
    DatastoreHung = "datastore-hung", "85372057000782035891a19cdab3f680", Error;
    /// The next start waits.
    DatastoreBackoff = "datastore-backoff", "397091d84beab2defff32031fe150355", Warn;
    /// Crash loop: a person is needed.
    DatastoreFailed = "datastore-failed", "aa8ec7c00821afd5b18eb6f016550b1a", Error;
    /// A precondition of the start is missing.
    DatastoreBlocked = "datastore-blocked", "5d8123c2a815deb177335f359bb05343", Error;
    /// An engine stopped on request.
    DatastoreStopped = "datastore-stopped", "6072babdf73d755f79d2b14e365704f1", Info;
    /// A resource limit could not be put in force.
    LimitNotEnforced = "limit-not-enforced", "578c7c76165c0437aa244c8abc8ebd5b", Warn;
    /// An engine wrote more than the rate limit lets through.
    OutputSuppressed = "output-suppressed", "68ddf7a47f15fd405373c1bd33d6df65", Warn;
    /// Kernel knobs were set and read back.
    TuningApplied = "tuning-applied", "4d56862d10f6e826a7e0c1a43f9262d3", Info;
    /// A kernel knob could not be set.
    TuningRefused = "tuning-refused", "a154133efe9d6f0f7517b68cd6146ef9", Warn;
    /// Another program changed a kernel knob; it was set again.
    TuningDrift = "tuning-drift", "2e8171b46500e89d15d6a7666f1a0960", Warn;
    /// Another program keeps changing a kernel knob.
    TuningFlapping = "tuning-flapping", "ee1e5679565880e9c3fb367a3f66b0d8", Error;
    /// Kernel knobs have the values found before tuning.
    TuningReverted = "tuning-reverted", "e115ad375e897fcf4339b39a0c079132", Info;
    /// The wall clock moved by more than time passed.
    ClockJumped = "clock-jumped", "87dab46cc5544dbbaf198ce5850b4af5", Warn;
    /// Credentials were made at first start.
    CredentialsCreated = "credentials-created", "9ac869ea3805315b9d18a528da23614b", Info;
    /// A password was changed.
    CredentialsRotated = "credentials-rotated", "b15e8a43144c8c64521c4095182ac5ab", Info;
    /// An alert was opened.
    AlertRaised = "alert-raised", "418f5b1b282d05c1c673ded7c2e554b9", Warn;
    /// An alert is over.
    AlertCleared = "alert-cleared", "a2abcc177e3e7abc6750f6fa11f0f354", Info;
    /// The button asked for something.
    ButtonPressed = "button-pressed", "c35fe47b9d9773f749cd76dc3ec2ea22", Info;
    /// What the button asked for was taken back or given up.
    ButtonCancelled = "button-cancelled", "08e2734d9222d056e9703cf1b0c75bc6", Info;
    /// The HTTP API is not served over the network.
    ApiUnavailable = "api-unavailable", "c4de8d9762a445d8a47f5a7093d5d218", Error;
    /// What the button asked for cannot be done here.
    ButtonRefused = "button-refused", "0900526f7c24a913c02cf33009251411", Warn;
    /// The appliance started without its datastores, because the button was held.
    RescueStarted = "rescue-started", "11bea347edbbea7e1235b4ec2165ffa4", Error;
    /// Long work began.
    JobStarted = "job-started", "5ca72d8478079336be9e3fb1d67f289b", Info;
    /// Long work ended well.
    JobDone = "job-done", "1443f53a43d30cefab7f3a593855ac7d", Info;
    /// Long work failed or was ended.
    JobFailed = "job-failed", "d1a487d449e5e49b9ef9e8ce0ecaac1a", Error;
    /// The supply voltage is too low.
    PowerLow = "power-low", "84220e21327aaec49c601ea44336836c", Error;
}

/// Events that are remembered for the page.
const REMEMBERED: usize = 100;

static LAST: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn remember(event: Event, message: &str) {
    let line = format!(
        "{} {}: {message}",
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        event.name()
    );
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == REMEMBERED {
        last.pop_front();
    }
    last.push_back(line);
}

/// The last events of this process, the newest at the end.
pub fn last(count: usize) -> Vec<String> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.iter()
        .skip(last.len().saturating_sub(count))
        .cloned()
        .collect()
}

/// Logs `event` about `subject` (a datastore, volume, knob or `appliance`).
pub fn emit(event: Event, subject: &str, message: &str) {
    remember(event, message);
    let (id, name) = (event.message_id(), event.name());
    // Field names become journal fields in capitals: MESSAGE_ID, LUCID_EVENT, LUCID_DATASTORE.
    match event.level() {
        Level::Error => tracing::error!(
            message_id = id,
            lucid_event = name,
            lucid_datastore = subject,
            "{message}"
        ),
        Level::Warn => tracing::warn!(
            message_id = id,
            lucid_event = name,
            lucid_datastore = subject,
            "{message}"
        ),
        Level::Info => tracing::info!(
            message_id = id,
            lucid_event = name,
            lucid_datastore = subject,
            "{message}"
        ),
        Level::Debug => tracing::debug!(
            message_id = id,
            lucid_event = name,
            lucid_datastore = subject,
            "{message}"
        ),
    }
}

/// Passes on one line that an engine wrote.
pub fn engine_line(datastore: &str, engine: &str, level: Level, line: &str) {
    match level {
        Level::Error => tracing::error!(
            target: "engine", lucid_datastore = datastore, lucid_engine = engine, "{line}"
        ),
        Level::Warn => tracing::warn!(
            target: "engine", lucid_datastore = datastore, lucid_engine = engine, "{line}"
        ),
        Level::Info => tracing::info!(
            target: "engine", lucid_datastore = datastore, lucid_engine = engine, "{line}"
        ),
        Level::Debug => tracing::debug!(
            target: "engine", lucid_datastore = datastore, lucid_engine = engine, "{line}"
        ),
    }
}

/// Starts logging: to journald when systemd connected stderr to it, else to stderr.
///
/// `LUCID_LOG` takes a filter such as `debug` or `lucid=debug,engine=warn`; default `info`.
/// A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("LUCID_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,mongodb=warn,hyper=warn"));
    // systemd sets JOURNAL_STREAM when stdout or stderr is the journal.
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(layer) = tracing_journald::layer()
    {
        let layer = layer
            .with_field_prefix(None)
            .with_syslog_identifier("lucid".to_owned());
        let _ = tracing_subscriber::registry()
            .with(filter)
            .with(layer)
            .try_init();
        return;
    }
    // A person reads this: the subject and the text; ids and event names are for the journal.
    let fields = format::debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        "lucid_datastore" => write!(writer, " [{}]", format!("{value:?}").trim_matches('"')),
        _ => Ok(()),
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .fmt_fields(fields)
        .with_target(false);
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init();
}

/// Starts logging of the search node: a level and a text a line on stderr, which the supervisor
/// reads like that of any engine and passes on with its own time.
pub fn init_engine() {
    let _ = tracing_subscriber::registry()
        .with(EnvFilter::new("info"))
        .with(engine_lines(std::io::stderr))
        .try_init();
}

fn engine_lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .without_time()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn an_engine_writes_a_level_and_a_text_a_line() {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = engine_lines(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!("some requests were not finished");
            tracing::error!("the log could not be flushed");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            " WARN some requests were not finished\nERROR the log could not be flushed\n"
        );
    }

    #[test]
    fn every_event_has_its_own_name_and_a_well_formed_id() {
        let mut seen = HashSet::new();
        for event in Event::ALL {
            let id = event.message_id();
            assert!(
                id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{event:?}"
            );
            assert!(
                seen.insert(id) && seen.insert(event.name()),
                "{event:?} is not unique"
            );
        }
    }

    #[test]
    fn the_message_catalog_explains_every_event() {
        let catalog = include_str!("../systemd/lucid.catalog");
        for event in Event::ALL {
            let entry = format!("-- {}\nSubject: ", event.message_id());
            assert!(
                catalog.contains(&entry),
                "{event:?} is missing in systemd/lucid.catalog"
            );
        }
    }
}
