//! `lucid doctor`: what would keep the appliance from running here, and what to do.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::output::{Colour, Out};
use super::{CliError, Done};
use crate::board::{Board, MemoryCgroup, Signals};
use crate::engine;
use crate::paths::Paths;
use crate::supervisor::{self, Plan};
use crate::units::human_bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    subject: String,
    verdict: Verdict,
    message: String,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, verdict: Verdict, subject: &str, message: impl Into<String>) {
        self.0.push(Finding {
            subject: subject.to_owned(),
            verdict,
            message: message.into(),
        });
    }
}

pub(super) fn run(paths: &Paths, config: Option<&Path>, out: &mut Out) -> Result<Done, CliError> {
    let board = Board::read(Path::new("/"))?;
    let mut findings = Findings(Vec::new());
    look_at_board(&board, &Signals::read(Path::new("/")), &mut findings);
    look_at_root(paths, &mut findings);
    match supervisor::plan(paths, config, board, false) {
        Ok(plan) => {
            findings.add(Verdict::Good, "configuration", "valid, and fits the memory");
            look_at_engines(&plan, &mut findings);
            look_at_knobs(&plan, &mut findings);
        }
        Err(error) => findings.add(Verdict::Bad, "configuration", error.to_string()),
    }
    if !out.json(&findings.0)? {
        for finding in &findings.0 {
            let (mark, colour) = match finding.verdict {
                Verdict::Good => ("ok  ", Colour::Green),
                Verdict::Warning => ("warn", Colour::Yellow),
                Verdict::Bad => ("BAD ", Colour::Red),
            };
            let mark = out.paint(colour, mark);
            out.line(&format!(
                "{mark} {:<16} {}",
                finding.subject, finding.message
            ))?;
        }
    }
    let worst = findings.0.iter().map(|finding| finding.verdict).max();
    Ok(if worst == Some(Verdict::Bad) {
        Done::Failed
    } else {
        Done::Well
    })
}

fn look_at_board(board: &Board, signals: &Signals, findings: &mut Findings) {
    let mut about = format!(
        "{}, {} RAM, {} processors, kernel {}, {}K pages",
        board.model,
        human_bytes(board.memory_bytes),
        board.cpus,
        board.kernel.release,
        board.page_size / 1024
    );
    if let Some(bits) = board.va_bits {
        let _ = write!(about, ", {bits}-bit addresses");
    }
    findings.add(Verdict::Good, "board", about);
    for disk in &board.disks {
        let model = disk.model.as_deref().unwrap_or("unnamed");
        let message = format!("{model}, {:?}, {}", disk.kind, human_bytes(disk.size_bytes));
        if disk.read_only {
            findings.add(Verdict::Warning, &disk.name, message + ", write-protected");
        } else {
            findings.add(Verdict::Good, &disk.name, message);
        }
    }
    match &board.memory_cgroup {
        MemoryCgroup::Available(_) => {
            findings.add(Verdict::Good, "memory limits", "the kernel enforces them");
        }
        MemoryCgroup::Missing(reason) => findings.add(Verdict::Warning, "memory limits", reason),
    }
    if let Some(celsius) = signals.temperature_celsius {
        // The firmware of a Pi begins to throttle at 80 °C.
        let verdict = if celsius >= 80.0 {
            Verdict::Warning
        } else {
            Verdict::Good
        };
        findings.add(verdict, "temperature", format!("{celsius:.1} °C"));
    }
    match signals.undervoltage {
        Some(true) => findings.add(
            Verdict::Bad,
            "power",
            "under-voltage now: writes may be lost; use the official supply and a short cable",
        ),
        Some(false) => findings.add(Verdict::Good, "power", "voltage is fine"),
        None if board.is_pi() => findings.add(
            Verdict::Warning,
            "power",
            "this kernel does not tell whether the voltage is fine",
        ),
        None => {}
    }
    if !signals.clock_set {
        findings.add(
            Verdict::Warning,
            "clock",
            "not set: timestamps are wrong until the time is had from the network",
        );
    }
}

fn look_at_root(paths: &Paths, findings: &mut Findings) {
    let root = paths.root();
    let mut existing = root;
    while !existing.exists() {
        match existing.parent() {
            Some(parent) => existing = parent,
            None => break,
        }
    }
    let writable = nix::unistd::access(existing, nix::unistd::AccessFlags::W_OK);
    match writable {
        Ok(()) => findings.add(
            Verdict::Good,
            "root",
            format!("{} is writable", root.display()),
        ),
        Err(errno) => findings.add(
            Verdict::Bad,
            "root",
            format!(
                "{} is not writable ({errno}); run as root or choose another with --root DIR",
                existing.display()
            ),
        ),
    }
}

fn look_at_engines(plan: &Plan, findings: &mut Findings) {
    for common in plan.config.enabled() {
        let subject = common.role.name();
        let engine = engine::of(common.engine);
        match engine.detect(common.binary, &plan.search) {
            Ok(detected) => {
                findings.add(
                    Verdict::Good,
                    subject,
                    format!(
                        "{} {} at {}",
                        common.engine.name(),
                        detected.version.text,
                        detected.binary.display()
                    ),
                );
                for found in engine.preflight(&detected, &plan.board) {
                    let verdict = if found.blocks {
                        Verdict::Bad
                    } else {
                        Verdict::Warning
                    };
                    findings.add(
                        verdict,
                        subject,
                        format!("{}; {}", found.message, found.remedy),
                    );
                }
            }
            Err(error) => findings.add(Verdict::Bad, subject, error.to_string()),
        }
    }
}

fn look_at_knobs(plan: &Plan, findings: &mut Findings) {
    let report = plan.tuner().plan();
    for knob in report.tuning.knobs.iter().filter(|knob| !knob.ok) {
        let found = knob.found.as_deref().unwrap_or("nothing");
        findings.add(
            Verdict::Warning,
            &knob.name,
            format!(
                "{found}, wanted {}: the supervisor sets it when it may",
                knob.wanted
            ),
        );
    }
}
