//! A service that speaks S3.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::free_port;

/// moto, and a door before it that answers for it when it is told to.
pub struct Remote {
    server: Child,
    pub door: u16,
    /// The status that it answers with, or 0; and how many times.
    pub answer: Arc<AtomicU32>,
    pub times: Arc<AtomicU32>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// One request a connection, so that each meets the door.
fn pass(mut client: TcpStream, upstream: u16, answer: &AtomicU32, times: &AtomicU32) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<u64>().ok())?
    });
    let status = answer.load(Ordering::SeqCst);
    let mut body = Vec::new();
    Read::by_ref(&mut client)
        .take(length.unwrap_or(0))
        .read_to_end(&mut body)
        .ok()?;
    let left = times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if status != 0 && left.is_ok() {
        let answer =
            format!("HTTP/1.1 {status} no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return client.write_all(answer.as_bytes()).ok();
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    let head = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    std::io::copy(&mut server, &mut client).ok()?;
    Some(())
}

impl Remote {
    pub fn start() -> Self {
        let python = std::env::var("LUCID_TEST_PYTHON")
            .expect("LUCID_TEST_PYTHON is not set: run the tests with ./scripts/test");
        let port = free_port();
        let server = Command::new(python)
            .args(["-m", "moto.server", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = listener.local_addr().unwrap().port();
        let (answer, times) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (its_answer, its_times) = (Arc::clone(&answer), Arc::clone(&times));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (answer, times) = (Arc::clone(&its_answer), Arc::clone(&its_times));
                std::thread::spawn(move || pass(client, port, &answer, &times));
            }
        });
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "moto does not start"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let remote = Self {
            server,
            door,
            answer,
            times,
        };
        remote.raw("PUT /backups HTTP/1.1");
        remote
    }

    fn raw(&self, request: &str) {
        let mut client = TcpStream::connect(("127.0.0.1", self.door)).unwrap();
        let text = format!("{request}\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        client.write_all(text.as_bytes()).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }

    pub fn answers(&self, status: u32, times: u32) {
        self.answer.store(status, Ordering::SeqCst);
        self.times.store(times, Ordering::SeqCst);
    }
}
