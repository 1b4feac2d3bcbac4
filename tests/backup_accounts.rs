//! Accounts of the document store in a backup. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use common::backups::{RESTORE, Whole, all_three, files};
use mongodb::Client;
use mongodb::bson::{Document, doc};

/// A driver with an account of the store.
async fn login(one: &Whole, db: &str, user: &str, password: &str) -> Client {
    let port = one.appliance.document_port;
    let uri = format!(
        "mongodb://{user}:{password}@127.0.0.1:{port}/?directConnection=true&authSource={db}"
    );
    Client::with_uri_str(uri).await.unwrap()
}

/// The account that may make accounts.
async fn administrator(one: &Whole) -> Client {
    let of = |path: &std::path::PathBuf| path.ends_with("credentials/document.json");
    let file = files(one.appliance.root()).into_iter().find(of).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let known: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known = &known["supervisor"];
    let text = |key: &str| known[key].as_str().unwrap();
    login(one, "admin", text("user"), text("password")).await
}

async fn run(client: &Client, db: &str, command: Document) -> Document {
    client.database(db).run_command(command).await.unwrap()
}

/// What a store tells of accounts and roles, but for what passwords are checked against.
async fn told(client: &Client) -> (Vec<Document>, Vec<Document>) {
    let all = |answer: &Document, key: &str| -> Vec<Document> {
        let all = answer.get_array(key).unwrap();
        all.iter()
            .map(|one| {
                let mut one = one.as_document().unwrap().clone();
                one.remove("userId");
                one
            })
            .collect()
    };
    let every = doc! { "usersInfo": { "forAllDBs": true } };
    let mut users = all(&run(client, "admin", every).await, "users");
    for user in &mut users {
        let detail = doc! {
            "usersInfo": { "user": user.get_str("user").unwrap(), "db": user.get_str("db").unwrap() },
            "showAuthenticationRestrictions": true,
        };
        let detail = all(&run(client, "admin", detail).await, "users");
        let from = detail[0].get("authenticationRestrictions").unwrap();
        user.insert("from", from.clone());
    }
    let every =
        doc! { "rolesInfo": 1, "showPrivileges": true, "showAuthenticationRestrictions": true };
    let mut roles = Vec::new();
    for db in ["admin", "shop", "tenants"] {
        roles.extend(all(&run(client, db, every.clone()).await, "roles"));
    }
    (users, roles)
}

async fn make(client: &Client) {
    // A database without any collection, which nobody holds a role of himself; from there only.
    let far = doc! {
        "createRole": "far", "privileges": [], "roles": [],
        "authenticationRestrictions": [{ "clientSource": ["127.0.0.0/8"] }],
    };
    run(client, "tenants", far).await;
    let near = doc! {
        "createRole": "near", "privileges": [], "roles": [{ "role": "far", "db": "tenants" }],
    };
    run(client, "admin", near).await;
    // One role holds another one, whose name comes later.
    for command in [
        doc! {
            "createRole": "zz_reads",
            "privileges": [{ "resource": { "db": "shop", "collection": "orders" }, "actions": ["find"] }],
            "roles": [],
        },
        doc! {
            "createRole": "a_clerk",
            "privileges": [{ "resource": { "db": "shop", "collection": "log" }, "actions": ["insert"] }],
            "roles": ["zz_reads"],
        },
        doc! {
            "createUser": "clerk", "pwd": "first password",
            "roles": [
                "a_clerk", { "role": "read", "db": "stock" }, { "role": "near", "db": "admin" },
            ],
            "customData": { "desk": 4 },
            "authenticationRestrictions": [{ "clientSource": ["127.0.0.1"] }],
            "mechanisms": ["SCRAM-SHA-256"],
        },
    ] {
        run(client, "shop", command).await;
    }
    let plain = doc! { "createUser": "reader", "pwd": "another one", "roles": ["read"] };
    run(client, "admin", plain).await;
}

#[test]
fn accounts_and_roles_come_back_as_they_were_and_ask_for_passwords() {
    let mut one = all_three();
    let wanted = one.block(async |_| {
        let client = administrator(&one).await;
        make(&client).await;
        told(&client).await
    });
    one.said(&["backup", "create"]);
    let known = one.said(&["--json", "backup", "list"]);
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    let document = &known[0]["backups"][0]["parts"][0];
    assert_eq!(document["name"], "document");
    let listed = one.restic(&["ls", document["snapshot"].as_str().unwrap()]);
    for name in ["system.users", "system.roles", "system.version"] {
        for end in ["bson", "metadata.json"] {
            let path = format!("/document/dump/admin/{name}.{end}");
            assert!(listed.contains(&path), "{path}: {listed}");
        }
    }
    let drilled = one.said(&["backup", "drill"]);
    assert!(
        drilled.contains("2 of 2 accounts and 4 of 4 roles equal"),
        "{drilled}"
    );
    assert!(!drilled.contains("lets nobody in"), "{drilled}");

    // Another one since, and one that is gone.
    one.block(async |_| {
        let client = administrator(&one).await;
        run(&client, "admin", doc! { "dropUser": "reader" }).await;
        let new = doc! { "createUser": "later", "pwd": "x1", "roles": ["read"] };
        run(&client, "admin", new).await;
    });
    let restored = one.said(&RESTORE);
    for name in ["\"clerk\" of shop", "\"reader\" of admin"] {
        assert!(restored.contains(name), "{restored}");
    }
    one.appliance.wait_state("ready");
    one.block(async |_| {
        let client = administrator(&one).await;
        assert_eq!(told(&client).await, wanted);
        let refused = login(&one, "shop", "clerk", "first%20password").await;
        let shop = refused.database("shop");
        assert!(shop.run_command(doc! { "ping": 1 }).await.is_err());
        let command = doc! { "updateUser": "clerk", "pwd": "second" };
        run(&client, "shop", command).await;
        let clerk = login(&one, "shop", "clerk", "second").await;
        let orders = clerk.database("shop").collection::<Document>("orders");
        assert_eq!(orders.find_one(doc! {}).await.unwrap(), None);
        orders.insert_one(doc! {}).await.unwrap_err();
    });
    one.appliance.stop();
}

#[test]
fn a_role_that_is_gone_keeps_no_document_from_coming_back() {
    let mut one = all_three();
    one.block(async |lucid| {
        let client = administrator(&one).await;
        let role = doc! { "createRole": "gone", "privileges": [], "roles": [] };
        run(&client, "shop", role).await;
        let user = doc! { "createUser": "left", "pwd": "x1", "roles": ["gone", "read"] };
        run(&client, "shop", user).await;
        let all = doc! { "dropAllRolesFromDatabase": 1 };
        run(&client, "shop", all).await;
        let orders = lucid.database("shop").collection::<Document>("orders");
        orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    });
    one.said(&["backup", "create"]);
    one.block(async |lucid| lucid.database("shop").drop().await.unwrap());
    let restored = one.said(&RESTORE);
    assert!(
        restored.contains("\"left\" of shop lets nobody in"),
        "{restored}"
    );
    one.appliance.wait_state("ready");
    one.block(async |lucid| {
        let orders = lucid.database("shop").collection::<Document>("orders");
        assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    });
    one.appliance.stop();
}
