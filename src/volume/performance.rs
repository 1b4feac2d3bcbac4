//! How fast a volume's disk is, and how much of that is the volume's own: counters of the kernel,
//! read twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::error::OpError;
use super::manager::Manager;
use super::medium::disk_of;
use super::mounts;
use super::name::Name;
use crate::fsx;

const MAX_BYTES: u64 = 1 << 20;

/// Counters since the start of the board (kernel doc, block/stat.rst); times in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Disk {
    reads: u64,
    read_bytes: u64,
    read_time: u64,
    writes: u64,
    written_bytes: u64,
    write_time: u64,
    busy: u64,
}

/// What one datastore's processes caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Own {
    reads: Option<u64>,
    read_bytes: u64,
    writes: Option<u64>,
    written_bytes: u64,
    source: Option<Source>,
}

/// Where the figures of a volume are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The datastore's cgroup (`io.stat`), with what the kernel wrote for it later.
    Cgroup,
    /// Its process (`/proc/PID/io`), without operations.
    Process,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    disk: Disk,
    own: Own,
}

/// A second's worth of one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Reads a second; absent where only bytes are counted.
    pub reads_per_second: Option<f64>,
    /// Writes a second; absent where only bytes are counted.
    pub writes_per_second: Option<f64>,
    /// Bytes read a second.
    pub read_bytes_per_second: f64,
    /// Bytes written a second.
    pub written_bytes_per_second: f64,
}

/// A volume's performance over some seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Performance {
    /// Seconds that were watched.
    pub seconds: f64,
    /// The disk that the volume lies on.
    pub device: String,
    /// Everything on that disk.
    pub disk: Rates,
    /// Milliseconds that a read took; absent where there was none.
    pub read_milliseconds: Option<f64>,
    /// Milliseconds that a write took; absent where there was none.
    pub write_milliseconds: Option<f64>,
    /// Percent of the time that the disk was busy.
    pub busy_percent: f64,
    /// What the volume's datastore caused; absent where nothing tells.
    pub own: Option<Rates>,
    /// Where that is from.
    pub source: Option<Source>,
}

fn disk(stat: &str) -> Option<Disk> {
    let numbers: Vec<u64> = stat
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let at = |index: usize| numbers.get(index).copied();
    // Sectors are of 512 bytes, whatever the disk has.
    Some(Disk {
        reads: at(0)?,
        read_bytes: at(2)? * 512,
        read_time: at(3)?,
        writes: at(4)?,
        written_bytes: at(6)? * 512,
        write_time: at(7)?,
        busy: at(9)?,
    })
}

/// `io.stat` of cgroup v2: a line a device, `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …`.
fn io_stat(text: &str, device: &str) -> Own {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
    let get = |key: &str| {
        let mut words = line.unwrap_or_default().split(' ');
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        value.unwrap_or(0)
    };
    Own {
        reads: Some(get("rios")),
        read_bytes: get("rbytes"),
        writes: Some(get("wios")),
        written_bytes: get("wbytes"),
        source: Some(Source::Cgroup),
    }
}

/// What `pid` caused at the disk with this number; nothing where the kernel does not tell.
fn own(pid: i32, device: &str) -> Own {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let read = |path: &Path| fsx::read_text(path, MAX_BYTES).ok();
    let cgroup = read(&proc.join("cgroup")).and_then(|text| {
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))?
            .to_owned();
        let now = mounts::all();
        let mount = now.iter().find(|mount| mount.fs_type == "cgroup2")?;
        // The engine's own cgroup lies below the supervisor's; the root counts nothing.
        (!path.is_empty()).then(|| mount.mount_point.join(path))
    });
    if let Some(text) = cgroup.and_then(|dir| read(&dir.join("io.stat"))) {
        return io_stat(&text, device);
    }
    let Some(text) = read(&proc.join("io")) else {
        return Own::default();
    };
    let get = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.parse().ok())
    };
    match (get("read_bytes"), get("write_bytes")) {
        (Some(read_bytes), Some(written_bytes)) => Own {
            read_bytes,
            written_bytes,
            source: Some(Source::Process),
            ..Own::default()
        },
        _ => Own::default(),
    }
}

/// The difference of two moments.
fn rates(seconds: f64, reads: Option<u64>, read: u64, writes: Option<u64>, written: u64) -> Rates {
    let per_second = |count: u64| count as f64 / seconds;
    Rates {
        reads_per_second: reads.map(per_second),
        writes_per_second: writes.map(per_second),
        read_bytes_per_second: per_second(read),
        written_bytes_per_second: per_second(written),
    }
}

impl Counters {
    /// What happened between two moments, on `device`.
    pub fn since(&self, before: &Self, span: Duration, device: String) -> Performance {
        let seconds = span.as_secs_f64().max(0.001);
        let (now, then) = (self.disk, before.disk);
        let less = u64::saturating_sub;
        let mean = |time: u64, count: u64| (count > 0).then(|| time as f64 / count as f64);
        let (reads, writes) = (less(now.reads, then.reads), less(now.writes, then.writes));
        let (mine, mine_then) = (self.own, before.own);
        let counted = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(a, b)| less(a, b));
        // An engine that was started anew in between counts from nothing.
        let own = (mine.source.is_some() && mine.source == mine_then.source).then(|| {
            rates(
                seconds,
                counted(mine.reads, mine_then.reads),
                less(mine.read_bytes, mine_then.read_bytes),
                counted(mine.writes, mine_then.writes),
                less(mine.written_bytes, mine_then.written_bytes),
            )
        });
        Performance {
            seconds,
            device,
            disk: rates(
                seconds,
                Some(reads),
                less(now.read_bytes, then.read_bytes),
                Some(writes),
                less(now.written_bytes, then.written_bytes),
            ),
            read_milliseconds: mean(less(now.read_time, then.read_time), reads),
            write_milliseconds: mean(less(now.write_time, then.write_time), writes),
            busy_percent: (less(now.busy, then.busy) as f64 / seconds / 10.0).min(100.0),
            source: own.and(mine.source),
            own,
        }
    }
}

impl Manager {
    /// Counters of the disk that a volume lies on, and of the process `pid` that uses it. Answers
    /// the disk's name with them.
    ///
    /// # Errors
    /// [`OpError::Unknown`]; [`OpError::Refused`] where the file system lies on no disk.
    pub fn counters(&self, name: &Name, pid: Option<i32>) -> Result<(String, Counters), OpError> {
        self.entry(name)?;
        let root = self.root_of(name);
        let sys = Path::new("/sys");
        let no_disk = || {
            OpError::Refused(format!(
                "{} lies on no disk that the kernel counts for",
                root.display()
            ))
        };
        // The nearest mount above: where there is no pool, the directory is no mount itself.
        let now = mounts::all();
        let mount = root
            .ancestors()
            .find_map(|dir| mounts::topmost(&now, dir))
            .ok_or_else(no_disk)?;
        let source = mount.mount_source.as_deref().ok_or_else(no_disk)?;
        let node = std::fs::canonicalize(source).map_err(|_| no_disk())?;
        let device = disk_of(sys, &node).ok_or_else(no_disk)?;
        let dir = sys.join("class/block").join(&device);
        let disk = fsx::read_value(&dir.join("stat"))
            .ok()
            .and_then(|stat| disk(&stat))
            .ok_or_else(no_disk)?;
        let number = fsx::read_value(&dir.join("dev")).map_err(|_| no_disk())?;
        let own = pid.map_or_else(Own::default, |pid| own(pid, &number));
        Ok((device, Counters { disk, own }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_read_by_their_place_and_name() {
        let stat = "10 1 80 40 20 2 160 100 0 70 140 0 0 0 0 5 3";
        let disk = disk(stat).unwrap();
        assert_eq!(
            (disk.reads, disk.read_bytes, disk.read_time),
            (10, 40_960, 40)
        );
        assert_eq!(
            (disk.writes, disk.written_bytes, disk.write_time),
            (20, 81_920, 100)
        );
        assert_eq!(disk.busy, 70);
        assert!(super::disk("1 2 3").is_none());
        let text = "7:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:0 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0\n";
        let own = io_stat(text, "8:0");
        assert_eq!((own.read_bytes, own.written_bytes), (512, 1024));
        assert_eq!((own.reads, own.writes), (Some(1), Some(2)));
        assert_eq!(io_stat(text, "8:16").read_bytes, 0);
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let at = |count: u64, source| Counters {
            disk: Disk {
                reads: count,
                read_bytes: count * 4096,
                read_time: count * 2,
                busy: count * 10,
                ..Disk::default()
            },
            own: Own {
                written_bytes: count * 100,
                source,
                ..Own::default()
            },
        };
        let process = Some(Source::Process);
        let seen =
            at(300, process).since(&at(100, process), Duration::from_secs(2), "sda".to_owned());
        assert_eq!(seen.disk.reads_per_second, Some(100.0));
        assert!((seen.disk.read_bytes_per_second - 409_600.0).abs() < 0.1);
        assert_eq!(
            (seen.read_milliseconds, seen.write_milliseconds),
            (Some(2.0), None)
        );
        assert!((seen.busy_percent - 100.0).abs() < 0.1);
        let own = seen.own.unwrap();
        assert_eq!(
            (own.written_bytes_per_second, own.writes_per_second),
            (10_000.0, None)
        );
        let other =
            at(300, process).since(&at(100, None), Duration::from_secs(2), "sda".to_owned());
        assert_eq!(
            other.own, None,
            "an engine that was not there before tells nothing"
        );
    }
}
