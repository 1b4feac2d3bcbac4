//! The cache's file in the order of its keys, against the real programs: what they load from it is
//! what they saved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may take the short way; clippy.toml only knows test functions"
)]

#[path = "engine/programs.rs"]
mod programs;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lucid::backup::rdb::Sorted;
use programs::program;
use redis::{Connection, cmd};

/// A server without more than it needs, on a socket in `dir`.
struct Bare {
    child: Child,
    connection: Connection,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bare {
    fn start(program: &Path, dir: &Path) -> Self {
        let socket = dir.join("socket");
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            // With this policy the file says when each key was used.
            .args(["--maxmemory-policy", "allkeys-lru"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
        let began = Instant::now();
        let mut connection = loop {
            if let Ok(connection) = client.get_connection() {
                break connection;
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        while cmd("PING").query::<String>(&mut connection).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it does not load"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, connection }
    }

    fn tell(&mut self, words: &[&str]) {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command
            .query::<redis::Value>(&mut self.connection)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    /// Every key by its database: its value as the engine packs it, and when it expires.
    fn content(&mut self) -> BTreeMap<(i64, Vec<u8>), (Vec<u8>, i64)> {
        let mut found = BTreeMap::new();
        for database in 0..16 {
            let connection = &mut self.connection;
            let () = cmd("SELECT").arg(database).query(connection).unwrap();
            let keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query(connection).unwrap();
            for key in keys {
                let kind: String = cmd("TYPE").arg(&key).query(connection).unwrap();
                let value = match kind.as_str() {
                    // Their tables have an order of their own in each process.
                    "set" => sorted_reply("SMEMBERS", &key, 1, connection),
                    "hash" => sorted_reply("HGETALL", &key, 2, connection),
                    _ => cmd("DUMP").arg(&key).query(connection).unwrap(),
                };
                let expires = cmd("PEXPIRETIME").arg(&key).query(connection).unwrap();
                found.insert((database, key), (value, expires));
            }
        }
        found
    }
}

fn sorted_reply(command: &str, key: &[u8], of_each: usize, connection: &mut Connection) -> Vec<u8> {
    let found: Vec<Vec<u8>> = cmd(command).arg(key).query(connection).unwrap();
    let mut found: Vec<Vec<u8>> = found.chunks(of_each).map(|one| one.join(&b'=')).collect();
    found.sort();
    found.join(&b',')
}

/// Values of every type and every way of packing them.
fn fill(server: &mut Bare, fields_expire: bool) {
    let long = "a text that is long and compresses, ".repeat(40);
    let huge = "x1y2z3".repeat(400_000);
    for n in 0..500 {
        server.tell(&["SET", &format!("lucid:cache:{n}"), &long[n..]]);
    }
    for n in ["7", "300", "70000", "5000000000", "-1", "no number"] {
        server.tell(&["SET", &format!("number {n}"), n]);
    }
    server.tell(&["SET", "huge", &huge, "EX", "86400"]);
    server.tell(&["SET", "empty", ""]);
    server.tell(&["SET", &long, "a long key"]);
    server.tell(&["SET", "soon", "gone", "PXAT", "4102444800123"]);
    server.tell(&["RPUSH", "list", "a", "b", &long]);
    server.tell(&["SADD", "numbers", "1", "2", "3"]);
    server.tell(&["SADD", "small set", "a", "b"]);
    server.tell(&["HSET", "small hash", "a", "b"]);
    server.tell(&["ZADD", "small zset", "1.5", "a", "inf", "b"]);
    for n in 0..600 {
        let n = n.to_string();
        server.tell(&["RPUSH", "long list", &n, &long]);
        server.tell(&["SADD", "large set", &n, "word"]);
        server.tell(&["HSET", "large hash", &n, &long[..20]]);
        server.tell(&["ZADD", "large zset", &n, &n]);
        server.tell(&["XADD", "stream", "*", "field", &n]);
    }
    server.tell(&["ZADD", "large zset", "-inf", "least", "1e300", "most"]);
    server.tell(&["XDEL", "stream", "0-1"]);
    for group in ["one", "two"] {
        server.tell(&["XGROUP", "CREATE", "stream", group, "0"]);
        for consumer in ["c1", "c2"] {
            server.tell(&[
                "XREADGROUP",
                "GROUP",
                group,
                consumer,
                "COUNT",
                "10",
                "STREAMS",
                "stream",
                ">",
            ]);
        }
    }
    if fields_expire {
        for hash in ["small hash", "large hash"] {
            server.tell(&["HSET", hash, "kept", "for a while"]);
            server.tell(&["HPEXPIREAT", hash, "4102444800123", "FIELDS", "1", "kept"]);
        }
    }
    let library = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    server.tell(&["FUNCTION", "LOAD", library]);
    server.tell(&["SELECT", "3"]);
    server.tell(&["SET", "elsewhere", "3"]);
    server.tell(&["SELECT", "15"]);
    server.tell(&["SET", "elsewhere", "15", "EX", "1000"]);
}

fn sorted(from: &Path) -> Vec<u8> {
    let mut sorted = Sorted::open(from).unwrap();
    let mut bytes = Vec::new();
    sorted.read_to_end(&mut bytes).unwrap();
    assert_eq!(sorted.length(), bytes.len() as u64);
    bytes
}

fn what_is_loaded_from_the_sorted_file_is_what_was_saved(program: &Path, fields_expire: bool) {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Bare::start(program, one.path());
    fill(&mut server, fields_expire);
    server.tell(&["SAVE"]);
    let content = server.content();
    assert_eq!(content.len(), 500 + 6 + 4 + 4 + 1 + 5 + 2);
    let bytes = sorted(&one.path().join("dump.rdb"));
    let file = two.path().join("dump.rdb");
    std::fs::write(&file, &bytes).unwrap();
    // A program in surroundings of its own is begun by a script, which has no second name.
    if std::fs::read(program).unwrap().starts_with(b"\x7FELF") {
        let check = Command::new(program)
            .arg0("redis-check-rdb")
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.success(), "{told}");
        assert!(told.contains("Checksum OK"), "{told}");
    }

    let mut again = Bare::start(program, two.path());
    let loaded = again.content();
    let differ = |(key, value)| (loaded.get(key) != Some(value)).then_some(key);
    let different: Vec<_> = content.iter().filter_map(differ).collect();
    assert!(different.is_empty(), "{different:?}");
    assert_eq!(loaded.len(), content.len());
    let library: String = cmd("FCALL")
        .arg("f")
        .arg(0)
        .query::<i64>(&mut again.connection)
        .unwrap()
        .to_string();
    assert_eq!(library, "1");

    again.tell(&["SELECT", "0"]);
    if fields_expire {
        for hash in ["small hash", "large hash"] {
            let mut ask = cmd("HPEXPIRETIME");
            ask.arg(hash).arg("FIELDS").arg(1).arg("kept");
            let time: Vec<i64> = ask.query(&mut again.connection).unwrap();
            assert_eq!(time, [4_102_444_800_123]);
        }
    }

    // Every key is used again, and one is changed: the next file differs in one place.
    std::thread::sleep(Duration::from_secs(2));
    server.content();
    server.tell(&["SELECT", "0"]);
    server.tell(&["SAVE"]);
    let later = sorted(&one.path().join("dump.rdb"));
    assert!(later == bytes, "the same content gives another file");
    server.tell(&["SET", "lucid:cache:7", "changed"]);
    server.tell(&["SAVE"]);
    let changed = sorted(&one.path().join("dump.rdb"));
    let same = |one: &[u8], two: &[u8]| one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let (before, after): (Vec<u8>, Vec<u8>) = (
        bytes.iter().rev().skip(8).copied().collect(),
        changed.iter().rev().skip(8).copied().collect(),
    );
    let equal = same(&bytes, &changed) + same(&before, &after);
    assert!(
        equal + 3000 > bytes.len(),
        "only {equal} of {}",
        bytes.len()
    );
}

#[test]
fn redis_7_loads_what_it_saved_from_the_sorted_file() {
    let program = program("LUCID_TEST_REDIS", "redis-server");
    what_is_loaded_from_the_sorted_file_is_what_was_saved(&program, false);
}

#[test]
fn redis_8_loads_what_it_saved_from_the_sorted_file() {
    let program = program("LUCID_TEST_REDIS_8", "redis-server-8");
    what_is_loaded_from_the_sorted_file_is_what_was_saved(&program, true);
}

#[test]
fn valkey_loads_what_it_saved_from_the_sorted_file() {
    let program = program("LUCID_TEST_VALKEY", "valkey-server");
    what_is_loaded_from_the_sorted_file_is_what_was_saved(&program, false);
}
