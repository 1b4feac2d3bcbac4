//! What this machine is.
//!
//! Everything is read from `/proc`, `/sys` and the device tree under a given root, so that
//! captured trees of real boards test it. Nothing here writes.

use std::path::{Path, PathBuf};

use serde::Serialize;

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
    /// Enough of ARMv8.2 for official MongoDB builds (HWCAP `atomics`, `asimddp` or `fphp` …).
    pub armv8_2: bool,
    /// x86 AVX, which MongoDB ≥ 5 needs on x86.
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
    /// cgroup v2 with the memory controller; carries the mount point.
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
    /// Revision code of a Pi (new-style, as in the vendor's revision-code table).
    pub revision: Option<u32>,
    /// `MemTotal` in bytes.
    pub memory_bytes: u64,
    /// Online processors.
    pub cpus: usize,
    /// Features.
    pub cpu: CpuFeatures,
    /// Page size in bytes: 4096 or 16384.
    pub page_size: u64,
    /// Bits of a user virtual address; absent where it cannot be told.
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
    /// The wall clock is later than this program's build and the kernel says it is set.
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
    #[error("{} has an unexpected form: {found:?}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
}

impl Board {
    /// Reads the machine under `root` (`/`, or a captured tree).
    ///
    /// # Errors
    /// [`BoardError`] only for what every Linux has (memory, kernel release); everything else
    /// that is missing is reported as unknown.
    pub fn read(root: &Path) -> Result<Self, BoardError> {
        let _ = root;
        unimplemented!()
    }

    /// A made-up Raspberry Pi 4 with 4 GiB, for `--simulate`.
    pub fn simulated() -> Self {
        unimplemented!()
    }

    /// Whether this is any Raspberry Pi.
    pub fn is_pi(&self) -> bool {
        self.family != Family::Other
    }
}

impl Signals {
    /// Reads the signals under `root`; never fails, the unknown stays absent.
    pub fn read(root: &Path) -> Self {
        let _ = root;
        unimplemented!()
    }
}
