//! Which knobs a board with these engines wants, and why. Pure: reads and writes nothing.

use std::path::PathBuf;

use super::{Inputs, Rule, disks, wants_thp};
use crate::board::{Board, DiskKind, Family};
use crate::config::EngineKind;
use crate::units::{ByteSize, GIB, MIB};

/// What the machine looks like now, as far as the plan depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// A zram device is used as swap, or will be.
    pub zram: bool,
    /// Backing device infos of mounted btrfs filesystems, such as `btrfs-1`.
    pub btrfs: Vec<String>,
}

/// One knob of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnobPlan {
    /// Stable name, as in `[tuning] skip`.
    pub name: String,
    /// Why this value, with its source.
    pub why: String,
    /// What is wanted.
    pub want: Want,
}

/// What a knob is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// One file of `/proc/sys` or `/sys`.
    File {
        /// Relative to the root of the machine.
        path: PathBuf,
        /// Comparison and value.
        rule: Rule,
        /// The file that rules while this one reads 0 (`vm.dirty_ratio` for `vm.dirty_bytes`):
        /// 0 cannot be written back, so its value is restored instead.
        counterpart: Option<PathBuf>,
        /// What a missing file means.
        absent: Absent,
    },
    /// The hard limit of open files: reported, never written.
    Nofile(u64),
    /// A compressed swap device in RAM.
    Zram {
        /// Size of the device in bytes, before compression.
        bytes: u64,
        /// Compression algorithms, the best one first.
        algorithms: &'static [&'static str],
    },
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The wish cannot be met.
    Refused,
    /// The wish is met, for this reason.
    Fine(&'static str),
}

impl KnobPlan {
    /// The wanted value as the status shows it.
    pub fn wanted(&self) -> String {
        match &self.want {
            Want::File { rule, .. } => rule.wanted(),
            Want::Nofile(limit) => limit.to_string(),
            Want::Zram { bytes, .. } => ByteSize(*bytes).to_string(),
        }
    }
}

/// Map areas that Elasticsearch recommends; its bootstrap check demands 262144.
const MAPS_ELASTICSEARCH: u64 = 1_048_576;
/// Map areas of MongoDB's operations checklist.
const MAPS_MONGODB: u64 = 128_000;
/// Accept queue of the platform's Redis host setup: a ceiling, Redis itself asks for 511.
const BACKLOG_REDIS: u64 = 65_535;
/// Linux's own default since 5.4.
const BACKLOG: u64 = 4096;
/// From the formula of the kernel's sysctl/vm document, for swap twice as fast as files.
const SWAPPINESS_ZRAM: u64 = 133;
/// MongoDB and Elasticsearch: swap to a disk only to escape the OOM killer.
const SWAPPINESS_DISK: u64 = 1;
/// Default upper bound of systemd's zram-generator, as is half of RAM.
const ZRAM_MAX: u64 = 4 * GIB;

/// The knobs for these inputs, in the order they are set. Knobs named in `skip` are left out, as
/// are knobs for which neither an engine nor the board has a wish.
pub fn plan(inputs: &Inputs<'_>, facts: &Facts) -> Vec<KnobPlan> {
    if !inputs.config.tuning.enabled {
        return Vec::new();
    }
    let engines = Engines::of(inputs.engines);
    let mut knobs = Vec::new();
    if inputs.config.tuning.zram {
        knobs.push(zram(inputs.board));
    }
    knobs.extend(memory(&engines, facts));
    knobs.extend(huge_pages(&engines));
    knobs.extend(dirty(inputs.board));
    knobs.extend(network(&engines));
    knobs.extend(open_files(&engines));
    knobs.extend(disks::knobs(inputs.board, engines.wiredtiger, facts));
    knobs.retain(|knob| !inputs.config.tuning.skip.contains(&knob.name));
    knobs
}

/// The engine set, as questions that the plan asks.
struct Engines {
    mongod: bool,
    thp: bool,
    redis: bool,
    elasticsearch: bool,
    wiredtiger: bool,
}

impl Engines {
    fn of(engines: &[(EngineKind, Option<u32>)]) -> Self {
        use EngineKind as E;
        let any = |wanted: &[E]| engines.iter().any(|(kind, _)| wanted.contains(kind));
        Self {
            mongod: any(&[E::Mongod]),
            thp: engines.iter().any(|(kind, major)| wants_thp(*kind, *major)),
            redis: any(&[E::Redis, E::Valkey]),
            elasticsearch: any(&[E::Elasticsearch]),
            wiredtiger: any(&[E::Mongod, E::Secantus]),
        }
    }
}

/// A knob of one file without a counterpart.
pub(super) fn file(name: &str, path: &str, rule: Rule, absent: Absent, why: &str) -> KnobPlan {
    KnobPlan {
        name: name.to_owned(),
        why: why.to_owned(),
        want: Want::File {
            path: path.into(),
            rule,
            counterpart: None,
            absent,
        },
    }
}

fn sysctl(name: &str, rule: Rule, why: &str) -> KnobPlan {
    let path = format!("proc/sys/{}", name.replace('.', "/"));
    file(name, &path, rule, Absent::Refused, why)
}

fn zram(board: &Board) -> KnobPlan {
    // In-order Cortex-A53 cores: the cheaper algorithm, which is also the kernel's default.
    let algorithms: &[&str] = match board.family {
        Family::Zero2W | Family::Pi3 => &["lzo-rle", "lz4", "lzo", "zstd"],
        _ => &["zstd", "lzo-rle", "lz4", "lzo"],
    };
    // A whole number of MiB, so that the size reads back as written.
    let bytes = (board.memory_bytes / 2).min(ZRAM_MAX) / MIB * MIB;
    KnobPlan {
        name: "zram".to_owned(),
        why: "swap compressed in RAM never wears flash and keeps a peak from the OOM killer \
              (half of RAM, at most 4 GiB, as zram-generator)"
            .to_owned(),
        want: Want::Zram { bytes, algorithms },
    }
}

fn memory(engines: &Engines, facts: &Facts) -> Vec<KnobPlan> {
    let mut knobs = Vec::new();
    if engines.elasticsearch {
        knobs.push(sysctl(
            "vm.max_map_count",
            Rule::AtLeast(MAPS_ELASTICSEARCH),
            "Elasticsearch maps its index files: its manual recommends 1048576, its bootstrap \
             check refuses less than 262144",
        ));
    } else if engines.mongod {
        knobs.push(sysctl(
            "vm.max_map_count",
            Rule::AtLeast(MAPS_MONGODB),
            "every MongoDB connection needs map areas: 128000 in its operations checklist",
        ));
    }
    if engines.redis || engines.thp {
        knobs.push(sysctl(
            "vm.overcommit_memory",
            Rule::Exact(1),
            if engines.redis {
                "fork for a background save must not fail when less than Redis' own size is free \
                 (Redis' start-up check)"
            } else {
                "MongoDB 8 wants it together with huge pages (MongoDB manual, TCMalloc)"
            },
        ));
    }
    knobs.push(if facts.zram {
        sysctl(
            "vm.swappiness",
            Rule::Exact(SWAPPINESS_ZRAM),
            "swap is in RAM, so it is cheaper than reading files again: over 100 is meant for \
             that (kernel document sysctl/vm; its example for swap twice as fast)",
        )
    } else {
        sysctl(
            "vm.swappiness",
            Rule::Exact(SWAPPINESS_DISK),
            "without zram swap is on a disk: databases must not be swapped out \
             (MongoDB production notes, Elasticsearch manual)",
        )
    });
    knobs
}

fn huge_pages(engines: &Engines) -> Vec<KnobPlan> {
    let at = |file_name: &str| format!("sys/kernel/mm/transparent_hugepage/{file_name}");
    if engines.thp {
        let why = "MongoDB 8 and later gain by huge pages (MongoDB manual, TCMalloc); the other \
                   engines get them switched off for their own process";
        return vec![
            file(
                "thp.enabled",
                &at("enabled"),
                Rule::OneOf(&["always"]),
                Absent::Refused,
                why,
            ),
            file(
                "thp.defrag",
                &at("defrag"),
                Rule::OneOf(&["defer+madvise"]),
                Absent::Refused,
                why,
            ),
            file(
                "thp.khugepaged_max_ptes_none",
                &at("khugepaged/max_ptes_none"),
                Rule::Exact(0),
                Absent::Refused,
                "no huge page is made of memory that the program left unused \
                 (MongoDB manual, TCMalloc)",
            ),
        ];
    }
    let absent = Absent::Fine("this kernel has no transparent huge pages, so they are off");
    vec![
        file(
            "thp.enabled",
            &at("enabled"),
            Rule::OneOf(&["madvise", "never"]),
            absent,
            "huge pages cost Redis and MongoDB up to 7 memory and latency; madvise leaves them \
             to programs that ask (Redis and MongoDB warn only at always)",
        ),
        file(
            "thp.defrag",
            &at("defrag"),
            Rule::OneOf(&["madvise", "defer+madvise", "defer", "never"]),
            absent,
            "with always a page fault waits for memory to be compacted (kernel document transhuge)",
        ),
    ]
}

/// Dirty page limits for flash: the kernel's shares of RAM let seconds of writes pile up, and the
/// fsync of a journal waits behind them.
fn dirty(board: &Board) -> Vec<KnobPlan> {
    let flash = board.disks.iter().any(|disk| {
        let slow = [DiskKind::Sd, DiskKind::Emmc, DiskKind::UsbSsd];
        !disk.read_only && slow.contains(&disk.kind)
    });
    if !flash {
        return Vec::new();
    }
    // 1/64 and 1/16 of RAM; 8 and 32 MiB on a board with 512 MiB, 64 and 256 MiB from 4 GiB on.
    let background = (board.memory_bytes / 64).clamp(8 * MIB, 64 * MIB) / MIB * MIB;
    let knob = |limit: &str, bytes, why: &str| {
        let mut knob = sysctl(&format!("vm.{limit}_bytes"), Rule::Exact(bytes), why);
        if let Want::File { counterpart, .. } = &mut knob.want {
            *counterpart = Some(format!("proc/sys/vm/{limit}_ratio").into());
        }
        knob
    };
    vec![
        knob(
            "dirty_background",
            background,
            "flash is slow at writing: start early, so that a journal's fsync does not wait \
             behind a long queue",
        ),
        knob(
            "dirty",
            background * 4,
            "flash is slow at writing: a program that writes more than the disk takes is held \
             back before seconds of data are queued",
        ),
    ]
}

fn network(engines: &Engines) -> Vec<KnobPlan> {
    let somaxconn = if engines.redis {
        sysctl(
            "net.core.somaxconn",
            Rule::AtLeast(BACKLOG_REDIS),
            "the ceiling of every listen backlog: Redis warns below its 511; 65535 is the \
             platform's host setup",
        )
    } else {
        sysctl(
            "net.core.somaxconn",
            Rule::AtLeast(BACKLOG),
            "the ceiling of every listen backlog; Linux's default since 5.4",
        )
    };
    let syn = sysctl(
        "net.ipv4.tcp_max_syn_backlog",
        Rule::AtLeast(BACKLOG),
        "half-open connections of a burst of clients; the kernel's default shrinks with RAM \
         (kernel document ip-sysctl)",
    );
    vec![somaxconn, syn]
}

fn open_files(engines: &Engines) -> Option<KnobPlan> {
    let (limit, why) = [
        (
            engines.elasticsearch,
            65_535,
            "Elasticsearch's bootstrap check demands 65535 open files",
        ),
        (
            engines.mongod,
            64_000,
            "MongoDB recommends 64000 open files",
        ),
        (
            engines.redis,
            10_032,
            "Redis needs maxclients (10000) and 32 open files",
        ),
    ]
    .into_iter()
    .find_map(|(wanted, limit, why)| wanted.then_some((limit, why)))?;
    Some(KnobPlan {
        name: "nofile".to_owned(),
        why: why.to_owned(),
        want: Want::Nofile(limit),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
