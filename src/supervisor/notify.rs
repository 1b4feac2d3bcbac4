//! Talking to systemd: readiness, status line, watchdog, FD store. Without systemd all of it
//! does nothing.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::config::Role;

/// Sends `states`; a supervisor goes on without systemd's ear.
fn send(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

pub(super) fn ready() {
    send(&[NotifyState::Ready]);
}

pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

pub(super) fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// Tells systemd that a reload began, and when.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, now]);
    }
}

/// How often systemd wants to hear from us; absent without a watchdog.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn name(role: Role) -> String {
    format!("lucid-{role}")
}

/// Puts an engine's pidfd into systemd's FD store, so that it outlives this process.
pub(super) fn store(role: Role, pidfd: &OwnedFd) {
    let name = name(role);
    forget(role);
    let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
    let _ = sd_notify::notify_with_fds(&states, &[pidfd.as_fd()]);
}

/// Takes it out again.
pub(super) fn forget(role: Role) {
    let name = name(role);
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// The pids whose pidfds an earlier supervisor left in the FD store. A process that ended has
/// none.
pub(super) fn stored() -> Vec<(Role, i32)> {
    let Ok(fds) = sd_notify::listen_fds_with_names() else {
        return Vec::new();
    };
    fds.filter_map(|(raw, stored_name)| {
        // SAFETY: systemd passed this descriptor to this process alone, and the list is read
        // once, at start: nobody else owns or closes it.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let role = Role::ALL
            .into_iter()
            .find(|role| name(*role) == stored_name)?;
        Some((role, pid_of(&fd)?))
    })
    .collect()
}

/// The process of a pidfd, from its fdinfo (kernel doc, proc: field `Pid`).
fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()?;
    (pid > 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfd_tells_its_process() {
        let own = rustix::process::getpid();
        let fd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(&fd), Some(own.as_raw_nonzero().get()));
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(pid_of(&file), None);
    }
}
