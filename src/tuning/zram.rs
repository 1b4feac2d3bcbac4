//! Swap compressed in RAM. Steps and files as in the kernel document `blockdev/zram`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rule::{offered, selected};
use super::{Kernel, KnobError};
use crate::units::ByteSize;

const CONTROL: &str = "sys/class/zram-control";
/// Above every swap on a disk, which gets a negative priority unless told otherwise.
const PRIORITY: &str = "100";
const MODPROBE_DEADLINE: Duration = Duration::from_secs(15);
const SWAPON_DEADLINE: Duration = Duration::from_secs(15);
/// Everything swapped out has to be decompressed first.
const SWAPOFF_DEADLINE: Duration = Duration::from_mins(1);

/// Whether this is the name of a zram device, such as `zram0`.
pub(super) fn is_device(name: &str) -> bool {
    name.strip_prefix("zram")
        .is_some_and(|id| !id.is_empty() && id.len() <= 9 && id.bytes().all(|b| b.is_ascii_digit()))
}

/// zram devices used as swap now, whoever made them.
pub(super) fn in_use(kernel: &dyn Kernel) -> Vec<String> {
    let swaps = kernel.read(Path::new("proc/swaps")).unwrap_or_default();
    swaps
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.strip_prefix("/dev/"))
        .filter(|name| is_device(name))
        .map(str::to_owned)
        .collect()
}

/// What a device looks like: size and algorithm.
pub(super) fn describe(kernel: &dyn Kernel, device: &str) -> String {
    let read = |name: &str| {
        let content = kernel.read(&attribute(device, name));
        content.unwrap_or_default()
    };
    let algorithm = read("comp_algorithm");
    let algorithm = selected(&algorithm).unwrap_or("unknown");
    let size = read("disksize");
    let size = match size.trim().parse() {
        Ok(bytes) => ByteSize(bytes).to_string(),
        Err(_) => "unknown".to_owned(),
    };
    format!("{device} {size} {algorithm}")
}

/// Makes a device of `bytes` and uses it as swap. `created` is told the name before the device
/// takes any memory, so that it can be kept for revert; if that fails the device is removed.
pub(super) fn create(
    kernel: &dyn Kernel,
    bytes: u64,
    algorithms: &[&str],
    created: &mut dyn FnMut(&str) -> Result<(), KnobError>,
) -> Result<String, KnobError> {
    let control = Path::new(CONTROL);
    if kernel.list(control).is_err() {
        kernel
            .run("modprobe", &["zram"], MODPROBE_DEADLINE)
            .map_err(|error| KnobError::Program {
                program: "modprobe zram".to_owned(),
                message: format!("this kernel has no zram loaded, and {error}"),
            })?;
    }
    // Reading hot_add makes a device even on a read-only /sys, where it could not be removed.
    let remove = control.join("hot_remove");
    kernel
        .writable(&remove)
        .map_err(|source| KnobError::Write {
            path: remove,
            source,
        })?;
    let add = control.join("hot_add");
    let id = kernel.read(&add).map_err(|source| KnobError::Read {
        path: add.clone(),
        source,
    })?;
    let device = format!("zram{}", id.trim());
    if !is_device(&device) {
        return Err(KnobError::Form {
            path: add,
            found: id,
        });
    }
    let started = created(&device).and_then(|()| start(kernel, &device, bytes, algorithms));
    if started.is_err() {
        // The first error tells more than that of the clean-up.
        let _ = remove_device(kernel, &device);
    }
    started.map(|()| device)
}

fn start(
    kernel: &dyn Kernel,
    device: &str,
    bytes: u64,
    algorithms: &[&str],
) -> Result<(), KnobError> {
    let path = attribute(device, "comp_algorithm");
    let offer = kernel.read(&path).map_err(|source| KnobError::Read {
        path: path.clone(),
        source,
    })?;
    // Some kernels list only algorithms already loaded; then their default stays.
    if let Some(best) = algorithms
        .iter()
        .find(|wish| offered(&offer).any(|word| word == **wish))
    {
        write(kernel, path, best)?;
    }
    let size = bytes.to_string();
    let path = attribute(device, "disksize");
    write(kernel, path.clone(), &size)?;
    let found = kernel.read(&path).unwrap_or_default();
    if found.trim() != size {
        return Err(KnobError::ReadBack {
            written: size,
            found: found.trim().to_owned(),
        });
    }
    let node = format!("/dev/{device}");
    kernel.run("mkswap", &[&node], SWAPON_DEADLINE)?;
    kernel.run("swapon", &["-p", PRIORITY, &node], SWAPON_DEADLINE)?;
    if in_use(kernel).iter().any(|name| name == device) {
        return Ok(());
    }
    Err(KnobError::ReadBack {
        written: format!("swapon {node}"),
        found: "no such line in /proc/swaps".to_owned(),
    })
}

/// Ends the use of a device as swap and removes it. One that is gone already is no error.
pub(super) fn remove(kernel: &dyn Kernel, device: &str) -> Result<(), KnobError> {
    if in_use(kernel).iter().any(|name| name == device) {
        let node = format!("/dev/{device}");
        kernel.run("swapoff", &[&node], SWAPOFF_DEADLINE)?;
    }
    if kernel.read(&attribute(device, "disksize")).is_err() {
        return Ok(());
    }
    remove_device(kernel, device)
}

fn remove_device(kernel: &dyn Kernel, device: &str) -> Result<(), KnobError> {
    let id = device.strip_prefix("zram").unwrap_or_default();
    write(kernel, Path::new(CONTROL).join("hot_remove"), id)
}

fn attribute(device: &str, name: &str) -> PathBuf {
    Path::new("sys/block").join(device).join(name)
}

fn write(kernel: &dyn Kernel, path: PathBuf, value: &str) -> Result<(), KnobError> {
    kernel
        .write(&path, value)
        .map_err(|source| KnobError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::SimulatedKernel;
    use super::*;
    use crate::units::MIB;

    fn make(kernel: &SimulatedKernel) -> Result<String, KnobError> {
        create(kernel, 512 * MIB, &["zstd", "lzo-rle"], &mut |_| Ok(()))
    }

    #[test]
    fn a_device_is_made_used_and_removed() {
        let kernel = SimulatedKernel::new();
        assert!(in_use(&kernel).is_empty());
        let device = make(&kernel).unwrap();
        assert_eq!(in_use(&kernel), [device.as_str()]);
        assert_eq!(describe(&kernel, &device), format!("{device} 512M zstd"));
        remove(&kernel, &device).unwrap();
        assert!(in_use(&kernel).is_empty());
        assert!(kernel.read(&attribute(&device, "disksize")).is_err());
        remove(&kernel, &device).unwrap();
    }

    #[test]
    fn an_algorithm_that_is_not_offered_is_not_asked_for() {
        let kernel = SimulatedKernel::new();
        kernel.offer_zram("[lzo-rle] lzo lz4");
        let device = make(&kernel).unwrap();
        assert!(describe(&kernel, &device).ends_with("lzo-rle"));
    }

    #[test]
    fn a_failure_on_the_way_leaves_no_device_behind() {
        let kernel = SimulatedKernel::new();
        kernel.fail_program("swapon", "swapon: Operation not permitted");
        let before = kernel.list(Path::new("sys/block")).ok();
        let error = make(&kernel).unwrap_err();
        assert!(error.to_string().contains("not permitted"), "{error}");
        assert_eq!(kernel.list(Path::new("sys/block")).ok(), before);
        let kernel = SimulatedKernel::new();
        let refuse = || KnobError::Unsaved("disk full".to_owned());
        let error = create(&kernel, MIB, &[], &mut |_| Err(refuse())).unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert_eq!(kernel.list(Path::new("sys/block")).ok(), before);
    }

    #[test]
    fn no_device_is_made_where_it_could_not_be_removed() {
        let kernel = SimulatedKernel::new();
        kernel.deny("sys/class/zram-control/hot_remove", Errno::EROFS);
        let before = kernel.list(Path::new("sys/block")).ok();
        let error = make(&kernel).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
        assert_eq!(kernel.list(Path::new("sys/block")).ok(), before);
    }

    #[test]
    fn a_missing_module_is_loaded_or_reported() {
        let kernel = SimulatedKernel::new();
        kernel.unload_zram(true);
        make(&kernel).unwrap();
        let kernel = SimulatedKernel::new();
        kernel.unload_zram(false);
        let error = make(&kernel).unwrap_err();
        assert!(error.to_string().contains("no zram"), "{error}");
    }

    #[test]
    fn only_zram_devices_are_taken_for_zram() {
        for (name, expected) in [
            ("zram0", true),
            ("zram12", true),
            ("zram", false),
            ("zram1x", false),
            ("sda", false),
            ("zram/../sda", false),
        ] {
            assert_eq!(is_device(name), expected, "{name}");
        }
    }
}
