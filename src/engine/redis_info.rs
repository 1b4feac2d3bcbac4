//! What Redis tells about itself in `INFO`, and which of it is a fault.

use std::collections::HashMap;

use super::Fault;
use crate::units::human_bytes;

/// One answer to `INFO`.
#[derive(Debug)]
pub(super) struct Info<'a>(HashMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .collect(),
        )
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).copied().unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }

    /// Still reading its data; carries how far, in the form of `EngineError::Loading`.
    pub(super) fn loading(&self) -> Option<String> {
        (self.text("loading") == "1").then(|| {
            let percent = self.text("loading_loaded_perc");
            match self.text("loading_eta_seconds") {
                "" => String::new(),
                eta => format!(" ({percent} %, about {eta} s left)"),
            }
        })
    }

    /// Keys evicted since the start of the server.
    pub(super) fn evicted(&self) -> u64 {
        self.number("evicted_keys").unwrap_or_default()
    }

    /// Faults; `evicted_before` is the count of the last look, absent at the first.
    pub(super) fn faults(&self, evicted_before: Option<u64>) -> Vec<Fault> {
        let failing = |key: &str| self.text(key) == "err";
        let disk = "look for the cause in its log (`lucid logs cache`); most often the volume is \
                    full, or a fork lacked memory (vm.overcommit_memory must be 1)";
        let fault = |id, message: String, remedy: &str| Fault {
            id,
            message,
            remedy: remedy.to_owned(),
        };
        let mut faults = Vec::new();
        if failing("rdb_last_bgsave_status") {
            let message =
                "the last snapshot (BGSAVE) failed; writes are refused until one succeeds";
            faults.push(fault("bgsave-failing", message.to_owned(), disk));
        }
        if failing("aof_last_write_status") {
            let message = "the append-only file cannot be written; writes are refused meanwhile";
            faults.push(fault("aof-write-failing", message.to_owned(), disk));
        }
        if failing("aof_last_bgrewrite_status") {
            let message = "the append-only file could not be rewritten; it keeps growing";
            faults.push(fault("aof-rewrite-failing", message.to_owned(), disk));
        }
        let limit = self.number("maxmemory").unwrap_or_default();
        let evicted = evicted_before.map_or(0, |before| match self.evicted() {
            // Fewer than before: the server was started anew meanwhile.
            now if now < before => now,
            now => now - before,
        });
        if evicted > 0 {
            faults.push(fault(
                "evicting",
                format!(
                    "{evicted} keys were evicted since the last check: the limit of {} is reached",
                    human_bytes(limit)
                ),
                "raise datastore.cache.maxmemory or its share of memory, shorten lifetimes, or \
                 store less",
            ));
        }
        let used = self.number("used_memory").unwrap_or_default();
        if limit > 0 && used >= limit && self.text("maxmemory_policy") == "noeviction" {
            faults.push(fault(
                "memory-full",
                format!("its {} are full: writes are refused", human_bytes(limit)),
                "delete keys, or raise datastore.cache.maxmemory or its share of memory",
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str, before: Option<u64>) -> Vec<&'static str> {
        let faults = Info::parse(text).faults(before);
        faults.iter().map(|fault| fault.id).collect()
    }

    #[test]
    fn a_healthy_server_has_no_faults() {
        let text = "# Persistence\r\nloading:0\r\nrdb_last_bgsave_status:ok\r\n\
                    aof_last_write_status:ok\r\nevicted_keys:7\r\nmaxmemory:100\r\n\
                    used_memory:200\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert!(ids(text, Some(7)).is_empty());
        assert_eq!(Info::parse(text).loading(), None);
    }

    #[test]
    fn each_fault_is_told_apart() {
        let text = "rdb_last_bgsave_status:err\r\naof_last_write_status:err\r\n\
                    aof_last_bgrewrite_status:err\r\nmaxmemory:100\r\nused_memory:100\r\n\
                    maxmemory_policy:noeviction\r\n";
        let all = [
            "bgsave-failing",
            "aof-write-failing",
            "aof-rewrite-failing",
            "memory-full",
        ];
        assert_eq!(ids(text, None), all);
    }

    #[test]
    fn only_new_evictions_count_and_a_restart_is_noticed() {
        assert!(ids("evicted_keys:50", None).is_empty());
        assert_eq!(ids("evicted_keys:50", Some(20)), ["evicting"]);
        assert!(
            Info::parse("evicted_keys:50").faults(Some(20))[0]
                .message
                .starts_with("30 ")
        );
        assert!(ids("evicted_keys:0", Some(20)).is_empty());
        assert!(
            Info::parse("evicted_keys:3").faults(Some(20))[0]
                .message
                .starts_with("3 ")
        );
    }

    #[test]
    fn loading_tells_how_far_it_is() {
        let text = "loading:1\r\nloading_loaded_perc:42.10\r\nloading_eta_seconds:30\r\n";
        let progress = Info::parse(text).loading().unwrap();
        assert_eq!(progress, " (42.10 %, about 30 s left)");
        assert_eq!(Info::parse("loading:1").loading().unwrap(), "");
    }
}
