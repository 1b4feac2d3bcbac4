//! The page: without script as a plain document, and in a browser.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::api::{Answer, Served};
use common::{Options, free_port, on_pool, said};
use lucid::units::GIB;
use reqwest::Method;

/// An appliance on a pool, with a backup.
fn served() -> (Served, common::pool::Pool) {
    let (port, search) = (free_port(), free_port());
    let options = Options::both().with(&format!(
        "api.port = {port}\ndatastore.search.enabled = true\ndatastore.search.port = {search}\n\
         panel.driver = \"simulated\"\nbackup.schedule = \"0 2 * * *\"\nbackup.verify = \"\"\n\
         backup.drill = \"\""
    ));
    let (appliance, pool) = on_pool(options, 8 * GIB);
    (Served::over(appliance, port), pool)
}

/// Sends a form as the page does, with its cookie.
fn form(served: &Served, path: &str, body: &str, cookie: &str, origin: &str) -> Answer {
    let output = Command::new("curl")
        .args(["-s", "-i", "-X", "POST", "-d", body, "-b", cookie])
        .args(["-H", &format!("Origin: {origin}")])
        .arg(format!("http://127.0.0.1:{}{path}", served.port))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        headers: reqwest::header::HeaderMap::new(),
        text,
    }
}

/// Who runs, and how often it was started: what a button would change, and no probe does.
fn processes(served: &Served) -> Vec<String> {
    let status = served.appliance.status();
    let datastores = status["datastores"].as_array().unwrap();
    datastores
        .iter()
        .map(|datastore| {
            let of = |key: &str| &datastore[key];
            format!(
                "{} {} {} {}",
                of("name"),
                of("state"),
                of("pid"),
                of("restarts")
            )
        })
        .collect()
}

/// The page as a browser has it after a while, or a picture of it.
fn browser(served: &Served, args: &[&str]) -> String {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=8000",
        ])
        .args(args)
        .arg(format!("http://127.0.0.1:{}/", served.port))
        .output()
        .expect("chromium is not there; ./scripts/test installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_shows_the_appliance_without_script_and_acts_for_those_with_a_key() {
    let (mut served, _pool) = served();
    served
        .appliance
        .wait("volumes", std::time::Duration::from_secs(30), |status| {
            status["volumes"]
                .as_array()
                .is_some_and(|volumes| volumes.len() >= 3)
        });
    let get = |path: &str| served.send(None, Method::GET, path, None);
    let page = get("/");
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for shown in [
        "<html lang=\"en\">",
        "document</h3>",
        "cache</h3>",
        "search</h3>",
        "mongodb",
        "<meter",
        "Last good one",
        "Last drill",
        "Panel: ",
        "<label for=\"key\">",
        "<main",
        "scope=\"col\"",
    ] {
        assert!(
            page.text.contains(shown),
            "{shown} is missing in {}",
            page.text
        );
    }
    // Nothing from elsewhere, nothing written into the page that runs, no journal for strangers.
    for hidden in [
        "http://", "https://", "onclick", "<script>", "style=", "Journal",
    ] {
        assert!(!page.text.contains(hidden), "{hidden} is in {}", page.text);
    }
    let bytes = page.text.len() + get("/page.css").text.len() + get("/page.js").text.len();
    assert!(bytes <= 60 << 10, "the page has {bytes} bytes");

    let own = format!("http://127.0.0.1:{}", served.port);
    let wrong = form(&served, "/login", "key=lucid_wrong", "", &own);
    assert!(
        wrong.text.contains("not%20known") && !wrong.text.contains("Set-Cookie"),
        "{wrong:?}"
    );
    let login = form(
        &served,
        "/login",
        &format!("key={}", served.admin),
        "",
        &own,
    );
    assert_eq!(login.status, 303);
    let lower = login.text.to_lowercase();
    assert!(
        lower.contains("httponly") && lower.contains("samesite=strict"),
        "{login:?}"
    );
    let start = login.text.find("lucid_session=").unwrap();
    let cookie = login.text[start..].split(';').next().unwrap().to_owned();
    let page = Command::new("curl")
        .args(["-s", "-b", &cookie, &format!("{own}/")])
        .output()
        .unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    for shown in ["Log out", "restart cache", "Back up now", "datastore-ready"] {
        assert!(page.contains(shown), "{shown} is missing in {page}");
    }
    // Another page cannot press the buttons.
    let foreign = form(
        &served,
        "/do/datastore/cache/restart",
        "",
        &cookie,
        "http://evil.example",
    );
    assert_eq!(foreign.status, 401, "{foreign:?}");
    let before = processes(&served);
    let stranger = form(&served, "/do/datastore/cache/stop", "", "", &own);
    assert!(stranger.text.contains("Log%20in%20first"), "{stranger:?}");
    assert_eq!(processes(&served), before);
    let done = form(&served, "/do/datastore/cache/restart", "", &cookie, &own);
    assert!(done.text.contains("has%20begun"), "{done:?}");
    served.appliance.wait_state("ready");
    served.appliance.stop();
}

#[test]
fn a_browser_renews_the_page_by_itself_and_finds_nothing_wrong_with_it() {
    let (mut served, _pool) = served();
    said(&served.appliance, &["schema", "apply"]);
    said(&served.appliance, &["backup", "create"]);
    let seen = browser(&served, &["--dump-dom", "--enable-logging=stderr", "--v=0"]);
    // Its own script fetched what changes, within the time that the browser had.
    assert!(seen.contains("data-renewed=\"1\""), "{seen}");
    let picture = served.appliance.root().join("page.png");
    browser(
        &served,
        &[
            "--window-size=1000,1400",
            &format!("--screenshot={}", picture.display()),
        ],
    );
    let bytes = std::fs::read(&picture).unwrap();
    assert!(
        bytes.len() > 20_000,
        "the picture has {} bytes",
        bytes.len()
    );
    // The picture in the README is made by this test.
    if std::env::var_os("LUCID_BLESS").is_some() {
        let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/page.png");
        std::fs::write(to, bytes).unwrap();
    }
    served.appliance.stop();
}
