//! Growing the data partition to the end of its medium.
//!
//! It is the last logical partition of an MBR, since boards before the Pi 4 start from nothing
//! else. The extended partition around it is grown first, each with a write of its own, so that a
//! power cut in between leaves a table that is valid and that the next start goes on from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::VolumeError;
use super::tool;
use crate::fsx::{self, FsError};

const LIMIT: Duration = Duration::from_secs(30);
/// Less than this behind the partition is alignment, not space (sectors of 512 bytes: 8 MiB).
const LEAST_GAIN: u64 = 16 * 1024;
/// An MBR counts in 32 bits.
const LAST_SECTOR: u64 = u32::MAX as u64;

/// `sfdisk --json`.
#[derive(Debug, Deserialize)]
struct Document {
    partitiontable: Table,
}

#[derive(Debug, Deserialize)]
struct Table {
    label: String,
    #[serde(default)]
    sectorsize: Option<u64>,
    #[serde(default)]
    partitions: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    node: PathBuf,
    start: u64,
    size: u64,
    #[serde(rename = "type")]
    kind: String,
}

impl Entry {
    fn end(&self) -> u64 {
        self.start + self.size
    }

    /// The types of extended partitions: CHS, LBA, Linux.
    fn is_extended(&self) -> bool {
        matches!(self.kind.as_str(), "5" | "f" | "85")
    }
}

/// One entry of the table with its new size, in sectors.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    number: u32,
    start: u64,
    size: u64,
}

/// What has to change so that partition `number` reaches the end of a medium of `sectors`.
fn steps(table: &Table, number: u32, sectors: u64) -> Result<Vec<Step>, String> {
    if table.label != "dos" || table.sectorsize.is_some_and(|size| size != 512) {
        return Err(format!(
            "a {} table is not one of this image; only MBR with sectors of 512 bytes is grown",
            table.label
        ));
    }
    let index = |entry: &Entry| -> Option<u32> {
        let node = entry.node.to_string_lossy().into_owned();
        let digits = node.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        node[digits..].parse().ok()
    };
    let entry = table
        .partitions
        .iter()
        .find(|entry| index(entry) == Some(number))
        .ok_or_else(|| format!("there is no partition {number}"))?;
    let end = sectors.min(LAST_SECTOR);
    if end < entry.end() + LEAST_GAIN {
        return Ok(Vec::new());
    }
    let around = table
        .partitions
        .iter()
        .find(|e| e.is_extended() && e.start < entry.start && entry.end() <= e.end());
    let others = table
        .partitions
        .iter()
        .filter(|e| around.is_none_or(|a| a.node != e.node));
    if let Some(behind) = others.into_iter().find(|e| e.start >= entry.end()) {
        return Err(format!(
            "{} lies behind partition {number}",
            behind.node.display()
        ));
    }
    let grown = |entry: &Entry, number: u32| Step {
        number,
        start: entry.start,
        size: end - entry.start,
    };
    let mut steps = Vec::new();
    if let Some((around, number)) = around.and_then(|a| Some((a, index(a)?))) {
        steps.push(grown(around, number));
    }
    steps.push(grown(entry, number));
    Ok(steps)
}

/// The medium of a partition and its number, by sysfs.
fn medium(partition: &Path) -> Result<(PathBuf, u32, u64), VolumeError> {
    let name = partition.file_name().unwrap_or_default();
    let link = Path::new("/sys/class/block").join(name);
    let number = |file: &Path| -> Result<u64, VolumeError> {
        let text = fsx::read_text(file, 64)?;
        text.trim().parse().map_err(|_| VolumeError::Answer {
            command: file.display().to_string(),
            problem: format!("\"{}\" is no number", text.trim()),
        })
    };
    let dir = std::fs::canonicalize(&link).map_err(FsError::wrap("find", &link))?;
    let disk = dir.parent().unwrap_or(&dir).to_path_buf();
    let index = u32::try_from(number(&dir.join("partition"))?).unwrap_or(0);
    let sectors = number(&disk.join("size"))?;
    let node = Path::new("/dev").join(disk.file_name().unwrap_or_default());
    Ok((node, index, sectors))
}

/// Grows `partition` (its node, links followed) to the end of its medium. Says whether it grew.
/// Doing it again changes nothing.
pub(super) fn grow(partition: &Path) -> Result<bool, VolumeError> {
    let (disk, number, sectors) = medium(partition)?;
    let disk_name = disk.to_string_lossy().into_owned();
    let answer = tool::run("sfdisk", &["--json", &disk_name], None, LIMIT)?.success()?;
    let document: Document = serde_json::from_str(&answer.stdout)
        .map_err(|error| answer.unexpected(error.to_string()))?;
    let steps = steps(&document.partitiontable, number, sectors)
        .map_err(|problem| answer.unexpected(problem))?;
    for step in &steps {
        let number = step.number.to_string();
        let line = format!("start={}, size={}\n", step.start, step.size);
        // The table is in use: the kernel is told of the one partition afterwards.
        let options = ["--force", "--no-reread", "--no-tell-kernel", "-N"];
        let args: Vec<&str> = options
            .into_iter()
            .chain([number.as_str(), disk_name.as_str()])
            .collect();
        tool::run("sfdisk", &args, Some(&line), LIMIT)?.success()?;
    }
    if steps.is_empty() {
        return Ok(false);
    }
    let number = number.to_string();
    let args = ["--update", "--nr", number.as_str(), disk_name.as_str()];
    tool::run("partx", &args, None, LIMIT)?.success()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image's own table, in sectors.
    fn table() -> Table {
        let text = r#"{"partitiontable": {"label": "dos", "id": "0x1a2b3c4d", "device": "/dev/mmcblk0",
            "unit": "sectors", "sectorsize": 512, "partitions": [
            {"node": "/dev/mmcblk0p1", "start": 8192, "size": 1048576, "type": "c", "bootable": true},
            {"node": "/dev/mmcblk0p2", "start": 1056768, "size": 1048576, "type": "83"},
            {"node": "/dev/mmcblk0p3", "start": 2105344, "size": 1048576, "type": "83"},
            {"node": "/dev/mmcblk0p4", "start": 3153920, "size": 299008, "type": "f"},
            {"node": "/dev/mmcblk0p5", "start": 3155968, "size": 262144, "type": "83"},
            {"node": "/dev/mmcblk0p6", "start": 3420160, "size": 32768, "type": "83"}]}}"#;
        serde_json::from_str::<Document>(text)
            .unwrap()
            .partitiontable
    }

    #[test]
    fn the_extended_partition_grows_before_the_one_inside_it() {
        let steps = steps(&table(), 6, 62_500_000).unwrap();
        assert_eq!(
            steps,
            [
                Step {
                    number: 4,
                    start: 3_153_920,
                    size: 62_500_000 - 3_153_920
                },
                Step {
                    number: 6,
                    start: 3_420_160,
                    size: 62_500_000 - 3_420_160
                },
            ]
        );
    }

    #[test]
    fn a_grown_table_is_left_alone() {
        let mut grown = table();
        for step in steps(&grown, 6, 62_500_000).unwrap() {
            grown.partitions[step.number as usize - 1].size = step.size;
        }
        assert_eq!(steps(&grown, 6, 62_500_000).unwrap(), []);
        // A power cut between the two writes: the second is done at the next start.
        let mut half = table();
        half.partitions[3].size = 62_500_000 - 3_153_920;
        let again = steps(&half, 6, 62_500_000).unwrap();
        assert_eq!(again.last().unwrap().size, 62_500_000 - 3_420_160);
    }

    #[test]
    fn a_medium_of_more_than_two_tebibytes_is_used_as_far_as_an_mbr_counts() {
        let steps = steps(&table(), 6, 8_000_000_000).unwrap();
        let last = steps.last().unwrap();
        assert_eq!(last.start + last.size, LAST_SECTOR);
    }

    #[test]
    fn only_the_last_partition_of_an_mbr_grows() {
        let table_now = table();
        let error = steps(&table_now, 2, 62_500_000).unwrap_err();
        assert!(error.contains("behind partition 2"), "{error}");
        assert!(steps(&table_now, 7, 62_500_000).is_err());
        let mut gpt = table();
        gpt.label = "gpt".to_owned();
        assert!(steps(&gpt, 6, 62_500_000).unwrap_err().contains("gpt"));
    }
}
