//! What can go wrong between the supervisor and an engine.

use std::path::PathBuf;
use std::time::Duration;

/// Why an engine's description could not be made, or an engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No program was found.
    #[error("{engine}: no program found (searched {searched}); {remedy}")]
    NotFound {
        /// Engine.
        engine: &'static str,
        /// Places searched, joined.
        searched: String,
        /// Way out.
        remedy: String,
    },
    /// The program cannot be executed or does not say its version.
    #[error("{engine}: {} cannot be used: {cause}; {remedy}", binary.display())]
    Unusable {
        /// Engine.
        engine: &'static str,
        /// Program.
        binary: PathBuf,
        /// Cause, such as "is built for aarch64, this machine is x86_64".
        cause: String,
        /// Way out.
        remedy: String,
    },
    /// A probe or administrative call failed.
    #[error("{engine}: {operation} failed: {cause}")]
    Call {
        /// Engine.
        engine: &'static str,
        /// What was tried.
        operation: &'static str,
        /// What the engine or the connection said.
        cause: String,
        /// Whether the engine itself said it: then it is alive, and killing it mends nothing.
        answered: bool,
    },
    /// A call took longer than its deadline.
    #[error("{engine}: {operation} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// Engine.
        engine: &'static str,
        /// What was tried.
        operation: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The engine answers, but only that it still reads its data in. No fault: a large store
    /// takes as long as the disk needs, and killing it would begin again from the start.
    #[error("{engine} is still loading its data{progress}")]
    Loading {
        /// Engine.
        engine: &'static str,
        /// Empty, or such as ` (42 %, about 30 s left)`.
        progress: String,
    },
    /// The engine cannot do this.
    #[error("{engine} cannot {what}; {alternative}")]
    Unsupported {
        /// Engine.
        engine: &'static str,
        /// What was asked.
        what: &'static str,
        /// What does it instead.
        alternative: &'static str,
    },
}

impl EngineError {
    /// The engine says no, or is known to: it is degraded, not hung, and nothing was changed.
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Call { answered: true, .. } | Self::Unsupported { .. }
        )
    }

    /// The engine says itself that only a restart mends it. WiredTiger after a panic refuses
    /// everything with this word while its process stays up and answers `ping`.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Call { cause, .. } if cause.contains("WT_PANIC"))
    }

    /// The engine reads its data in and says so.
    pub fn is_loading(&self) -> bool {
        matches!(self, Self::Loading { .. })
    }
}
