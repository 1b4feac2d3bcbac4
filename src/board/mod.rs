//! What this machine is.
//!
//! Everything is read from `/proc`, `/sys` and the device tree under a given root, so that
//! captured trees of real boards test it (`tests/boards`); the clock also asks
//! `/run/systemd/timesync`. Nothing here writes, and nothing asks the host that compiled it: the
//! architecture of a tree comes from the tree.
//!
//! The `rppal` crate is not used here: its `system` module knows a board only from fixed paths, which
//! no captured tree can stand in for.

mod cgroup;
mod cpu;
mod disks;
mod kernel;
mod model;
mod signals;
mod tree;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::status::BoardSummary;
use crate::units::{GIB, MIB};

/// The board's family, from the device tree's `compatible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Raspberry Pi Zero 2 W.
    Zero2W,
    /// Raspberry Pi 3 A+, B, B+ and Compute Module 3.
    Pi3,
    /// Raspberry Pi 4 B, 400 and Compute Module 4.
    Pi4,
    /// Raspberry Pi 5, 500 and Compute Module 5.
    Pi5,
    /// A Raspberry Pi that this version does not know.
    OtherPi,
    /// Any other machine.
    Other,
}

/// Instruction set features that engines ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuFeatures {
    /// `aarch64`, `x86_64`, …
    pub arch: &'static str,
    /// Large System Extensions (HWCAP `atomics`), mandatory in ARMv8.1.
    pub lse_atomics: bool,
    /// ARMv8.2-A, which official arm64 builds of MongoDB need from 5.0 on, and from 4.4.19 in
    /// the 4.4 series (MongoDB manual, production notes, "ARM64"; SERVER-71772). True when every
    /// feature that ARMv8.2-A demands and the kernel shows is there: HWCAP `atomics` and
    /// `asimdrdm` (mandatory since 8.1) and `dcpop` (mandatory since 8.2). The Cortex-A76 of a
    /// Pi 5 has them; the A53 and A72 before it have none.
    pub armv8_2: bool,
    /// x86 AVX, which MongoDB ≥ 5 needs on x86, usable under this kernel.
    pub avx: bool,
}

/// A kernel release, compared by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The whole text, such as `6.12.47+rpt-rpi-v8`.
    pub release: String,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
}

/// Whether memory limits can be put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum MemoryCgroup {
    /// cgroup v2 with the memory controller; carries the mount point as the mount table names it.
    Available(PathBuf),
    /// Not there; carries why and what to do (Raspberry Pi kernels need
    /// `cgroup_enable=memory` on the kernel command line).
    Missing(String),
}

/// What kind of device a disk is; decides scheduler, read-ahead and warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// SD card.
    Sd,
    /// Soldered eMMC.
    Emmc,
    /// SSD or stick on USB, not rotating.
    ///
    /// Many USB bridges hide what they carry and the kernel then says "rotating". Sticks call
    /// themselves removable and are told by that; an SSD behind such a bridge is reported as
    /// [`DiskKind::Rotating`], which costs speed, never data.
    UsbSsd,
    /// Rotating disk, on any bus.
    Rotating,
    /// NVMe SSD.
    Nvme,
    /// SATA SSD.
    SataSsd,
    /// virtio, as in a virtual machine.
    Virtual,
    /// None of these.
    Unknown,
}

/// One whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Kernel name, such as `mmcblk0`, `sda`, `nvme0n1`.
    pub name: String,
    /// Kind.
    pub kind: DiskKind,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Model as the device reports it.
    pub model: Option<String>,
    /// Write-protected.
    pub read_only: bool,
}

/// What does not change while the machine runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// `Raspberry Pi 4 Model B Rev 1.4` from the device tree, DMI name elsewhere.
    pub model: String,
    /// Family.
    pub family: Family,
    /// Revision code of a Pi (new-style, as in the vendor's revision-code table); absent on
    /// other machines and on the first boards, which have old-style codes.
    pub revision: Option<u32>,
    /// `MemTotal` in bytes: what the kernel has, less than what is soldered on.
    pub memory_bytes: u64,
    /// Online processors, at least one.
    pub cpus: usize,
    /// Features.
    pub cpu: CpuFeatures,
    /// Page size in bytes: 4096 or 16384 (a power of two up to 65536).
    pub page_size: u64,
    /// Bits of a user virtual address that a program gets without asking for more: 39, 47 or 48
    /// on a Pi, 47 on x86-64. Absent where it cannot be told.
    pub va_bits: Option<u32>,
    /// Kernel.
    pub kernel: Kernel,
    /// Memory cgroup.
    pub memory_cgroup: MemoryCgroup,
    /// Disks.
    pub disks: Vec<Disk>,
    /// True when made up by `--simulate`.
    pub simulated: bool,
}

/// What changes while the machine runs. Absent means that this board or kernel cannot tell,
/// which is never the same as "fine".
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Signals {
    /// SoC temperature in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Throttled or frequency-capped now.
    pub throttled: Option<bool>,
    /// Under-voltage now.
    pub undervoltage: Option<bool>,
    /// Revolutions a minute of the fan that the board controls.
    pub fan_rpm: Option<u32>,
    /// Whether the wall clock can be trusted: later than 2026-01-01, which an unset clock is
    /// not, and not known to be merely restored from a file (`Signals::read`).
    pub clock_set: bool,
}

/// A place that cannot be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A file that every Linux has is missing or unreadable.
    #[error("cannot read {}: {source}; is /proc mounted?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file has another form than documented.
    #[error("{} has an unexpected form: {found:?}; this kernel is not one that this version of \
             Lucid knows: boot the kernel of the image, or update Lucid", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What stands there, shortened.
        found: String,
    },
}

impl Board {
    /// Reads the machine under `root` (`/`, or a captured tree).
    ///
    /// # Errors
    /// [`BoardError`] only for what every Linux has (memory, page size, kernel release);
    /// everything else that is missing is reported as unknown.
    pub fn read(root: &Path) -> Result<Self, BoardError> {
        let tree = tree::Tree::new(root);
        let cpuinfo = tree.text("proc/cpuinfo").unwrap_or_default();
        let auxv = tree.must_read("proc/self/auxv")?;
        let cpu = cpu::features(&tree, &cpuinfo, &auxv);
        let identity = model::read(&tree, &cpuinfo, cpu.arch);
        Ok(Self {
            memory_bytes: kernel::memory(&tree)?,
            cpus: cpu::online(&tree, &cpuinfo),
            page_size: cpu::page_size(&auxv).ok_or_else(|| BoardError::Form {
                path: tree.path("proc/self/auxv"),
                found: "no AT_PAGESZ".to_owned(),
            })?,
            va_bits: cpu::va_bits(&tree.text("proc/self/maps").unwrap_or_default(), cpu.arch),
            kernel: kernel::read(&tree)?,
            memory_cgroup: cgroup::memory(&tree, identity.family != Family::Other),
            disks: disks::read(&tree),
            model: identity.model,
            family: identity.family,
            revision: identity.revision,
            cpu,
            simulated: false,
        })
    }

    /// A made-up Raspberry Pi 4 with 4 GiB under the image's kernel, for `--simulate`.
    ///
    /// Its memory cgroup is missing, so that a simulation never writes into the host's.
    pub fn simulated() -> Self {
        Self {
            model: "Raspberry Pi 4 Model B Rev 1.5".to_owned(),
            family: Family::Pi4,
            revision: Some(0x00c0_3115),
            // 4 GiB less what firmware and kernel keep.
            memory_bytes: 4 * GIB - 256 * MIB,
            cpus: 4,
            cpu: CpuFeatures {
                arch: "aarch64",
                lse_atomics: false,
                armv8_2: false,
                avx: false,
            },
            page_size: 4096,
            va_bits: Some(48),
            kernel: Kernel {
                release: "7.3.4+deb13-arm64".to_owned(),
                version: (7, 3, 4),
            },
            memory_cgroup: MemoryCgroup::Missing(
                "this board is simulated, so memory limits are planned but not put in force; \
                 start without --simulate to enforce them"
                    .to_owned(),
            ),
            disks: vec![
                Disk {
                    name: "mmcblk0".to_owned(),
                    kind: DiskKind::Sd,
                    size_bytes: 32_010_928_128,
                    model: Some("SC32G".to_owned()),
                    read_only: false,
                },
                Disk {
                    name: "sda".to_owned(),
                    kind: DiskKind::UsbSsd,
                    size_bytes: 500_107_862_016,
                    model: Some("Portable SSD".to_owned()),
                    read_only: false,
                },
            ],
            simulated: true,
        }
    }

    /// Whether this is any Raspberry Pi.
    pub fn is_pi(&self) -> bool {
        self.family != Family::Other
    }

    /// This board and its present signals as the status snapshot shows them.
    pub fn summary(&self, signals: &Signals) -> BoardSummary {
        let mut board = BoardSummary {
            model: self.model.clone(),
            memory_bytes: self.memory_bytes,
            page_size: self.page_size,
            temperature_celsius: None,
            throttled: None,
            undervoltage: None,
            fan_rpm: None,
            clock_set: false,
            simulated: self.simulated,
        };
        signals.show_in(&mut board);
        board
    }
}

impl Signals {
    /// Reads the signals under `root`; never fails, the unknown stays absent.
    ///
    /// The time itself is the system's. It counts as set when it is past 2026-01-01 and, where
    /// systemd-timesyncd runs, either that has synchronised since boot or the kernel took the
    /// time from a real-time clock that holds such a time itself. Without this second look a Pi
    /// that has no such clock would seem right after every boot, since systemd advances it to a
    /// remembered time.
    pub fn read(root: &Path) -> Self {
        signals::read_at(root, std::time::SystemTime::now())
    }

    /// Puts what is felt now into what the status shows of the board.
    pub fn show_in(&self, board: &mut BoardSummary) {
        board.temperature_celsius = self.temperature_celsius;
        board.throttled = self.throttled;
        board.undervoltage = self.undervoltage;
        board.fan_rpm = self.fan_rpm;
        board.clock_set = self.clock_set;
    }

    /// The kernel's alarm of the supply voltage under `root`, which can be waited for (`POLLPRI`);
    /// absent where the kernel has none.
    pub fn voltage_alarm(root: &Path) -> Option<PathBuf> {
        signals::voltage_alarm(root)
    }

    /// What [`Board::simulated`] feels: cool, well fed and on time.
    pub fn simulated() -> Self {
        Self {
            temperature_celsius: Some(48.0),
            throttled: Some(false),
            undervoltage: Some(false),
            fan_rpm: None,
            clock_set: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulated_board_says_so_and_cannot_pass_for_a_real_one() {
        let board = Board::simulated();
        let summary = board.summary(&Signals::simulated());
        assert!(board.simulated && summary.simulated && board.is_pi());
        assert!(board.memory_bytes > 3 * GIB && board.memory_bytes < 4 * GIB);
        let MemoryCgroup::Missing(reason) = board.memory_cgroup else {
            panic!("a simulation must not reach the real cgroups");
        };
        assert!(reason.contains("--simulate"), "{reason}");
    }

    #[test]
    fn the_summary_keeps_the_unknown_unknown() {
        let summary = Board::simulated().summary(&Signals::default());
        assert_eq!(summary.temperature_celsius, None);
        assert_eq!(summary.throttled, None);
        assert_eq!(summary.undervoltage, None);
        assert_eq!(summary.fan_rpm, None);
        assert!(!summary.clock_set);
    }

    #[test]
    fn an_empty_root_is_refused_with_the_path_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let error = Board::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("proc/self/auxv"), "{error}");
        assert!(error.contains("is /proc mounted?"), "{error}");
        assert_eq!(
            Signals {
                clock_set: false,
                ..Signals::read(dir.path())
            },
            Signals::default()
        );
    }
}
