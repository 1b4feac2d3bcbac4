//! Waiting for a descriptor.

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` with the runtime, to wait until it can be read.
///
/// # Errors
/// Where the kernel cannot wait for such a descriptor.
pub fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE)
}

/// Registers `fd` with the runtime, to wait until the kernel says that there is news (`POLLPRI`),
/// as attributes in sysfs do.
///
/// # Errors
/// Where the kernel cannot wait for such a descriptor.
pub fn urgent(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::PRIORITY)
}

fn register(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` holds an open descriptor, always the same one, and closes it only when
    // it is dropped, which the `AsyncFd` does after it was deregistered. Nobody here takes it out
    // or duplicates another file onto it.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(registered?)
}
