//! `lucid search-node`: the embedded search engine, as the supervisor starts it.

use std::path::Path;
use std::time::Duration;

use super::{CliError, Done};
use crate::{journal, search_node};

/// Queries are work for the processor: one thread would make every client wait for the slowest.
const WORKERS: usize = 2;

/// Name in process lists, where the supervisor is called `lucid` already; the kernel takes 15 bytes.
const NAME: &std::ffi::CStr = c"lucid-search";

pub(super) fn run(config: &Path) -> Result<Done, CliError> {
    journal::init_engine();
    // A name is a courtesy; a kernel that refuses it runs the node all the same.
    let _ = nix::sys::prctl::set_name(NAME);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("lucid-search")
        .enable_all()
        .build()
        .map_err(|error| CliError::Other(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(search_node::run(config));
    // A query that is under way must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended?;
    Ok(Done::Well)
}
