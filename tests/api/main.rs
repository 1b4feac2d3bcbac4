//! The HTTP API against real datastores: what it does, who may, what it refuses, how search follows.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod follow;
mod refusals;
mod work;

use serde_json::{Value, json};

fn session(id: &str, user: &str) -> Value {
    json!({
        "session_id": id, "user_id": user, "status": "active",
        "created_at": "2026-11-27T12:00:00Z", "metadata": { "note": "größe" },
    })
}
