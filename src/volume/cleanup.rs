//! Removing old files from volumes that may be cleaned.

use std::path::Path;
use std::time::{Duration, SystemTime};

use regex::Regex;
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::manager::Manager;
use super::name::Name;
use super::tree::{self, Next};

/// Which files go; at least one of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Unchanged for this many seconds, by the system's clock.
    pub older_than_seconds: Option<u64>,
    /// Name of the file, with `*` and `?`.
    pub pattern: Option<String>,
}

/// What was, or would be, removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that could not be read or removed.
    pub failed: u64,
}

/// `*` and `?` as in a shell; everything else stands for itself.
fn matcher(pattern: &str) -> Result<Regex, OpError> {
    let mut text = String::from("^(?s:");
    for c in pattern.chars() {
        match c {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            c => text.push_str(&regex::escape(&c.to_string())),
        }
    }
    text.push_str(")$");
    Regex::new(&text).map_err(|error| OpError::Refused(format!("{pattern:?}: {error}")))
}

impl Manager {
    /// Removes files by age and name; with `dry_run` it only counts them. Links are not followed.
    ///
    /// # Errors
    /// [`OpError::Refused`] without a filter and for data that nobody may clean.
    pub fn cleanup(&self, name: &Name, filter: &Filter, dry_run: bool) -> Result<Cleaned, OpError> {
        let entry = self.entry(name)?;
        if !entry.kind.may_be_cleaned() {
            return Err(OpError::Refused(format!(
                "volume {name} holds live data of type {}: only logs, chunks and backups are cleaned \
                 by age and name",
                entry.kind
            )));
        }
        let named = filter
            .pattern
            .as_deref()
            .filter(|pattern| !pattern.is_empty());
        if named.is_none() && filter.older_than_seconds.is_none() {
            return Err(OpError::Refused(
                "cleanup without a filter would remove everything: name an age, a pattern, or both"
                    .to_owned(),
            ));
        }
        let pattern = named.map(matcher).transpose()?;
        let before = filter
            .older_than_seconds
            .map(|age| {
                let age = Duration::from_secs(age);
                SystemTime::now().checked_sub(age).ok_or_else(|| {
                    OpError::Refused(format!("an age of {} s is before all time", age.as_secs()))
                })
            })
            .transpose()?;
        let _claim = self.claim(name, "cleanup")?;
        let matches = |file: &str, changed: SystemTime| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(file))
                && before.is_none_or(|before| changed < before)
        };
        clean(&self.path(name), &matches, dry_run)
    }
}

fn clean(
    dir: &Path,
    matches: &impl Fn(&str, SystemTime) -> bool,
    dry_run: bool,
) -> Result<Cleaned, OpError> {
    let mut cleaned = Cleaned::default();
    let unreadable = tree::walk(dir, &mut |found| {
        if found.kind() == FileType::Directory {
            return Ok(Next::On);
        }
        let name = found.name.to_string_lossy();
        let fits = changed(found.stat).is_some_and(|changed| matches(&name, changed));
        if fits {
            if dry_run || found.remove().is_ok() {
                cleaned.files += 1;
                cleaned.bytes += u64::try_from(found.stat.st_size).unwrap_or(0);
            } else {
                cleaned.failed += 1;
            }
        }
        Ok(Next::On)
    })?;
    cleaned.failed += unreadable.len() as u64;
    Ok(cleaned)
}

/// When the content changed. What lies before 1970 is as old as that.
fn changed(stat: &Stat) -> Option<SystemTime> {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell_and_nothing_more() {
        let fits = |pattern: &str, name: &str| matcher(pattern).unwrap().is_match(name);
        assert!(fits("*.log", "a.log") && !fits("*.log", "a.log.1"));
        assert!(fits("?.log", "a.log") && !fits("?.log", "ab.log"));
        assert!(fits("a+b", "a+b") && !fits("a+b", "aab"));
        assert!(!fits("[a]", "a") && fits("*", "\n"));
    }

    proptest! {
        #[test]
        fn any_pattern_is_a_matcher(pattern in "\\PC{0,40}") {
            prop_assert!(matcher(&pattern).is_ok());
            prop_assert!(matcher("*").unwrap().is_match(&pattern));
        }
    }
}
