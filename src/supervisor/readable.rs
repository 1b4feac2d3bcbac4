//! Waiting for a descriptor to become readable.

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` with the runtime.
pub(super) fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` holds an open descriptor, always the same one, and closes it only when
    // it is dropped, which the `AsyncFd` does after it was deregistered. Nobody here takes it out
    // or duplicates another file onto it.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(registered?)
}
