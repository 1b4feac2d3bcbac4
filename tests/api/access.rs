//! Who may what, how often, and over which connections.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::api::{BASE, Served};
use crate::common::network::Neighbour;
use crate::common::said;
use crate::session;

#[test]
fn who_may_what_is_kept_and_guesses_are_limited() {
    let mut served = Served::ready("");
    let path = |path: &str| format!("{BASE}{path}");
    let get = |key: Option<&str>, to: &str| served.send(key, Method::GET, to, None);
    // What is open.
    for open in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/",
        &path("/health/ping"),
    ] {
        assert_eq!(get(None, open).status, 200, "{open}");
    }
    let stranger = get(None, &path("/health"));
    assert_eq!(stranger.code(401), "LUCID_ERR_2001");
    assert!(stranger.headers.contains_key("www-authenticate"));
    assert!(stranger.headers.contains_key("x-request-id"));
    let (reader, writer) = (Some(served.reader.as_str()), Some(served.writer.as_str()));
    get(reader, &path("/health")).is(200);
    assert!(
        get(reader, "/metrics")
            .text
            .contains("lucid_datastore_up{datastore=\"cache\"} 1")
    );
    let put = json!({ "documents": [session("s1", "u1")] });
    let insert = |key| served.send(key, Method::POST, &path("/documents/sessions"), Some(&put));
    assert_eq!(insert(reader).code(403), "LUCID_ERR_2002");
    insert(writer).is(201);
    let drop = |key| {
        served.send(
            key,
            Method::DELETE,
            &path("/collections/sessions?confirm=true"),
            None,
        )
    };
    assert_eq!(drop(writer).code(403), "LUCID_ERR_2002");

    // A token may what its key may, or less.
    let token = served.send(
        writer,
        Method::POST,
        &path("/auth/token"),
        Some(&json!({ "role": "reader" })),
    );
    let token = token.is(200)["access_token"].as_str().unwrap().to_owned();
    get(Some(&token), &path("/health")).is(200);
    assert_eq!(insert(Some(&token)).code(403), "LUCID_ERR_2002");
    let more = served.send(
        reader,
        Method::POST,
        &path("/auth/token"),
        Some(&json!({ "role": "admin" })),
    );
    assert_eq!(more.code(403), "LUCID_ERR_2003");

    // A key that was revoked is none from then on.
    said(&served.appliance, &["api", "key", "revoke", "reader"]);
    assert_eq!(get(reader, &path("/health")).code(401), "LUCID_ERR_2001");
    let mut last = get(Some("lucid_wrong"), &path("/health"));
    for _ in 0..12 {
        last = get(Some("lucid_wrong"), &path("/health"));
    }
    assert_eq!(last.code(429), "LUCID_ERR_3002");
    assert!(last.headers.contains_key("retry-after"));

    // On the socket root is known without a key.
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(served.appliance.root().join("run/lucid/lucid.sock"))
        .arg(format!("http://lucid{}", path("/health")))
        .output()
        .unwrap();
    let health: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(health["services"]["mongodb"]["status"], "healthy");
    served.appliance.stop();
}

/// Address of this machine for another one: one of those for documentation (RFC 5737).
const HERE: &str = "203.0.113.1";

#[test]
fn over_the_network_the_api_speaks_tls_alone_and_on_the_board_both() {
    let other = Neighbour::new(HERE, "203.0.113.2");
    let listen = "api.listen = [\"0.0.0.0\"]\n";
    let mut served = Served::ready(&format!("{listen}api.tls = \"generated\"\n"));
    let certificate = "etc/lucid/credentials/api-certificate/tls/certificate.pem";
    let certificate = served.appliance.root().join(certificate);
    let trust = ["--cacert", certificate.to_str().unwrap()];
    let key = format!("authorization: Bearer {}", served.reader);
    let far = format!("{HERE}:{}{BASE}/health", served.port);
    let https = format!("https://{far}");
    let (well, text) = other.curl(&[trust[0], trust[1], "--header", &key, &https]);
    assert!(well && text.contains("\"healthy\""), "{text}");
    let (well, text) = other.curl(&[trust[0], trust[1], &https]);
    assert!(well && text.contains("LUCID_ERR_2001"), "{text}");
    let (well, text) = other.curl(&["--header", &key, &https]);
    assert!(!well && text.contains("certificate"), "{text}");
    let (well, text) = other.curl(&["--header", &key, &format!("http://{far}")]);
    assert!(well && text.contains("speaks TLS"), "{text}");
    served.get("/health").is(200);
    served.appliance.stop();

    // Keys never cross a network in the clear.
    let config = served.appliance.config_file();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("api.tls = \"generated\"\n", "")).unwrap();
    let output = served.appliance.run(&["config", "check"]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("api.tls = \"generated\""), "{told}");
}
