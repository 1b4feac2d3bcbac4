//! Engines that die, hang or cannot start; nothing acknowledged is lost.

mod common;

use std::time::{Duration, Instant};

use common::{Appliance, Options, alive, signal};
use mongodb::bson::{Document, doc};
use nix::sys::signal::Signal;
use redis::Commands;

const ROUNDS: u32 = 10;

async fn acknowledged_inserts(appliance: &Appliance, round: u32) -> u32 {
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
    while writes
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
        let acknowledged = acknowledged_inserts(&appliance, round).await;
        killer.await.unwrap();
        assert!(acknowledged > 0, "round {round} wrote nothing");
        let back = appliance.wait_datastore("document", "ready", Duration::from_secs(20));
        assert_ne!(back["pid"], pid);
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

#[test]
fn kill_9_of_the_cache_loses_no_acknowledged_write_and_it_comes_back() {
    let appliance = Appliance::ready(Options::cache());
    for round in 0..ROUNDS {
        let pid = appliance.pid("cache");
        let mut connection = appliance.redis();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            signal(pid, Signal::SIGKILL);
        });
        let mut acknowledged = 0;
        while connection
            .set::<_, _, ()>(format!("{round}-{acknowledged}"), acknowledged)
            .is_ok()
        {
            acknowledged += 1;
        }
        killer.join().unwrap();
        appliance.wait_datastore("cache", "ready", Duration::from_secs(20));
        let mut connection = appliance.redis();
        for n in 0..acknowledged {
            let found: Option<u32> = connection.get(format!("{round}-{n}")).unwrap();
            assert_eq!(found, Some(n), "{round}-{n} was acknowledged and is lost");
        }
    }
    assert_eq!(appliance.datastore("cache")["restarts"], ROUNDS);
}

#[test]
fn a_stopped_engine_is_killed_and_restarted_within_ten_seconds() {
    let appliance = Appliance::ready(Options::both());
    for name in ["cache", "document"] {
        let pid = appliance.pid(name);
        signal(pid, Signal::SIGSTOP);
        let began = Instant::now();
        appliance.wait(
            &format!("{name} restarted"),
            Duration::from_secs(10),
            |status| {
                let datastores = status["datastores"].as_array().unwrap();
                datastores
                    .iter()
                    .any(|d| d["name"] == name && d["state"] == "ready" && d["pid"] != pid)
            },
        );
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
