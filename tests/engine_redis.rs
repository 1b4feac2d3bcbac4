//! The cache's engines against the real programs: Redis 7.0 of the host, Redis 8.0 and Valkey
//! from `scripts/trixie-engines`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may take the short way; clippy.toml only knows test functions"
)]

#[path = "engine/support.rs"]
mod support;

use std::time::Duration;

use lucid::config::EngineKind;
use lucid::engine::EngineError;
use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd};
use support::{Server, login, program, text, within};

#[derive(Clone, Copy)]
enum Which {
    Redis7,
    Redis8,
    Valkey,
}

fn server(which: Which) -> Server {
    let (kind, variable, name) = match which {
        Which::Redis7 => (EngineKind::Redis, "LUCID_TEST_REDIS", "redis-server"),
        Which::Redis8 => (EngineKind::Redis, "LUCID_TEST_REDIS_8", "redis-server-8"),
        Which::Valkey => (EngineKind::Valkey, "LUCID_TEST_VALKEY", "valkey-server"),
    };
    Server::new(kind, &program(variable, name))
}

/// Runs each scenario against each program.
macro_rules! on_every_server {
    ($($scenario:ident)*) => { $(
        mod $scenario {
            use super::Which;

            #[tokio::test]
            async fn redis_7() {
                super::$scenario(Which::Redis7).await;
            }

            #[tokio::test]
            async fn redis_8() {
                super::$scenario(Which::Redis8).await;
            }

            #[tokio::test]
            async fn valkey() {
                super::$scenario(Which::Valkey).await;
            }
        }
    )* };
}

on_every_server! {
    the_rendered_configuration_is_in_force
    the_client_account_may_work_but_not_destroy
    probes_fail_when_the_server_does_and_recover_with_it
    a_wrong_password_is_told
    passwords_change_while_it_runs
    what_was_quiesced_survives_a_kill
    evictions_are_a_fault
    a_damaged_file_is_explained
}

async fn connect(uri: &str) -> RedisResult<MultiplexedConnection> {
    redis::Client::open(uri)?
        .get_multiplexed_async_connection()
        .await
}

async fn ask(connection: &mut MultiplexedConnection, words: &str) -> RedisResult<Value> {
    let mut parts = words.split(' ');
    let mut command = cmd(parts.next().unwrap());
    parts.for_each(|part| {
        command.arg(part);
    });
    command.query_async(connection).await
}

fn code(result: RedisResult<Value>) -> String {
    result.unwrap_err().code().unwrap_or_default().to_owned()
}

async fn the_rendered_configuration_is_in_force(which: Which) {
    let mut server = server(which);
    server.ctx.cpus = 4;
    let client = server.ready().await;
    let output = server.output();
    for bad in [
        "FATAL",
        "Unknown",
        "unknown",
        "eprecated",
        "Bad directive",
        "obsolete",
    ] {
        assert!(!output.contains(bad), "{bad} in:\n{output}");
    }
    let mut connection = connect(&server.engine.uri(&server.ctx)).await.unwrap();
    for (name, value) in [
        ("maxmemory", "33554432"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", "900 1 300 10 60 10000"),
        ("databases", "16"),
        ("notify-keyspace-events", "xE"),
        ("hash-max-listpack-entries", "512"),
        ("io-threads", "2"),
        ("disable-thp", "yes"),
        ("oom-score-adj", "no"),
        ("protected-mode", "yes"),
    ] {
        let found: (String, String) = cmd("CONFIG")
            .arg("GET")
            .arg(name)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(found.1, value, "{name}");
    }
    // It lies where it was started: in the data directory.
    assert!(
        server
            .ctx
            .data_dir
            .join("appendonlydir/appendonly.aof.manifest")
            .exists()
    );
    assert_eq!(server.engine.check_data(&server.ctx.data_dir), None);
    drop(client);
    server.stop().await;
    for line in server.output_lines() {
        assert_ne!(
            server.engine.line_level(&line),
            lucid::journal::Level::Error,
            "{line}"
        );
    }
}

async fn the_client_account_may_work_but_not_destroy(which: Which) {
    let mut server = server(which);
    let _client = server.ready().await;
    let uri = server.engine.uri(&server.ctx);
    let mut connection = connect(&uri).await.unwrap();
    for refused in [
        "KEYS *",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "CONFIG SET maxmemory 1",
        "CONFIG REWRITE",
        "ACL LIST",
        "ACL SETUSER default +@all",
        "MONITOR",
        "REPLICAOF NO ONE",
        "MIGRATE 127.0.0.1 1 k 0 1",
        "BGREWRITEAOF",
        "SAVE",
        "CLIENT KILL TYPE normal",
        "MODULE LIST",
        "SHUTDOWN NOSAVE",
    ] {
        assert_eq!(
            code(ask(&mut connection, refused).await),
            "NOPERM",
            "{refused}"
        );
    }
    // Refused before the account is looked at.
    assert_eq!(code(ask(&mut connection, "DEBUG SLEEP 0").await), "ERR");
    for allowed in [
        "SET lucid:cache:manifest:1 x EX 300",
        "GET lucid:cache:manifest:1",
        "SCAN 0 MATCH lucid:* COUNT 10",
        "EVAL return(1) 0",
        "PUBLISH lucid:events:session x",
        "SELECT 3",
        "INFO server",
        "CONFIG GET maxmemory",
        "CLIENT LIST",
        "SLOWLOG GET 1",
        "MEMORY USAGE lucid:cache:manifest:1",
        "LATENCY LATEST",
        "ACL WHOAMI",
        "SORT l",
        "ROLE",
    ] {
        let answer = ask(&mut connection, allowed).await;
        assert!(answer.is_ok(), "{allowed}: {answer:?}");
    }
    // Programs that know no account names send the password alone.
    let (_, port) = server.ctx.local_addr();
    let mut plain = connect(&format!("redis://:clientpassword@127.0.0.1:{port}/0"))
        .await
        .unwrap();
    ask(&mut plain, "PING").await.unwrap();
    let mut nobody = connect(&format!("redis://127.0.0.1:{port}/0"))
        .await
        .unwrap();
    assert_eq!(code(ask(&mut nobody, "GET x").await), "NOAUTH");
}

async fn probes_fail_when_the_server_does_and_recover_with_it(which: Which) {
    let mut server = server(which);
    let mut client = server.ready().await;
    client.read_probe().await.unwrap();
    assert!(client.faults().await.unwrap().is_empty());

    server.signal(Signal::SIGSTOP);
    let hung = within(Duration::from_millis(300), client.write_probe()).await;
    assert!(hung.is_none(), "a stopped server answered: {hung:?}");
    server.signal(Signal::SIGCONT);
    client.write_probe().await.unwrap();

    server.crash();
    let error = text(client.write_probe().await);
    assert!(error.contains("writing the canary failed"), "{error}");
    let error = text(client.read_probe().await);
    assert!(error.contains("refused"), "{error}");

    // The same client finds the next process.
    server.start();
    let found = async {
        while client.write_probe().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(Duration::from_secs(10), found).await.unwrap();
}

async fn a_wrong_password_is_told(which: Which) {
    let mut server = server(which);
    let _client = server.ready().await;
    "another".clone_into(&mut server.ctx.credentials.supervisor.password);
    let error = text(server.client().bootstrap().await);
    assert!(error.contains("refuses the password"), "{error}");
}

async fn passwords_change_while_it_runs(which: Which) {
    let mut server = server(which);
    let mut client = server.ready().await;
    let (_, port) = server.ctx.local_addr();
    client
        .set_password(&login("default", "fresh"))
        .await
        .unwrap();
    assert!(connect(&server.engine.uri(&server.ctx)).await.is_err());
    let mut connection = connect(&format!("redis://default:fresh@127.0.0.1:{port}/0"))
        .await
        .unwrap();
    ask(&mut connection, "PING").await.unwrap();
    assert_eq!(code(ask(&mut connection, "KEYS *").await), "NOPERM");

    client
        .set_password(&login("lucid-supervisor", "newer"))
        .await
        .unwrap();
    client.write_probe().await.unwrap();
    assert!(server.client().read_probe().await.is_err());
}

async fn what_was_quiesced_survives_a_kill(which: Which) {
    let mut server = server(which);
    let mut client = server.ready().await;
    let uri = server.engine.uri(&server.ctx);
    let mut connection = connect(&uri).await.unwrap();
    ask(&mut connection, "SET kept yes").await.unwrap();
    client.quiesce().await.unwrap();
    let fsync: (String, String) = cmd("CONFIG")
        .arg("GET")
        .arg("appendfsync")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(fsync.1, "everysec", "the configured value is back");
    server.crash();
    let _client = server.ready().await;
    let mut connection = connect(&uri).await.unwrap();
    let kept: String = cmd("GET")
        .arg("kept")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, "yes");
}

async fn evictions_are_a_fault(which: Which) {
    let mut server = server(which);
    server.ctx.memory.cache = 4 << 20;
    let mut client = server.ready().await;
    assert!(client.faults().await.unwrap().is_empty());
    let mut connection = connect(&server.engine.uri(&server.ctx)).await.unwrap();
    let value = "x".repeat(100_000);
    for key in 0..100 {
        let () = cmd("SET")
            .arg(key)
            .arg(&value)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    let faults = client.faults().await.unwrap();
    assert_eq!(
        faults.iter().map(|fault| fault.id).collect::<Vec<_>>(),
        ["evicting"]
    );
    assert!(
        client.faults().await.unwrap().is_empty(),
        "old evictions count once"
    );
}

async fn a_damaged_file_is_explained(which: Which) {
    let mut server = server(which);
    let mut client = server.ready().await;
    let mut connection = connect(&server.engine.uri(&server.ctx)).await.unwrap();
    for key in 0..50 {
        let () = cmd("SET")
            .arg(key)
            .arg("value")
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    client.quiesce().await.unwrap();
    server.stop().await;
    let dir = server.ctx.data_dir.join("appendonlydir");
    let file = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16].fill(b'!');
    lucid::fsx::write_atomic(&file, &bytes, 0o600).unwrap();
    server.start();
    server.ended().await;
    let advice = server.engine.advise(&server.output_lines());
    let advice = advice.unwrap_or_else(|| panic!("no advice for:\n{}", server.output()));
    assert!(
        advice.cause.contains("append-only file is damaged"),
        "{advice:?}"
    );
    assert!(advice.remedy.contains("redis-check-aof"), "{advice:?}");
}

/// A server that reads a big file answers `LOADING`: that is told apart from a fault.
#[tokio::test]
async fn loading_is_no_fault() {
    let mut server = server(Which::Redis7);
    server.ctx.memory.cache = 256 << 20;
    let mut client = server.ready().await;
    let mut connection = connect(&server.engine.uri(&server.ctx)).await.unwrap();
    let script = "for i = 1, 400000 do redis.call('SET', 'k' .. i, i) end return 1";
    let () = cmd("EVAL")
        .arg(script)
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap_or(());
    // The answer may be later than the connection waits; the next command sees it done.
    within(Duration::from_secs(30), async {
        while client.quiesce().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    server.crash();
    server.start();
    let seen = within(Duration::from_secs(20), async {
        let mut loading = false;
        loop {
            match client.read_probe().await {
                Ok(()) => return loading,
                Err(EngineError::Loading { .. }) => loading = true,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(
        seen.await.unwrap(),
        "LOADING was never seen:\n{}",
        server.output()
    );
}
