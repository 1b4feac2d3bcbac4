//! A machine made of memory, for unit tests and `--simulate`. It follows the kernel in what
//! matters to tuning: choices in brackets, refused values, limits in bytes or in percent, zram.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::rule::offered;
use super::{Kernel, KnobError};
use crate::board::Board;

/// A simulated machine; clones are the same machine.
#[derive(Debug, Clone)]
pub struct SimulatedKernel {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct Machine {
    files: BTreeMap<PathBuf, String>,
    denied: BTreeMap<PathBuf, Errno>,
    failing: BTreeMap<String, String>,
    zram_offer: String,
    module_loadable: bool,
    writes: usize,
}

/// A recent kernel's defaults, without disks.
const DEFAULTS: &[(&str, &str)] = &[
    (
        "proc/sys/kernel/random/boot_id",
        "11111111-2222-3333-4444-555555555555",
    ),
    ("proc/sys/vm/max_map_count", "65530"),
    ("proc/sys/vm/overcommit_memory", "0"),
    ("proc/sys/vm/swappiness", "60"),
    ("proc/sys/vm/dirty_background_bytes", "0"),
    ("proc/sys/vm/dirty_background_ratio", "10"),
    ("proc/sys/vm/dirty_bytes", "0"),
    ("proc/sys/vm/dirty_ratio", "20"),
    ("proc/sys/net/core/somaxconn", "4096"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512"),
    ("proc/sys/fs/nr_open", "1048576"),
    (
        "proc/self/limits",
        "Max open files            1024                 524288               files",
    ),
    ("proc/self/status", "CapEff:\t000001ffffffffff"),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "[always] madvise never",
    ),
    (
        "sys/kernel/mm/transparent_hugepage/defrag",
        "always defer defer+madvise [madvise] never",
    ),
    (
        "sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none",
        "511",
    ),
    (SWAPS, "Filename Type Size Used Priority"),
];
const SWAPS: &str = "proc/swaps";
const HOT_ADD: &str = "sys/class/zram-control/hot_add";
const HOT_REMOVE: &str = "sys/class/zram-control/hot_remove";

impl SimulatedKernel {
    /// A machine without disks.
    pub fn new() -> Self {
        let mut machine = Machine {
            files: DEFAULTS
                .iter()
                .map(|(path, value)| (path.into(), (*value).to_owned()))
                .collect(),
            denied: BTreeMap::new(),
            failing: BTreeMap::new(),
            zram_offer: "[lzo-rle] lzo lz4 zstd".to_owned(),
            module_loadable: true,
            writes: 0,
        };
        machine.load_zram();
        Self {
            machine: Arc::new(Mutex::new(machine)),
        }
    }

    /// A machine with the disks of `board`.
    pub fn for_board(board: &Board) -> Self {
        let kernel = Self::new();
        for disk in &board.disks {
            let queue = format!("sys/block/{}/queue", disk.name);
            kernel.set(&format!("{queue}/read_ahead_kb"), "128");
            kernel.set(&format!("{queue}/scheduler"), "[none] mq-deadline bfq");
        }
        kernel
    }

    /// Puts a file there, or changes it as another program would.
    pub fn set(&self, path: &str, content: &str) {
        self.lock().files.insert(path.into(), content.to_owned());
    }

    /// The content of a file, as it stands.
    pub fn get(&self, path: &str) -> Option<String> {
        self.lock().files.get(Path::new(path)).cloned()
    }

    /// Takes a file away, as an unplugged disk or another kernel would.
    pub fn remove(&self, path: &str) {
        self.lock().files.remove(Path::new(path));
    }

    /// Lets writes to a file, or to all files of a directory, fail.
    pub fn deny(&self, path: &str, errno: Errno) {
        self.lock().denied.insert(path.into(), errno);
    }

    /// Lets writes through again.
    pub fn allow(&self) {
        self.lock().denied.clear();
    }

    /// Lets a program fail with this message.
    pub fn fail_program(&self, program: &str, message: &str) {
        self.lock()
            .failing
            .insert(program.to_owned(), message.to_owned());
    }

    /// Lets a program work again.
    pub fn mend_program(&self, program: &str) {
        self.lock().failing.remove(program);
    }

    /// The `comp_algorithm` of zram devices made from now on.
    pub fn offer_zram(&self, algorithms: &str) {
        algorithms.clone_into(&mut self.lock().zram_offer);
    }

    /// Takes the zram module away; `loadable` says whether `modprobe` brings it back.
    pub fn unload_zram(&self, loadable: bool) {
        let mut machine = self.lock();
        machine.module_loadable = loadable;
        machine.files.remove(Path::new(HOT_ADD));
        machine.files.remove(Path::new(HOT_REMOVE));
    }

    /// Writes that the kernel took since the start.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimulatedKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    fn load_zram(&mut self) {
        self.files.insert(HOT_ADD.into(), String::new());
        self.files.insert(HOT_REMOVE.into(), String::new());
    }

    fn has(&self, directory: &Path) -> bool {
        self.files.keys().any(|path| path.starts_with(directory))
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        if !self.files.contains_key(path) {
            return Err(Errno::ENOENT.into());
        }
        let denied = self.denied.iter().find(|(dir, _)| path.starts_with(dir));
        denied.map_or(Ok(()), |(_, errno)| Err((*errno).into()))
    }

    fn add_zram(&mut self) -> String {
        let free = (0..64).find(|id| !self.has(Path::new(&format!("sys/block/zram{id}"))));
        let id = free.unwrap_or(0);
        let at = |name: &str| PathBuf::from(format!("sys/block/zram{id}/{name}"));
        self.files
            .insert(at("comp_algorithm"), self.zram_offer.clone());
        self.files.insert(at("disksize"), "0".to_owned());
        id.to_string()
    }

    fn remove_zram(&mut self, id: &str) -> io::Result<()> {
        let directory = PathBuf::from(format!("sys/block/zram{id}"));
        if !self.has(&directory) {
            return Err(Errno::ENODEV.into());
        }
        if self.swaps().contains(&format!("/dev/zram{id} ")) {
            return Err(Errno::EBUSY.into());
        }
        self.files.retain(|path, _| !path.starts_with(&directory));
        Ok(())
    }

    fn swaps(&self) -> String {
        let swaps = self.files.get(Path::new(SWAPS));
        swaps.cloned().unwrap_or_default()
    }

    /// Stores a value as the kernel would, or refuses it.
    fn store(&mut self, path: &Path, value: &str) -> io::Result<()> {
        let value = value.trim();
        let old = self.files.get(path).cloned().unwrap_or_default();
        let refused = || io::Error::from(Errno::EINVAL);
        if old.contains('[') {
            if !offered(&old).any(|word| word == value) {
                return Err(refused());
            }
            let words = offered(&old).map(|word| {
                if word == value {
                    format!("[{word}]")
                } else {
                    word.to_owned()
                }
            });
            let line = words.collect::<Vec<_>>().join(" ");
            self.files.insert(path.into(), line);
            return Ok(());
        }
        let number: u64 = value.parse().map_err(|_| refused())?;
        let name = path.file_name().and_then(|name| name.to_str());
        let (low, high, other) = match name.unwrap_or_default() {
            "swappiness" => (0, 200, None),
            "overcommit_memory" => (0, 2, None),
            // Two pages; 0 cannot be written.
            "dirty_bytes" => (8192, u64::MAX, Some("dirty_ratio")),
            "dirty_background_bytes" => (1, u64::MAX, Some("dirty_background_ratio")),
            "dirty_ratio" => (0, 100, Some("dirty_bytes")),
            "dirty_background_ratio" => (0, 100, Some("dirty_background_bytes")),
            _ => (0, u64::MAX, None),
        };
        if !(low..=high).contains(&number) {
            return Err(refused());
        }
        self.files.insert(path.into(), number.to_string());
        if let Some(other) = other {
            self.files
                .insert(path.with_file_name(other), "0".to_owned());
        }
        Ok(())
    }

    fn program(&mut self, program: &str, device: &str) -> Result<(), String> {
        let mut swaps = self.swaps();
        let line = format!("\n{device} partition 0 0 100");
        match program {
            "modprobe" if !self.module_loadable => {
                return Err("Module zram not found".to_owned());
            }
            "modprobe" => self.load_zram(),
            "swapon" => swaps.push_str(&line),
            "swapoff" => swaps = swaps.replace(&line, ""),
            "mkswap" => {}
            _ => return Err("it is not installed".to_owned()),
        }
        self.files.insert(SWAPS.into(), swaps);
        Ok(())
    }
}

impl Kernel for SimulatedKernel {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut machine = self.lock();
        if path == Path::new(HOT_ADD) && machine.files.contains_key(path) {
            return Ok(machine.add_zram());
        }
        let content = machine.files.get(path).map(|text| format!("{text}\n"));
        content.ok_or_else(|| Errno::ENOENT.into())
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let mut machine = self.lock();
        machine.may_write(path)?;
        if path == Path::new(HOT_REMOVE) {
            machine.remove_zram(value)?;
        } else {
            machine.store(path, value)?;
        }
        machine.writes += 1;
        Ok(())
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        self.lock().may_write(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let machine = self.lock();
        let mut names: Vec<String> = machine
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(path).ok()?.components().next())
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        if names.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        Ok(names)
    }

    fn run(&self, program: &str, args: &[&str], _: Duration) -> Result<(), KnobError> {
        let mut machine = self.lock();
        let device = args.last().copied().unwrap_or_default();
        let said = machine.failing.get(program).cloned();
        said.map_or_else(|| machine.program(program, device), Err)
            .map_err(|message| KnobError::Program {
                program: program.to_owned(),
                message,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::selected;
    use super::*;

    #[test]
    fn a_choice_takes_only_what_it_offers() {
        let kernel = SimulatedKernel::new();
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        kernel.write(Path::new(path), "never").unwrap();
        assert_eq!(
            kernel.get(path).as_deref().and_then(selected),
            Some("never")
        );
        assert!(kernel.write(Path::new(path), "sometimes").is_err());
    }

    #[test]
    fn limits_in_bytes_and_in_percent_exclude_each_other() {
        let kernel = SimulatedKernel::new();
        let bytes = "proc/sys/vm/dirty_bytes";
        let ratio = "proc/sys/vm/dirty_ratio";
        assert!(kernel.write(Path::new(bytes), "0").is_err());
        kernel.write(Path::new(bytes), "33554432").unwrap();
        assert_eq!(kernel.get(ratio).as_deref(), Some("0"));
        kernel.write(Path::new(ratio), "20").unwrap();
        assert_eq!(kernel.get(bytes).as_deref(), Some("0"));
    }
}
