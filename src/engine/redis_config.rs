//! What Redis and Valkey are told: configuration and accounts.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Context, Credentials};
use crate::config::AppendFsync;

/// Connections taken at most, from the platform.
pub(super) const MAX_CLIENTS: u64 = 10_000;

/// What the client account may do: everything but what the server calls dangerous or
/// administrative (`KEYS`, `FLUSHALL`, `FLUSHDB`, `DEBUG`, `SHUTDOWN`, `CONFIG SET`, `ACL`,
/// `MIGRATE`, `REPLICAOF`, `MONITOR`, …), and then what of these only reads and does not scan
/// the whole key space. Every name here exists since 7.0.
const CLIENT_RULES: &str = "~* &* +@all -@dangerous -@admin +info +lastsave +role +sort +sort_ro \
                            +config|get +client|list +slowlog|get +slowlog|len +latency|latest \
                            +latency|history +latency|histogram";

/// Directives without a choice: the platform's, by their names since 7.0. `dir .` because the
/// parents of the volume may be closed to the engine's user; `logfile ""` is stdout, which the
/// journal reads. Commands are taken away by ACL, not by renaming.
const FIXED: &str = r#"protected-mode yes
tcp-backlog 511
timeout 300
tcp-keepalive 300
daemonize no
supervised no
pidfile ""
loglevel notice
logfile ""
databases 16
always-show-logo no

dir .
dbfilename dump.rdb
save 900 1 300 10 60 10000
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
rdb-save-incremental-fsync yes

appendonly yes
appendfilename "appendonly.aof"
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
aof-rewrite-incremental-fsync yes

maxmemory-samples 5
lazyfree-lazy-eviction yes
lazyfree-lazy-expire yes
lazyfree-lazy-server-del yes
replica-lazy-flush yes

oom-score-adj no
disable-thp yes
jemalloc-bg-thread yes
activerehashing yes
hz 10
dynamic-hz yes

repl-backlog-size 64mb
repl-backlog-ttl 3600
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
busy-reply-threshold 5000
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 100
notify-keyspace-events Ex

hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
list-compress-depth 0
set-max-intset-entries 512
zset-max-listpack-entries 128
zset-max-listpack-value 64
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
"#;

/// Threads for reading and writing sockets. The engine's documentation advises them from four
/// cores on, and to leave some for the rest of the machine; here that is a document store and
/// the supervisor. The platform's value of 4 holds from six cores on.
fn io_threads(cpus: usize) -> usize {
    match cpus {
        0..4 => 1,
        4 | 5 => 2,
        _ => 4,
    }
}

/// `redis.conf`; `acl` is where the accounts stand.
pub(super) fn configuration(ctx: &Context, acl: &Path) -> String {
    let cache = &ctx.config.datastore.cache;
    let listen: Vec<_> = cache.listen.iter().map(IpAddr::to_string).collect();
    let fsync = match cache.appendfsync {
        AppendFsync::Always => "always",
        AppendFsync::Everysec => "everysec",
    };
    let threads = io_threads(ctx.cpus);
    let mut text = format!(
        "# Written by lucid at every start; changes are lost.
port {port}
bind {bind}
maxclients {MAX_CLIENTS}
aclfile \"{acl}\"
maxmemory {maxmemory}
maxmemory-policy {policy}
appendfsync {fsync}
io-threads {threads}
",
        port = cache.port,
        bind = listen.join(" "),
        acl = acl.display(),
        maxmemory = ctx.memory.cache,
        policy = cache.maxmemory_policy,
    );
    if threads > 1 && ctx.detected.version.number < (8, 0, 0) {
        // From 8 on reading is always part of it, and the directive is obsolete.
        text.push_str("io-threads-do-reads yes\n");
    }
    text.push_str(FIXED);
    text
}

/// The ACL file: hashes only, so that nobody who reads it can log in.
pub(super) fn users(credentials: &Credentials) -> String {
    let mut text = String::new();
    for (login, rules) in [
        (&credentials.supervisor, "~* &* +@all"),
        (&credentials.client, CLIENT_RULES),
    ] {
        let hash = password_hash(&login.password);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "user {} on #{hash} {rules}", login.user);
    }
    if credentials.client.user != "default" {
        text.push_str("user default off\n");
    }
    text
}

/// SHA-256 in hexadecimal: how an ACL keeps passwords.
pub(super) fn password_hash(password: &str) -> String {
    Sha256::digest(password)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_bounded_by_cores() {
        for (cpus, threads) in [(1, 1), (2, 1), (3, 1), (4, 2), (6, 4), (16, 4)] {
            assert_eq!(io_threads(cpus), threads, "{cpus} cores");
        }
    }

    #[test]
    fn the_hash_is_the_one_that_redis_knows() {
        // SHA-256 of "abc", from FIPS 180-4.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(password_hash("abc"), known);
    }
}
