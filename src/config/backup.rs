//! `[backup]`: when, where to, and what is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rules::Rules;
use crate::units::{ByteSize, MIB, Span};

/// Below this a backup of a small appliance takes days.
const MIN_BANDWIDTH: u64 = 64 << 10;
/// Above it there is no bound.
const MAX_BANDWIDTH: u64 = 10 << 30;
/// Time zone that means the board's own.
const OWN_ZONE: &str = "";

/// `[backup]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Whether backups are made by themselves.
    pub enabled: bool,
    /// When a backup is made, as a cron expression.
    pub schedule: String,
    /// When the whole repository is read back.
    pub verify: String,
    /// When a backup is restored into scratch engines and compared.
    pub drill: String,
    /// Time zone of the three; empty for the board's.
    pub timezone: String,
    /// Each run begins up to this much later, by chance.
    pub jitter: Span,
    /// Within so many backups all data was read back.
    pub verify_share: u32,
    /// Every backup of so many days stays.
    pub keep_days: u32,
    /// Beyond that one of each of so many days stays.
    pub keep_daily: u32,
    /// One of each of so many weeks.
    pub keep_weekly: u32,
    /// One of each of so many months.
    pub keep_monthly: u32,
    /// Percent of the time that reading took which is rested after it.
    pub rest_percent: u32,
    /// Memory of the process that does it, in bytes; its engines in a drill come on top.
    pub memory: ByteSize,
    /// Where backups go; all of them get each backup.
    pub repositories: Vec<Repository>,
}

/// Where backups go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// What it is called.
    pub name: String,
    /// A directory; a relative one lies on the data pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Or a service that speaks S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Path in the bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Region that signatures name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// File with `access_key` and `secret_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// Nothing is ever removed from it.
    #[serde(default)]
    pub append_only: bool,
    /// Bytes that go to it and come from it in a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<ByteSize>,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            enabled: true,
            schedule: "0 * * * *".to_owned(),
            verify: "0 2 * * *".to_owned(),
            drill: "0 3 * * 0".to_owned(),
            timezone: OWN_ZONE.to_owned(),
            jitter: Span(std::time::Duration::from_mins(5)),
            verify_share: 24,
            keep_days: 2,
            keep_daily: 30,
            keep_weekly: 8,
            keep_monthly: 12,
            rest_percent: 25,
            memory: ByteSize(192 * MIB),
            repositories: vec![Repository {
                name: "local".to_owned(),
                path: Some(PathBuf::from("backups/repository")),
                endpoint: None,
                bucket: String::new(),
                prefix: String::new(),
                region: String::new(),
                credentials: None,
                append_only: false,
                bandwidth: None,
            }],
        }
    }
}

/// The times that a cron expression means.
///
/// # Errors
/// What is wrong with it.
pub fn crontab(expression: &str, zone: &str) -> Result<cronexpr::Crontab, String> {
    let mut options = cronexpr::ParseOptions::default();
    options.fallback_timezone_option = cronexpr::FallbackTimezoneOption::System;
    let whole = format!("{expression} {zone}");
    cronexpr::parse_crontab_with(whole.trim(), options).map_err(|error| error.to_string())
}

impl Rules<'_> {
    pub(super) fn backup(&mut self, backup: &Backup) {
        for (key, expression) in [
            ("backup.schedule", &backup.schedule),
            ("backup.verify", &backup.verify),
            ("backup.drill", &backup.drill),
        ] {
            let wrong = (!expression.is_empty())
                .then(|| crontab(expression, &backup.timezone).err())
                .flatten();
            self.require(
                wrong.is_none(),
                key,
                expression,
                format!(
                    "a cron expression of five fields, such as \"0 2 * * *\", or \"\" ({})",
                    wrong.unwrap_or_default().replace('\n', " ").trim()
                ),
            );
        }
        self.span("backup.jitter", backup.jitter, "0s", "1h");
        for (key, value, min, max) in [
            ("backup.verify_share", backup.verify_share, 1, 1000),
            ("backup.keep_days", backup.keep_days, 1, 365),
            ("backup.keep_daily", backup.keep_daily, 0, 1000),
            ("backup.keep_weekly", backup.keep_weekly, 0, 1000),
            ("backup.keep_monthly", backup.keep_monthly, 0, 1000),
            ("backup.rest_percent", backup.rest_percent, 0, 1000),
        ] {
            self.require(
                (min..=max).contains(&value),
                key,
                &value.to_string(),
                format!("{min} to {max}"),
            );
        }
        let memory = backup.memory.0;
        self.require(
            (96 * MIB..=4096 * MIB).contains(&memory),
            "backup.memory",
            &backup.memory.to_string(),
            "96M to 4G",
        );
        let mut names = std::collections::BTreeSet::new();
        for one in &backup.repositories {
            let plain = |text: &str| {
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            };
            self.require(
                plain(&one.name) && names.insert(one.name.clone()),
                "backup.repositories",
                &one.name,
                "names of letters, digits, - and _, each once",
            );
            let leads_out = one.path.as_ref().is_some_and(|path| {
                let mut parts = path.components();
                parts.any(|part| part == std::path::Component::ParentDir)
            });
            let one_place = one.path.is_some() != one.endpoint.is_some();
            self.require(
                one_place && !leads_out,
                "backup.repositories",
                &one.name,
                "either path, without \"..\", or endpoint, bucket and credentials",
            );
            if let Some(bandwidth) = one.bandwidth {
                self.require(
                    (MIN_BANDWIDTH..=MAX_BANDWIDTH).contains(&bandwidth.0),
                    "backup.repositories.bandwidth",
                    &bandwidth.to_string(),
                    "64K to 10G, in bytes a second, or left out",
                );
            }
            let bucket =
                one.endpoint.is_none() || (!one.bucket.is_empty() && one.credentials.is_some());
            let prefix = !one
                .prefix
                .split('/')
                .any(|part| part == ".." || part == ".");
            self.require(
                bucket && prefix,
                "backup.repositories",
                &one.name,
                "a bucket and a credentials file for an endpoint, and a prefix without \"..\"",
            );
        }
    }
}
