//! What must hold of a configuration beyond the types of its values.

use super::load::{Problem, Source};
use super::{Config, EngineKind, Role, SearchTls};
use crate::units::{ByteSize, MIB, Span};

/// Every fault of `config`, which was read from `source`.
pub(super) fn check(source: &Source<'_>, config: &Config) -> Vec<Problem> {
    let mut rules = Rules {
        source,
        problems: Vec::new(),
    };
    rules.data(config);
    rules.datastores(config);
    rules.document(config);
    rules.cache(config);
    rules.search(config);
    rules.memory(config);
    rules.times(config);
    rules.panel(&config.panel);
    rules.volume(config);
    rules.backup(&config.backup);
    rules.api(&config.api);
    rules.problems
}

/// Collects what does not hold.
pub(super) struct Rules<'a> {
    source: &'a Source<'a>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    pub(super) fn require(
        &mut self,
        holds: bool,
        key: &str,
        found: &str,
        allowed: impl Into<String>,
    ) {
        if holds {
            return;
        }
        let (line, found) = match self.source.locate(key) {
            Some((line, text)) => (Some(line), text),
            None => (None, format!("{found} (default)")),
        };
        self.problems.push(Problem {
            line,
            key: key.to_owned(),
            found,
            allowed: allowed.into(),
        });
    }

    pub(super) fn span(&mut self, key: &str, value: Span, min: &str, max: &str) {
        let within = |bound: &str, test: fn(Span, Span) -> bool| {
            bound.parse::<Span>().is_ok_and(|bound| test(value, bound))
        };
        let holds = within(min, |v, b| v >= b) && within(max, |v, b| v <= b);
        self.require(holds, key, &value.to_string(), format!("{min} to {max}"));
    }

    fn data(&mut self, config: &Config) {
        let data = &config.data;
        let is_name = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:+-=@#".contains(&b))
                && !name.starts_with('.')
        };
        self.require(
            is_name(&data.disk),
            "data.disk",
            &data.disk,
            "a name under /dev/disk/by-id, without the directory",
        );
        self.require(
            data.erase.is_empty() || data.erase == data.disk,
            "data.erase",
            &data.erase,
            "\"\", or exactly the name in data.disk",
        );
    }

    fn datastores(&mut self, config: &Config) {
        self.require(
            config.enabled().next().is_some(),
            "datastore.document.enabled",
            "false",
            "at least one datastore must be enabled",
        );
        for role in Role::ALL {
            let common = config.common(role);
            let key = |name: &str| format!("datastore.{role}.{name}");
            self.require(
                common.engine.role() == role,
                &key("engine"),
                common.engine.name(),
                engines_of(role),
            );
            self.require(common.port != 0, &key("port"), "0", "1 to 65535");
            self.require(
                !common.listen.is_empty(),
                &key("listen"),
                "[]",
                "at least one address, such as [\"127.0.0.1\"]",
            );
            if let Some(binary) = common.binary {
                self.require(
                    binary.is_absolute(),
                    &key("binary"),
                    &binary.to_string_lossy(),
                    "an absolute path",
                );
                self.require(
                    common.engine != EngineKind::SearchNode,
                    &key("binary"),
                    &binary.to_string_lossy(),
                    format!(
                        "left out, since the engine is part of lucid; or set {} = \"elasticsearch\"",
                        key("engine")
                    ),
                );
            }
        }
        let enabled: Vec<_> = config.enabled().collect();
        for (index, common) in enabled.iter().enumerate() {
            if let Some(other) = enabled[..index].iter().find(|o| o.port == common.port) {
                self.require(
                    false,
                    &format!("datastore.{}.port", common.role),
                    &common.port.to_string(),
                    format!("a port that datastore.{} does not use", other.role),
                );
            }
        }
    }

    fn document(&mut self, config: &Config) {
        let document = &config.datastore.document;
        self.require(
            !document.replica_set.is_empty()
                && document.replica_set.len() <= 64
                && document
                    .replica_set
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "datastore.document.replica_set",
            &document.replica_set,
            "1 to 64 letters, digits, - or _",
        );
        self.span(
            "datastore.document.oplog_retention",
            document.oplog_retention,
            "1m",
            "30d",
        );
    }

    fn cache(&mut self, config: &Config) {
        let cache = &config.datastore.cache;
        self.require(
            MAXMEMORY_POLICIES.contains(&cache.maxmemory_policy.as_str()),
            "datastore.cache.maxmemory_policy",
            &cache.maxmemory_policy,
            MAXMEMORY_POLICIES.join(", "),
        );
        self.require(
            cache.maxmemory >= ByteSize(16 * MIB),
            "datastore.cache.maxmemory",
            &cache.maxmemory.to_string(),
            "16M or more",
        );
    }

    fn search(&mut self, config: &Config) {
        let search = &config.datastore.search;
        self.require(
            search.tls == SearchTls::Off || search.engine == EngineKind::SearchNode,
            "datastore.search.tls",
            search.tls.name(),
            "\"off\" with engine = \"elasticsearch\"",
        );
        for (name, path) in [("certificate", &search.certificate), ("key", &search.key)] {
            let key = format!("datastore.search.{name}");
            let shown = path.as_deref().unwrap_or(std::path::Path::new(""));
            let shown = shown.to_string_lossy();
            match search.tls {
                SearchTls::Given => self.require(
                    path.as_ref().is_some_and(|path| path.is_absolute()),
                    &key,
                    &shown,
                    "an absolute path, since datastore.search.tls = \"given\"",
                ),
                SearchTls::Off | SearchTls::Generated => self.require(
                    path.is_none(),
                    &key,
                    &shown,
                    "left out, or datastore.search.tls = \"given\"",
                ),
            }
        }
    }

    fn memory(&mut self, config: &Config) {
        if let Some(reserve) = config.memory.reserve {
            self.require(
                reserve >= ByteSize(64 * MIB),
                "memory.reserve",
                &reserve.to_string(),
                "64M or more; the operating system needs it",
            );
        }
        for (role, weight) in &config.memory.weights {
            self.require(
                (1..=1000).contains(weight),
                &format!("memory.weights.{role}"),
                &weight.to_string(),
                "1 to 1000",
            );
        }
    }

    fn times(&mut self, config: &Config) {
        let supervisor = &config.supervisor;
        self.span(
            "tuning.check_interval",
            config.tuning.check_interval,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.start_timeout",
            supervisor.start_timeout,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.stop_timeout",
            supervisor.stop_timeout,
            "1s",
            "10m",
        );
        self.span(
            "supervisor.backoff_min",
            supervisor.backoff_min,
            "10ms",
            "1m",
        );
        self.span(
            "supervisor.backoff_max",
            supervisor.backoff_max,
            "100ms",
            "1h",
        );
        self.require(
            supervisor.backoff_min <= supervisor.backoff_max,
            "supervisor.backoff_min",
            &supervisor.backoff_min.to_string(),
            format!("at most supervisor.backoff_max, {}", supervisor.backoff_max),
        );
        self.span(
            "supervisor.stable_after",
            supervisor.stable_after,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.crash_loop_window",
            supervisor.crash_loop_window,
            "1s",
            "1d",
        );
        self.span(
            "supervisor.crash_loop_retry",
            supervisor.crash_loop_retry,
            "1s",
            "1d",
        );
        self.require(
            (2..=100).contains(&supervisor.crash_loop_failures),
            "supervisor.crash_loop_failures",
            &supervisor.crash_loop_failures.to_string(),
            "2 to 100",
        );
        self.span("probe.interval", config.probe.interval, "100ms", "1m");
        self.span(
            "probe.write_interval",
            config.probe.write_interval,
            "1s",
            "1h",
        );
        self.span("probe.timeout", config.probe.timeout, "100ms", "1m");
        for (key, value, max) in [
            ("probe.failures", config.probe.failures, 100),
            ("log.lines_per_second", config.log.lines_per_second, 100_000),
            ("log.burst", config.log.burst, 100_000),
        ] {
            self.require(
                (1..=max).contains(&value),
                key,
                &value.to_string(),
                format!("1 to {max}"),
            );
        }
        self.require(
            (10..=10_000).contains(&config.log.keep),
            "log.keep",
            &config.log.keep.to_string(),
            "10 to 10000",
        );
    }
}

impl Rules<'_> {
    fn volume(&mut self, config: &Config) {
        let volume = &config.volume;
        for (key, size) in [
            ("volume.min_quota", volume.min_quota),
            ("volume.max_quota", volume.max_quota),
        ] {
            let holds = (16 * MIB..=1 << 40).contains(&size.0);
            self.require(holds, key, &size.to_string(), "16M to 1T");
        }
        self.require(
            volume.min_quota <= volume.max_quota,
            "volume.min_quota",
            &volume.min_quota.to_string(),
            format!("at most volume.max_quota, {}", volume.max_quota),
        );
        self.require(
            (volume.min_quota..=volume.max_quota).contains(&volume.default_quota),
            "volume.default_quota",
            &volume.default_quota.to_string(),
            format!("{} to {}", volume.min_quota, volume.max_quota),
        );
        self.require(
            (1..=100).contains(&volume.critical_percent),
            "volume.critical_percent",
            &volume.critical_percent.to_string(),
            "1 to 100",
        );
        self.require(
            volume.warning_percent >= 1 && volume.warning_percent < volume.critical_percent,
            "volume.warning_percent",
            &volume.warning_percent.to_string(),
            format!(
                "1 or more, below volume.critical_percent, {}",
                volume.critical_percent
            ),
        );
    }
}

/// Policies of Redis 7 and 8 (`maxmemory-policy` in their `redis.conf`).
const MAXMEMORY_POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

fn engines_of(role: Role) -> &'static str {
    match role {
        Role::Document => "\"secantus\" or \"mongod\"",
        Role::Cache => "\"redis\" or \"valkey\"",
        Role::Search => "\"lucid\" or \"elasticsearch\"",
    }
}
