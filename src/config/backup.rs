//! `[backup]`: when, where to, and what is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::{MIB, Span};

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
    pub memory: crate::units::ByteSize,
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
            memory: crate::units::ByteSize(192 * MIB),
            repositories: vec![Repository {
                name: "local".to_owned(),
                path: Some(PathBuf::from("backups/repository")),
                endpoint: None,
                bucket: String::new(),
                prefix: String::new(),
                region: String::new(),
                credentials: None,
                append_only: false,
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
