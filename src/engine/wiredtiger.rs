//! What the two engines on the WiredTiger storage engine have in common: their last words,
//! their data directory, the level of their lines.

use std::path::Path;

use super::{Advice, Finding, advice};
use crate::journal::Level;

/// Cause and remedy by what a last line contains. The first hit in the table counts, so that
/// the particular stands before the general. The texts were taken from secantusd-rs 0.5.3 and
/// its WiredTiger 12 by damaging stores on purpose; mongod prints the same library's messages.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &["No space left on device", "Disk quota exceeded"],
        "the volume is full, and the storage engine stopped",
        "free space on it or make it larger; the store recovers at the next start, but secantus \
         loses the very write that met the full disk, although it answered it",
    ),
    (
        &["already being managed by another process"],
        "another process has this store open",
        "stop the other program; `fuser` on WiredTiger.lock in the volume names it",
    ),
    (
        &[
            "unsupported WiredTiger",
            "requires a more recent version",
            "featureCompatibilityVersion",
        ],
        "the store was written by another version of the engine",
        "start it with the version that wrote it; to change versions, restore a logical backup \
         into a new volume",
    ),
    (
        &["Address already in use"],
        "the port is taken by another program",
        "stop that program (`ss -ltnp` names it), or set another `port`",
    ),
    (
        &["Cannot assign requested address", "failed to bind"],
        "the address in `listen` is not one of this machine's",
        "set an address that the machine has, or \"0.0.0.0\"",
    ),
    (
        &[
            "corrupted",
            "WT_TRY_SALVAGE",
            "checksum",
            "UnrecoverableCorruption",
        ],
        "the store is damaged: a file does not hold what was written to it",
        "check the disk (`journalctl -k`, `smartctl -a`), then restore the last good backup; keep \
         a copy of the volume before any repair",
    ),
    (
        &["Permission denied", "Operation not permitted"],
        "files in the volume do not belong to the engine's user",
        "give the volume back to it, user lucid-document: `chown -R` on the volume's directory",
    ),
    (
        &["Read-only file system"],
        "the volume is read-only: the kernel does that after disk errors",
        "check the disk (`journalctl -k`, `smartctl -a`), then start the datastore again",
    ),
    (
        &["Too many open files"],
        "the limit of open files is too low",
        "raise LimitNOFILE= of the lucid service",
    ),
    (
        &["Cannot allocate memory", "out of memory", "tcmalloc"],
        "there is not enough memory",
        "raise the datastore's share (`lucid config show --effective`), or disable another one",
    ),
    (
        &["known issue with the v6.19"],
        "this mongod refuses this kernel: together they corrupt memory",
        "use mongod 7.0, or a kernel before 6.19 or from 7.0.14 on",
    ),
    (
        &["WT_PANIC", "library panic"],
        "the storage engine stopped after an error that it could not continue from",
        "the lines before tell the error; check the disk (`journalctl -k`, `smartctl -a`)",
    ),
];

/// What the last lines mean. The whole of them is searched, newest first.
pub(super) fn advise(last_lines: &[String]) -> Option<Advice> {
    advice::find(WORDS, last_lines)
}

/// A line of the library itself: `[1:2][3:0x4], name: [WT_VERB_DEFAULT][ERROR]: text`.
pub(super) fn line_level(line: &str) -> Option<Level> {
    if !line.contains("[WT_VERB_") && !line.contains("WT_PANIC") {
        return None;
    }
    Some(if line.contains("][ERROR]") || line.contains("WT_PANIC") {
        Level::Error
    } else if line.contains("][WARNING]") {
        Level::Warn
    } else if line.contains("][DEBUG") {
        Level::Debug
    } else {
        Level::Info
    })
}

/// `store-without-turtle`: data but no `WiredTiger.turtle`, the file that names the last
/// checkpoint. WiredTiger then moves the metadata aside, makes a new empty store and serves it
/// (seen with secantusd-rs 0.5.3), so the data would be gone without an error.
pub(super) fn check_data(engine: &str, data_dir: &Path) -> Option<Finding> {
    let has = |name: &str| data_dir.join(name).exists();
    // A start that crashes between the two renames of a checkpoint leaves only the `.set` file,
    // and the library recovers from that.
    let whole = has("WiredTiger.turtle") || has("WiredTiger.turtle.set");
    (has("WiredTiger.wt") && !whole).then(|| Finding {
        rule: "store-without-turtle",
        blocks: true,
        message: format!(
            "{} has data but no WiredTiger.turtle; {engine} would begin with an empty store",
            data_dir.display()
        ),
        remedy: "restore the last good backup; to begin with an \
                 empty store, move the files of the volume away"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_last_words_are_understood() {
        for (line, part) in [
            (
                "secantusd-rs: failed to open storage at .: Wt(WtError { code: 16, message: \"Device or resource busy\" })\n[1:2][3:0x4], wiredtiger_open: [WT_VERB_DEFAULT][ERROR]: __conn_single, 1853: WiredTiger database is already being managed by another process: Device or resource busy",
                "another process",
            ),
            (
                "secantusd-rs: failed to bind 127.0.0.1:27998: Address already in use (os error 98)",
                "port is taken",
            ),
            (
                "secantusd-rs: failed to bind 10.9.9.9:27998: Cannot assign requested address (os error 99)",
                "listen",
            ),
            (
                "[1:2][3:0x4], file:WiredTiger.wt, connection: [WT_VERB_DEFAULT][ERROR]: __desc_read, 395: WiredTiger.wt is corrupted: calculated block checksum of 0xc339402c doesn't match",
                "damaged",
            ),
            (
                "[1:2][3:0x4], connection: [WT_VERB_DEFAULT][ERROR]: __ckpt_version_chk, 1833: file:WiredTiger.wt is an unsupported WiredTiger source file version 99.1; this WiredTiger build only supports versions from 1.1 to 2.1: Permission denied",
                "another version",
            ),
            (
                "[1:2][3:0x4], wiredtiger_open: [WT_VERB_DEFAULT][ERROR]: __posix_open_file, 816: c/WiredTiger.lock: handle-open: open: Permission denied",
                "user",
            ),
            (
                "[1:2][3:0x4], x: [WT_VERB_DEFAULT][ERROR]: __posix_file_write, 1: pwrite: failed to write: No space left on device\nthe process must exit and restart: WT_PANIC: WiredTiger library panic",
                "full",
            ),
        ] {
            let lines: Vec<_> = line.lines().map(str::to_owned).collect();
            let advice = advise(&lines).unwrap();
            assert!(advice.cause.contains(part), "{line}: {advice:?}");
        }
        assert_eq!(advise(&["all is well".to_owned()]), None);
    }

    #[test]
    fn library_lines_have_their_level() {
        let line = "[1:2][3:0x4], c: [WT_VERB_BLOCK][NOTICE]: unexpected file found, renamed";
        assert_eq!(line_level(line), Some(Level::Info));
        let line = "[1:2][3:0x4], c: [WT_VERB_DEFAULT][ERROR]: broken";
        assert_eq!(line_level(line), Some(Level::Error));
        assert_eq!(line_level("plain"), None);
    }

    #[test]
    fn a_store_without_its_turtle_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_data("secantus", dir.path()), None);
        let touch = |name: &str| crate::fsx::write_atomic(&dir.path().join(name), b"", 0o600);
        touch("WiredTiger.wt").unwrap();
        assert!(check_data("secantus", dir.path()).unwrap().blocks);
        touch("WiredTiger.turtle").unwrap();
        assert_eq!(check_data("secantus", dir.path()), None);
    }
}
