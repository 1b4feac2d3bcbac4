//! Engines that die, hang or cannot start; nothing acknowledged is lost.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::{Duration, Instant};

use common::{Appliance, Options, alive, signal};
use mongodb::bson::{Document, doc};
use nix::sys::signal::Signal;
use redis::Commands;

const ROUNDS: u32 = 20;

/// Writes until an error or until `killed`: on a fast machine the engine is back before the driver
/// gives up, and no write fails at all.
async fn acknowledged_inserts(appliance: &Appliance, round: u32, killed: impl Fn() -> bool) -> u32 {
    let uri = appliance.uri("document");
    let mut options = mongodb::options::ClientOptions::parse(uri).await.unwrap();
    options.retry_writes = Some(false);
    options.server_selection_timeout = Some(Duration::from_secs(1));
    let client = mongodb::Client::with_options(options).unwrap();
    let mut concern = mongodb::options::WriteConcern::default();
    concern.journal = Some(true);
    let mut settings = mongodb::options::CollectionOptions::default();
    settings.write_concern = Some(concern);
    let writes = client
        .database("lucid")
        .collection_with_options::<Document>("writes", settings);
    let mut acknowledged = 0;
    while !killed()
        && writes
            .insert_one(doc! {"_id": format!("{round}-{acknowledged}")})
            .await
            .is_ok()
    {
        acknowledged += 1;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_document_store_loses_no_acknowledged_write_and_it_comes_back() {
    let appliance = Appliance::ready(Options::document());
    let mut expected = 0;
    for round in 0..ROUNDS {
        let pid = appliance.pid("document");
        let killer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            signal(pid, Signal::SIGKILL);
        });
        let acknowledged = acknowledged_inserts(&appliance, round, || killer.is_finished()).await;
        killer.await.unwrap();
        assert!(acknowledged > 0, "round {round} wrote nothing");
        appliance.wait_restarted("document", pid, Duration::from_secs(20));
        expected += u64::from(acknowledged);
        let writes = appliance
            .mongo()
            .await
            .database("lucid")
            .collection::<Document>("writes");
        for n in 0..acknowledged {
            let id = format!("{round}-{n}");
            let found = writes.find_one(doc! {"_id": &id}).await.unwrap();
            assert!(found.is_some(), "{id} was acknowledged and is lost");
        }
    }
    let writes = appliance
        .mongo()
        .await
        .database("lucid")
        .collection::<Document>("writes");
    assert!(writes.count_documents(doc! {}).await.unwrap() >= expected);
    assert_eq!(appliance.datastore("document")["restarts"], ROUNDS);
}

/// Writes until the connection breaks; when each was acknowledged.
fn acknowledged_sets(appliance: &Appliance, round: u32, kill_after: Duration) -> Vec<Instant> {
    let pid = appliance.pid("cache");
    let mut connection = appliance.redis();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(kill_after);
        signal(pid, Signal::SIGKILL);
    });
    let mut acknowledged = Vec::new();
    while connection
        .set::<_, _, ()>(format!("{round}-{}", acknowledged.len()), round)
        .is_ok()
    {
        acknowledged.push(Instant::now());
    }
    killer.join().unwrap();
    appliance.wait_restarted("cache", pid, Duration::from_secs(20));
    acknowledged
}

fn assert_kept(appliance: &Appliance, round: u32, count: usize) {
    let mut connection = appliance.redis();
    for n in 0..count {
        let found: Option<u32> = connection.get(format!("{round}-{n}")).unwrap();
        assert_eq!(
            found,
            Some(round),
            "{round}-{n} was acknowledged and is lost"
        );
    }
}

#[test]
fn kill_9_of_the_cache_that_flushes_always_loses_nothing_and_it_comes_back() {
    let options = Options::cache().with("datastore.cache.appendfsync = \"always\"");
    let appliance = Appliance::ready(options);
    for round in 0..ROUNDS {
        let acknowledged = acknowledged_sets(&appliance, round, Duration::from_millis(300));
        assert!(!acknowledged.is_empty(), "round {round} wrote nothing");
        assert_kept(&appliance, round, acknowledged.len());
    }
    assert_eq!(appliance.datastore("cache")["restarts"], ROUNDS);
}

#[test]
fn kill_9_of_the_cache_loses_at_most_what_everysec_allows_and_it_comes_back() {
    // While a flush is under way Redis holds its writes to the file back, for two seconds at
    // most (`flushAppendOnlyFile`): what is older must be there.
    const HELD_BACK: Duration = Duration::from_secs(2);
    let appliance = Appliance::ready(Options::cache());
    for round in 0..5 {
        let acknowledged = acknowledged_sets(&appliance, round, Duration::from_millis(2500));
        let last = *acknowledged.last().unwrap();
        let old = acknowledged
            .iter()
            .filter(|at| last.duration_since(**at) > HELD_BACK)
            .count();
        assert!(old > 0, "round {round} wrote nothing that is old enough");
        assert_kept(&appliance, round, old);
    }
}

#[test]
fn a_stopped_engine_is_killed_and_restarted_within_ten_seconds() {
    let appliance = Appliance::ready(Options::both());
    for name in ["cache", "document"] {
        let pid = appliance.pid(name);
        signal(pid, Signal::SIGSTOP);
        let began = Instant::now();
        appliance.wait_restarted(name, pid, Duration::from_secs(10));
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(!alive(pid));
    }
    assert!(
        appliance.log().contains("probes in a row failed"),
        "{}",
        appliance.log()
    );
}

#[test]
fn a_crash_loop_fails_with_the_last_words_and_leaves_the_other_datastore_alone() {
    let mut appliance = Appliance::lay(Options::both().with(
        "supervisor.crash_loop_failures = 3\nsupervisor.crash_loop_retry = \"3s\"\n\
         supervisor.backoff_max = \"200ms\"",
    ));
    // A real store with a real damage: an append-only file that redis refuses.
    let dir = appliance.root().join("data/redis/appendonlydir");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("appendonly.aof.manifest"),
        "file appendonly.aof.1.incr.aof seq 1 type i\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("appendonly.aof.1.incr.aof"),
        "this is no append-only file\n",
    )
    .unwrap();
    appliance.start();
    let cache = appliance.wait_datastore("cache", "failed", Duration::from_secs(30));
    let reason = cache["reason"].as_str().unwrap();
    assert!(
        reason.contains("crash loop") && reason.contains("redis-check-aof"),
        "{reason}"
    );
    appliance.wait_datastore("document", "ready", Duration::from_secs(30));
    let document = appliance.pid("document");
    assert_eq!(appliance.status()["state"], "failed");
    assert_eq!(appliance.run(&["status"]).status.code(), Some(3));
    // The data is as it was.
    let kept = std::fs::read_to_string(dir.join("appendonly.aof.1.incr.aof")).unwrap();
    assert_eq!(kept, "this is no append-only file\n");
    // A person takes the damaged file away and starts it again.
    std::fs::remove_dir_all(&dir).unwrap();
    let output = appliance.run(&["datastore", "restart", "cache"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(appliance.wait_state("ready")["state"], "ready");
    assert_eq!(
        appliance.pid("document"),
        document,
        "the other datastore was touched"
    );
    assert_eq!(appliance.datastore("document")["restarts"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_document_store_fails_with_cause_and_remedy_and_is_not_touched() {
    let mut appliance = Appliance::ready(
        Options::document()
            .with("supervisor.crash_loop_failures = 2\nsupervisor.backoff_max = \"200ms\""),
    );
    appliance.stop();
    let turtle = appliance.root().join("data/mongodb/WiredTiger.turtle");
    std::fs::write(&turtle, "nonsense").unwrap();
    appliance.start();
    let document = appliance.wait_datastore("document", "failed", Duration::from_secs(30));
    let reason = document["reason"].as_str().unwrap();
    assert!(
        reason.contains("damaged") && reason.contains("backup"),
        "{reason}"
    );
    assert_eq!(std::fs::read_to_string(&turtle).unwrap(), "nonsense");
}
