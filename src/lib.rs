//! Lucid: the firmware that turns a Raspberry Pi into a database appliance.
//!
//! The rooms of this crate stand on floors; a room may import only rooms of lower floors
//! (`docs/architecture.md`, checked by `tests/architecture.rs`).

pub mod api;
pub mod backup;
pub mod board;
pub mod cli;
pub mod config;
pub mod engine;
pub mod fsx;
pub mod http;
pub mod journal;
pub mod listen;
pub mod panel;
pub mod paths;
pub mod readable;
pub mod schema;
pub mod search_node;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod tuning;
pub mod units;
pub mod volume;
