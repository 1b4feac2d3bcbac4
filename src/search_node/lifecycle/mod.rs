//! The life of an index: policies, and which step an index takes when.
//!
//! Nothing here reads a clock or touches an index; times and figures are given.

mod conditions;
mod naming;
mod plan;
mod policy;

pub(super) use conditions::{Conditions, Figures};
pub(super) use naming::next_name;
pub(super) use plan::{Next, Progress, next, no_policy};
pub(super) use policy::{Policy, Stored, Work};
