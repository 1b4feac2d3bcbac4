//! The default document store against the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may take the short way; clippy.toml only knows test functions"
)]

#[path = "engine/support.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use lucid::config::EngineKind;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Client as Driver, Collection};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use support::{Server, login, program, text, within};

fn server() -> Server {
    let binary = program("LUCID_TEST_SECANTUS", "secantusd-rs");
    Server::new(EngineKind::Secantus, &binary)
}

async fn driver(uri: &str) -> Driver {
    Driver::with_uri_str(format!("{uri}&serverSelectionTimeoutMS=2000"))
        .await
        .unwrap()
}

fn collection(driver: &Driver) -> Collection<Document> {
    let mut concern = WriteConcern::default();
    concern.w = Some(Acknowledgment::Nodes(1));
    concern.journal = Some(true);
    let mut options = mongodb::options::CollectionOptions::default();
    options.write_concern = Some(concern);
    driver
        .database("lucid")
        .collection_with_options("sessions", options)
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

#[tokio::test]
async fn accounts_are_made_once_and_the_client_may_work_but_not_administer() {
    let mut server = server();
    let mut client = server.ready().await;
    client.bootstrap().await.unwrap();
    client.read_probe().await.unwrap();
    client.quiesce().await.unwrap();
    assert!(client.faults().await.unwrap().is_empty());

    let user = driver(&server.engine.uri(&server.ctx)).await;
    collection(&user).insert_one(doc! {"_id": 1}).await.unwrap();
    let index = doc! {"createIndexes": "sessions", "indexes": [{"key": {"a": 1}, "name": "a"}]};
    user.database("lucid").run_command(index).await.unwrap();
    user.database("admin")
        .run_command(doc! {"serverStatus": 1})
        .await
        .unwrap();
    for refused in [
        doc! {"createUser": "x", "pwd": "x", "roles": ["root"]},
        doc! {"updateUser": "lucid-supervisor", "pwd": "x"},
        doc! {"dropUser": "lucid-supervisor"},
        doc! {"setParameter": 1, "ttlMonitorSleepSecs": 1},
    ] {
        let error = user
            .database("admin")
            .run_command(refused.clone())
            .await
            .unwrap_err();
        assert_eq!(code(&error), Some(13), "{refused}: {error}");
    }
    let (_, port) = server.ctx.local_addr();
    let nobody = driver(&format!(
        "mongodb://127.0.0.1:{port}/?directConnection=true"
    ))
    .await;
    let error = collection(&nobody).find_one(doc! {}).await.unwrap_err();
    assert_eq!(code(&error), Some(13), "{error}");

    // A restart finds everything as it was.
    let begin = Instant::now();
    server.stop().await;
    println!("stopped after {:?}", begin.elapsed());
    assert_eq!(server.engine.check_data(&server.ctx.data_dir), None);
    let _client = server.ready().await;
    let user = driver(&server.engine.uri(&server.ctx)).await;
    assert!(
        collection(&user)
            .find_one(doc! {"_id": 1})
            .await
            .unwrap()
            .is_some()
    );
    for line in server.output_lines() {
        assert_ne!(
            server.engine.line_level(&line),
            lucid::journal::Level::Error,
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_completed() {
    let mut server = server();
    server.start();
    let (_, port) = server.ctx.local_addr();
    let nobody = driver(&format!(
        "mongodb://127.0.0.1:{port}/?directConnection=true"
    ))
    .await;
    let admin = nobody.database("admin");
    let supervisor = doc! {
        "createUser": "lucid-supervisor", "pwd": "supervisorpassword", "roles": ["root"],
    };
    within(Duration::from_secs(10), async {
        while admin.run_command(supervisor.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let mut client = server.client();
    client.bootstrap().await.unwrap();
    client.write_probe().await.unwrap();
    let user = driver(&server.engine.uri(&server.ctx)).await;
    collection(&user).insert_one(doc! {"_id": 1}).await.unwrap();
}

#[tokio::test]
async fn a_foreign_credential_file_is_told_and_changes_nothing() {
    let mut server = server();
    let _client = server.ready().await;
    let mut foreign = server.ctx.clone();
    "another".clone_into(&mut foreign.credentials.supervisor.password);
    let mut stranger = server.engine.client(&foreign);
    let error = text(stranger.bootstrap().await);
    assert!(
        error.contains("does not belong to this data directory"),
        "{error}"
    );
    assert!(error.contains("Put back"), "{error}");
    assert!(stranger.read_probe().await.is_err());
    server.client().write_probe().await.unwrap();
}

#[tokio::test]
async fn passwords_change_while_it_runs_and_the_credential_file_wins_at_a_start() {
    let mut server = server();
    let mut client = server.ready().await;
    client.set_password(&login("lucid", "fresh")).await.unwrap();
    let old = driver(&server.engine.uri(&server.ctx)).await;
    assert!(collection(&old).find_one(doc! {}).await.is_err());
    let mut changed = server.ctx.clone();
    "fresh".clone_into(&mut changed.credentials.client.password);
    let new = driver(&server.engine.uri(&changed)).await;
    collection(&new).find_one(doc! {}).await.unwrap();

    client
        .set_password(&login("lucid-supervisor", "newer"))
        .await
        .unwrap();
    client.write_probe().await.unwrap();
    assert!(server.client().read_probe().await.is_err());

    // The rotation of "lucid" never reached the file: the next start goes by the file.
    "newer".clone_into(&mut server.ctx.credentials.supervisor.password);
    server.client().bootstrap().await.unwrap();
    let old = driver(&server.engine.uri(&server.ctx)).await;
    collection(&old).find_one(doc! {}).await.unwrap();
}

#[tokio::test]
async fn acknowledged_documents_survive_a_kill() {
    let mut server = server();
    let _client = server.ready().await;
    let user = driver(&server.engine.uri(&server.ctx)).await;
    let sessions = collection(&user);
    let writer = tokio::spawn(async move {
        let mut acknowledged = 0;
        while sessions
            .insert_one(doc! {"_id": acknowledged})
            .await
            .is_ok()
        {
            acknowledged += 1;
        }
        acknowledged
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.crash();
    let acknowledged: i32 = writer.await.unwrap();
    assert!(acknowledged > 20, "only {acknowledged} writes to judge by");
    let _client = server.ready().await;
    let user = driver(&server.engine.uri(&server.ctx)).await;
    let found = collection(&user).count_documents(doc! {}).await.unwrap();
    assert!(
        found >= u64::try_from(acknowledged).unwrap(),
        "{found} of {acknowledged}"
    );
}

#[tokio::test]
async fn probes_fail_when_the_server_does_and_recover_with_it() {
    let mut server = server();
    let mut client = server.ready().await;
    server.signal(Signal::SIGSTOP);
    let hung = within(Duration::from_secs(1), client.write_probe()).await;
    assert!(!matches!(hung, Some(Ok(()))), "a stopped server answered");
    server.signal(Signal::SIGCONT);
    client.write_probe().await.unwrap();

    server.crash();
    assert!(client.write_probe().await.is_err());
    let begin = Instant::now();
    let error = text(client.read_probe().await);
    assert!(error.contains("reading the canary failed"), "{error}");
    println!("{error} after {:?}", begin.elapsed());

    server.start();
    let found = async {
        while client.write_probe().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(Duration::from_secs(15), found).await.unwrap();
}

/// A file system of its own, unmounted at the end.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn new(path: &'a Path, options: &str) -> Self {
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options),
        )
        .unwrap_or_else(|e| panic!("cannot mount a tmpfs: {e}; run ./scripts/test as root"));
        Self(path)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// The program stays up on a full disk and goes on to answer `ping`; only a probe through the
/// storage engine tells.
#[tokio::test]
async fn a_full_disk_fails_the_probes_and_is_survived() {
    let mut server = server();
    let data = server.ctx.data_dir.clone();
    let _tmpfs = Tmpfs::new(&data, "size=64m");
    let mut client = server.ready().await;
    let user = driver(&server.engine.uri(&server.ctx)).await;
    let sessions = collection(&user);
    let blob = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: (0..200_000u32)
            .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2])
            .collect(),
    };
    let mut acknowledged = 0i64;
    let filling = async {
        loop {
            let one = sessions.insert_one(doc! {"_id": acknowledged, "blob": blob.clone()});
            match within(Duration::from_secs(5), one.into_future()).await {
                Some(Ok(_)) => acknowledged += 1,
                _ => break,
            }
        }
    };
    within(Duration::from_mins(1), filling).await.unwrap();
    // The reading one first: on the connection that it kept, as the supervisor's would be.
    let read = within(Duration::from_secs(5), client.read_probe()).await;
    let write = within(Duration::from_secs(5), client.write_probe()).await;
    let admin = user.database("admin");
    let ping = admin.run_command(doc! {"ping": 1});
    let ping = within(Duration::from_secs(5), ping.into_future()).await;
    println!("{acknowledged} documents; read: {read:?}; write: {write:?}");
    assert!(
        matches!(ping, Some(Ok(_))),
        "the program does not even answer ping: {ping:?}"
    );
    assert!(
        !matches!(read, Some(Ok(()))),
        "a read passed on a full disk"
    );
    assert!(
        !matches!(write, Some(Ok(()))),
        "a write passed on a full disk"
    );
    let advice = server.engine.advise(&server.output_lines());
    assert!(
        advice
            .as_ref()
            .is_some_and(|advice| advice.cause.contains("full")),
        "{advice:?} for:\n{}",
        server.output()
    );

    // With room again, the next start recovers.
    server.crash();
    let size = Some("size=256m");
    mount(None::<&str>, &data, None::<&str>, MsFlags::MS_REMOUNT, size).unwrap();
    let _client = server.ready().await;
    let user = driver(&server.engine.uri(&server.ctx)).await;
    let found = collection(&user).count_documents(doc! {}).await.unwrap();
    // A fault of this version: the one write whose journal record met the full disk is answered
    // although it is not kept. mongod ends itself there before it answers.
    let lost = u64::try_from(acknowledged).unwrap() - found;
    assert!(lost <= 1, "{found} of {acknowledged}");
}

#[tokio::test]
async fn a_damaged_store_and_a_store_in_use_are_explained() {
    let mut server = server();
    let _client = server.ready().await;

    let mut second = self::server();
    second.ctx.data_dir.clone_from(&server.ctx.data_dir);
    second.start();
    second.ended().await;
    let advice = second.engine.advise(&second.output_lines()).unwrap();
    assert!(advice.cause.contains("another process"), "{advice:?}");

    server.stop().await;
    let file = server.ctx.data_dir.join("WiredTiger.wt");
    let length = std::fs::metadata(&file).unwrap().len();
    let noise: Vec<u8> = (0..length)
        .map(|i| (i.wrapping_mul(31) % 251) as u8)
        .collect();
    lucid::fsx::write_atomic(&file, &noise, 0o600).unwrap();
    server.start();
    server.ended().await;
    let advice = server.engine.advise(&server.output_lines()).unwrap();
    assert!(advice.cause.contains("damaged"), "{advice:?}");
}

/// Without the file that names the last checkpoint the program would begin with an empty store
/// and serve it; the check before the start is what prevents that.
#[tokio::test]
async fn a_store_that_would_come_up_empty_is_refused() {
    let mut server = server();
    let _client = server.ready().await;
    server.stop().await;
    std::fs::remove_file(server.ctx.data_dir.join("WiredTiger.turtle")).unwrap();
    let finding = server.engine.check_data(&server.ctx.data_dir).unwrap();
    assert!(
        finding.blocks && finding.message.contains("empty store"),
        "{finding:?}"
    );
}
