//! Work that takes long: with an id, progress and a result that outlive a restart.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::handle::{CommandError, Handle};
use crate::fsx;
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::now_rfc3339;

/// How many ended jobs are remembered.
const KEPT: usize = 100;
const MAX_BYTES: u64 = 1 << 20;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It goes on.
    Running,
    /// It ended well.
    Done,
    /// It ended otherwise.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Unique, also over restarts.
    pub id: String,
    /// `verify`, `defragment`, …
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// How it stands.
    pub state: JobState,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub total_bytes: u64,
    /// Bytes a second since the start.
    pub bytes_per_second: Option<f64>,
    /// Seconds to go at that rate.
    pub remaining_seconds: Option<u64>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; absent while it runs.
    pub ended: Option<String>,
    /// What came of it, or why it failed.
    pub message: Option<String>,
}

#[derive(Debug)]
struct Live {
    job: Job,
    progress: Arc<Counters>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
    phase: Mutex<Option<String>>,
}

/// The end of a job that works.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    counters: Arc<Counters>,
}

impl Progress {
    /// Says how far it is.
    pub(super) fn set(&self, done: u64, total: u64) {
        self.counters.done.store(done, Ordering::Relaxed);
        self.counters.total.store(total, Ordering::Relaxed);
    }

    /// Says what is being done now.
    pub(super) fn phase(&self, text: &str) {
        let phase = self.counters.phase.lock();
        *phase.unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    /// Whether somebody wants it to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.counters.cancelled.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct State {
    live: Vec<Live>,
    ended: VecDeque<Job>,
    loaded: bool,
    count: u64,
}

/// All jobs of an appliance; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    file: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Jobs {
    pub(super) fn new(paths: &Paths) -> Self {
        Self {
            file: paths.system().join("jobs.json"),
            state: Arc::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the pool nothing is known, and nothing is written over what it has.
        let there = self.file.parent().is_some_and(std::path::Path::is_dir);
        if !state.loaded && there {
            state.loaded = true;
            let text = fsx::read_text(&self.file, MAX_BYTES).unwrap_or_default();
            state.ended = serde_json::from_str(&text).unwrap_or_default();
            for job in &mut state.ended {
                if job.state == JobState::Running {
                    job.state = JobState::Failed;
                    job.message = Some("the supervisor ended meanwhile; start it again".to_owned());
                }
            }
        }
        state
    }

    /// Starts `work` on a thread of its own, unless the same runs already.
    ///
    /// # Errors
    /// The job that runs.
    pub(super) fn start(
        &self,
        kind: &str,
        subject: &str,
        work: impl FnOnce(&Progress) -> Result<String, String> + Send + 'static,
    ) -> Result<Job, String> {
        let mut state = self.lock();
        // A verification reads the whole pool, whichever volume it is for.
        let same = |live: &&Live| {
            live.job.kind == kind && (live.job.subject == subject || kind == "verify")
        };
        if let Some(live) = state.live.iter().find(same) {
            return Err(format!(
                "{kind} of {} runs already as job {}; `lucid job show {1}` shows how far it is",
                live.job.subject, live.job.id
            ));
        }
        state.count += 1;
        let started = now_rfc3339();
        let stamp: String = started
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let job = Job {
            id: format!("{stamp}-{kind}-{}", state.count),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            state: JobState::Running,
            done_bytes: 0,
            total_bytes: 0,
            bytes_per_second: None,
            remaining_seconds: None,
            started,
            ended: None,
            message: None,
        };
        let progress = Progress {
            counters: Arc::default(),
        };
        state.live.push(Live {
            job: job.clone(),
            progress: Arc::clone(&progress.counters),
            began: Instant::now(),
        });
        self.save(&state);
        drop(state);
        let (jobs, id) = (self.clone(), job.id.clone());
        let thread = std::thread::Builder::new().name(format!("job-{kind}"));
        let spawned = thread.spawn(move || {
            let result = work(&progress);
            jobs.end(&id, result, progress.is_cancelled());
        });
        if let Err(error) = spawned {
            self.end(&job.id, Err(error.to_string()), false);
            return Err(error.to_string());
        }
        journal::emit(
            Event::JobStarted,
            &job.subject,
            &format!("{kind} began as job {}", job.id),
        );
        Ok(job)
    }

    fn end(&self, id: &str, result: Result<String, String>, cancelled: bool) {
        let mut state = self.lock();
        let Some(index) = state.live.iter().position(|live| live.job.id == id) else {
            return;
        };
        let live = state.live.remove(index);
        let mut job = seen(&live);
        job.remaining_seconds = None;
        job.ended = Some(now_rfc3339());
        let event = match result {
            Ok(message) => {
                job.state = JobState::Done;
                job.message = Some(message);
                Event::JobDone
            }
            Err(message) => {
                job.state = if cancelled {
                    JobState::Cancelled
                } else {
                    JobState::Failed
                };
                job.message = Some(message);
                Event::JobFailed
            }
        };
        let message = format!(
            "{} (job {id}): {}",
            job.kind,
            job.message.as_deref().unwrap_or_default()
        );
        journal::emit(event, &job.subject, &message);
        state.ended.push_back(job);
        while state.ended.len() > KEPT {
            state.ended.pop_front();
        }
        self.save(&state);
    }

    fn save(&self, state: &State) {
        let running = state.live.iter().map(|live| &live.job);
        let all: Vec<&Job> = state.ended.iter().chain(running).collect();
        let text = serde_json::to_vec(&all).unwrap_or_default();
        if state.loaded
            && let Err(error) = fsx::write_atomic(&self.file, &text, 0o644)
        {
            tracing::warn!("{error}; jobs are not remembered over a restart");
        }
    }

    /// All jobs, newest first.
    pub(super) fn list(&self) -> Vec<Job> {
        let state = self.lock();
        let live = state.live.iter().rev().map(seen);
        live.chain(state.ended.iter().rev().cloned()).collect()
    }

    /// Asks all jobs to end: what they run would keep the disk busy after the supervisor.
    pub(super) fn cancel_all(&self) {
        for live in &self.lock().live {
            live.progress.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Asks a job to end. False where none of this id runs.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let state = self.lock();
        let live = state.live.iter().find(|live| live.job.id == id);
        if let Some(live) = live {
            live.progress.cancelled.store(true, Ordering::Relaxed);
        }
        live.is_some()
    }
}

impl Handle {
    /// Long work, newest first.
    ///
    /// # Errors
    /// [`CommandError::Refused`] while the supervisor ends.
    pub async fn jobs(&self) -> Result<Vec<Job>, CommandError> {
        let jobs = self.jobs.clone();
        let listed = tokio::task::spawn_blocking(move || jobs.list());
        listed
            .await
            .map_err(|error| CommandError::Refused(error.to_string()))
    }

    /// Asks a job to end.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where none of this id runs.
    pub async fn cancel(&self, id: String) -> Result<(), CommandError> {
        let (jobs, wanted) = (self.jobs.clone(), id.clone());
        let cancelled = tokio::task::spawn_blocking(move || jobs.cancel(&wanted));
        match cancelled.await {
            Ok(true) => Ok(()),
            _ => Err(CommandError::NotFound(format!(
                "no job {id:?} runs; `lucid job list` shows all"
            ))),
        }
    }
}

fn phase_of(counters: &Counters) -> Option<String> {
    let phase = counters.phase.lock();
    phase.unwrap_or_else(PoisonError::into_inner).clone()
}

/// The job with its progress now.
fn seen(live: &Live) -> Job {
    let done = live.progress.done.load(Ordering::Relaxed);
    let total = live.progress.total.load(Ordering::Relaxed);
    let seconds = live.began.elapsed().as_secs_f64();
    let rate = (done > 0 && seconds > 0.0).then(|| done as f64 / seconds);
    Job {
        done_bytes: done,
        total_bytes: total,
        bytes_per_second: rate,
        message: phase_of(&live.progress),
        remaining_seconds: rate.filter(|_| total > done).map(|rate| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let seconds = ((total - done) as f64 / rate) as u64;
            seconds
        }),
        ..live.job.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn until(jobs: &Jobs, state: JobState) -> Job {
        let began = Instant::now();
        loop {
            let first = jobs.list().into_iter().next();
            if let Some(job) = first.filter(|job| job.state == state) {
                return job;
            }
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
    }

    fn root() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        fsx::create_dir(&paths.system(), 0o755).unwrap();
        (dir, paths)
    }

    #[test]
    fn a_job_shows_how_far_it_is_and_is_remembered() {
        let (_dir, paths) = root();
        let jobs = Jobs::new(&paths);
        let (go, wait) = mpsc::channel::<()>();
        let work = move |progress: &Progress| {
            progress.set(50, 100);
            wait.recv().ok();
            Ok("nothing wrong".to_owned())
        };
        let job = jobs.start("verify", "logs", work).unwrap();
        let error = jobs
            .start("verify", "logs", |_| Ok(String::new()))
            .unwrap_err();
        assert!(error.contains(&job.id), "{error}");
        go.send(()).unwrap();
        let done = until(&jobs, JobState::Done);
        assert_eq!((done.done_bytes, done.total_bytes), (50, 100));
        let again = Jobs::new(&paths).list();
        assert_eq!(again[0].message.as_deref(), Some("nothing wrong"));
    }

    #[test]
    fn a_job_ends_when_somebody_asks_and_one_that_was_cut_off_is_told() {
        let (_dir, paths) = root();
        let jobs = Jobs::new(&paths);
        let work = |progress: &Progress| {
            while !progress.is_cancelled() {
                std::thread::yield_now();
            }
            Err("ended on request".to_owned())
        };
        let job = jobs.start("defragment", "logs", work).unwrap();
        // What another supervisor finds while it runs.
        let cut = Jobs::new(&paths).list();
        assert_eq!(cut[0].state, JobState::Failed);
        assert!(jobs.cancel(&job.id) && !jobs.cancel("other"));
        until(&jobs, JobState::Cancelled);
    }
}
