//! Talking to systemd: readiness, status line, watchdog, FD store. Without systemd all of it
//! does nothing.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::config::Role;

/// Messages that may wait for systemd; more are dropped.
const QUEUE: usize = 64;

enum Message {
    Ready,
    Stopping,
    Reloading,
    Watchdog,
    Status(String),
    Store(Role, OwnedFd),
    Forget(Role),
}

/// Sending waits while systemd does not read, so a thread of its own does it: then a busy
/// systemd delays no datastore. Absent without systemd.
fn queue() -> Option<&'static SyncSender<Message>> {
    static QUEUE_END: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();
    let start = || {
        std::env::var_os("NOTIFY_SOCKET")?;
        let (sender, messages) = sync_channel::<Message>(QUEUE);
        let send_all = move || messages.iter().for_each(|message| deliver(&message));
        let thread = std::thread::Builder::new()
            .name("notify".to_owned())
            .stack_size(64 * 1024);
        thread.spawn(send_all).ok()?;
        Some(sender)
    };
    QUEUE_END.get_or_init(start).as_ref()
}

fn send(message: Message) {
    if let Some(queue) = queue() {
        // A full queue means that systemd has long stopped listening.
        let _ = queue.try_send(message);
    }
}

/// A supervisor goes on without systemd's ear, so errors end here.
fn deliver(message: &Message) {
    let _ = match message {
        Message::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Message::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        Message::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
        Message::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
            Err(error) => Err(error),
        },
        Message::Store(role, pidfd) => {
            let name = name(*role);
            let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
            sd_notify::notify_with_fds(&states, &[pidfd.as_fd()])
        }
        Message::Forget(role) => {
            let name = name(*role);
            sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)])
        }
    };
}

pub(super) fn ready() {
    send(Message::Ready);
}

pub(super) fn stopping() {
    send(Message::Stopping);
}

pub(super) fn status(text: &str) {
    send(Message::Status(text.to_owned()));
}

pub(super) fn watchdog() {
    send(Message::Watchdog);
}

/// Tells systemd that a reload began; [`ready`] ends it.
pub(super) fn reloading() {
    send(Message::Reloading);
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
    if queue().is_some()
        && let Ok(pidfd) = pidfd.try_clone()
    {
        forget(role);
        send(Message::Store(role, pidfd));
    }
}

/// Takes it out again.
pub(super) fn forget(role: Role) {
    send(Message::Forget(role));
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
