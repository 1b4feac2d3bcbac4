//! Whether there is room for what is to be written.

use std::path::Path;

use crate::search_node::failure::{Failure, Outcome};

/// Space that is left free at least, in bytes, and the part of the file system that is: the node
/// may keep its log on the same one.
const RESERVE: u64 = 4 << 20;
const RESERVED_PART: u64 = 64;

/// Refuses to write `bytes` into the file system of `dir` when they have no room there.
pub(in crate::search_node) fn check_free(dir: &Path, bytes: u64, whose: &str) -> Outcome<()> {
    if bytes == 0 {
        return Ok(());
    }
    let stat = nix::sys::statvfs::statvfs(dir)
        .map_err(|errno| Failure::from(std::io::Error::from(errno)))?;
    let unit = stat.fragment_size();
    let free = stat.blocks_available().saturating_mul(unit);
    let reserve = RESERVE.max(stat.blocks().saturating_mul(unit) / RESERVED_PART);
    if free >= bytes.saturating_add(reserve) {
        return Ok(());
    }
    Err(Failure::new(
        429,
        "cluster_block_exception",
        format!(
            "disk full: {bytes} bytes and a reserve of {reserve} are needed for {whose}, {free} are \
             free; nothing was kept of it: delete snapshots or indices there, or enlarge the volume"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        check_free(dir.path(), 0, "x").unwrap();
        let failure = check_free(dir.path(), 1 << 60, "repository [r]").unwrap_err();
        assert!(failure.is_full() && failure.reason.contains("repository [r]"));
    }
}
