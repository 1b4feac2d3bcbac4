//! Ports for servers of tests, none of which two tests get at the same time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Below the range from which the kernel takes ports for outgoing connections, so that no client
/// takes one between its choice and its use.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// One caller at a time within this process; the file's lock keeps other processes out.
static TURN: Mutex<()> = Mutex::new(());

/// A port that nobody listens on and that no other test was given lately: tests run in many
/// processes, which count in one file.
pub(crate) fn free_port() -> u16 {
    let _turn: MutexGuard<'_, ()> = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut counter = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(std::env::temp_dir().join("lucid-test-ports"))
        .unwrap();
    counter.lock().unwrap();
    let mut port = last(&mut counter);
    for _ in PORTS {
        port = if PORTS.contains(&(port + 1)) {
            port + 1
        } else {
            PORTS.start
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            counter.rewind().unwrap();
            counter.write_all(format!("{port:05}").as_bytes()).unwrap();
            return port;
        }
    }
    panic!("none of the ports {PORTS:?} is free");
}

fn last(counter: &mut File) -> u16 {
    let mut text = String::new();
    counter.read_to_string(&mut text).unwrap();
    text.trim().parse().unwrap_or(PORTS.start)
}
