//! Volumes of a running appliance move to another device while clients write. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::pool::{Device, Pool, fill};
use common::{Appliance, Options, said};
use lucid::units::{GIB, MIB};
use mongodb::bson::{Document, doc};

const SOON: Duration = Duration::from_secs(60);
/// Longest time without an acknowledged write that is still seconds, on a loaded machine.
const AWAY: Duration = Duration::from_secs(30);

/// What a writer got acknowledged, and the longest time without.
#[derive(Debug)]
struct Written {
    acknowledged: Vec<i64>,
    longest: Duration,
}

/// Writes until told to end; `write` answers whether it was acknowledged.
fn write_until(end: &AtomicBool, mut write: impl FnMut(i64) -> bool) -> Written {
    let mut written = Written {
        acknowledged: Vec::new(),
        longest: Duration::ZERO,
    };
    let mut last = Instant::now();
    let mut number = 0;
    while !end.load(Ordering::Relaxed) {
        number += 1;
        if write(number) {
            written.acknowledged.push(number);
            written.longest = written.longest.max(last.elapsed());
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    written
}

fn write_keys(uri: &str, end: &AtomicBool) -> Written {
    let mut connection = None;
    write_until(end, |number| {
        if connection.is_none() {
            let client = redis::Client::open(uri).unwrap();
            connection = client
                .get_connection_with_timeout(Duration::from_secs(2))
                .ok();
        }
        let Some(open) = &mut connection else {
            return false;
        };
        let set = redis::cmd("SET")
            .arg(format!("moving:{number}"))
            .arg(vec![b'x'; 2048])
            .query::<()>(open);
        if set.is_err() {
            connection = None;
        }
        set.is_ok()
    })
}

fn write_documents(
    runtime: &tokio::runtime::Runtime,
    client: &mongodb::Client,
    end: &AtomicBool,
) -> Written {
    let collection = client.database("moving").collection::<Document>("writes");
    write_until(end, |number| {
        let document = doc! { "_id": number, "text": "x".repeat(1024) };
        let insert = async {
            let insert = collection.insert_one(document);
            tokio::time::timeout(Duration::from_secs(5), async { insert.await }).await
        };
        runtime.block_on(insert).is_ok_and(|done| match done {
            Ok(_) => true,
            // The one before was written, and its answer got lost.
            Err(error) => error.to_string().contains("E11000"),
        })
    })
}

#[test]
fn datastores_move_to_another_device_under_load_and_lose_nothing() {
    let mut appliance = Appliance::lay(Options::both());
    let data = Pool::at(&appliance.root().join("data"), 3 * GIB);
    let device = Device::new(3 * GIB);
    said(
        &appliance,
        &["volume", "pool", "create", "ssd", "--on", &device.node],
    );
    appliance.start();
    appliance.wait_state("ready");
    // More than the clients write: what takes its time.
    fill(&data.data().join("mongodb/ballast"), 150 * MIB).unwrap();

    let end = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(appliance.mongo());
    let uri = appliance.uri("cache");
    let (keys, documents) = std::thread::scope(|scope| {
        let keys = scope.spawn(|| write_keys(&uri, &end));
        let documents = scope.spawn(|| write_documents(&runtime, &client, &end));
        std::thread::sleep(Duration::from_secs(2));
        for volume in ["mongodb", "redis"] {
            let told = said(&appliance, &["volume", "migrate", volume, "--to", "ssd"]);
            assert!(told.contains("lies on pool ssd"), "{told}");
            println!("{told}");
        }
        appliance.wait_state("ready");
        std::thread::sleep(Duration::from_secs(2));
        end.store(true, Ordering::Relaxed);
        (keys.join().unwrap(), documents.join().unwrap())
    });
    println!(
        "{} keys, {} documents; longest without a write {:?} and {:?}",
        keys.acknowledged.len(),
        documents.acknowledged.len(),
        keys.longest,
        documents.longest
    );
    assert!(keys.longest < AWAY && documents.longest < AWAY);
    assert!(data.data().join("mongodb").is_symlink());

    let mut connection = appliance.redis();
    for number in &keys.acknowledged {
        let key = format!("moving:{number}");
        let there: bool = redis::cmd("EXISTS")
            .arg(key)
            .query(&mut connection)
            .unwrap();
        assert!(there, "key {number} was acknowledged and is lost");
    }
    let found = runtime.block_on(async {
        let collection = client.database("moving").collection::<Document>("writes");
        let mut cursor = collection.find(doc! {}).await.unwrap();
        let mut found = std::collections::BTreeSet::new();
        while cursor.advance().await.unwrap() {
            found.insert(cursor.current().get_i64("_id").unwrap());
        }
        found
    });
    for number in &documents.acknowledged {
        assert!(
            found.contains(number),
            "document {number} was acknowledged and is lost"
        );
    }

    // The disk goes while it is in use: its datastores stop with the reason, nothing else does,
    // and all is as before when it comes back.
    said(&appliance, &["volume", "migrate", "redis", "--to", "data"]);
    appliance.wait_state("ready");
    let target = data.paths().pool("ssd");
    common::pool::run("umount", &["-l", target.to_str().unwrap()]);
    let status = appliance.wait("the pool is missed", SOON, |status| {
        let alerts = status["alerts"].to_string();
        alerts.contains("pool-missing:ssd") && status["datastores"][0]["state"] == "blocked"
    });
    assert_eq!(status["datastores"][1]["state"], "ready", "{status}");
    assert!(
        status["datastores"][0]["reason"]
            .to_string()
            .contains("pool ssd"),
        "{status}"
    );
    said(&appliance, &["volume", "pool", "mount"]);
    appliance.wait_state("ready");

    // As a disk that failed leaves it.
    let remount = |options: &str| {
        common::pool::run("mount", &["-o", options, target.to_str().unwrap()]);
    };
    said(&appliance, &["datastore", "stop", "document"]);
    remount("remount,ro");
    appliance.run(&["datastore", "start", "document"]);
    let told = appliance.wait_datastore("document", "blocked", SOON);
    let reason = told["reason"].to_string();
    assert!(reason.contains("went read-only after errors"), "{told}");
    remount("remount,rw");
    appliance.wait_state("ready");
    appliance.stop();
    said(&appliance, &["volume", "pool", "export", "ssd"]);
}
