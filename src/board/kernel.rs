//! Kernel release and memory, which every Linux reports.

use super::tree::Tree;
use super::{BoardError, Kernel};

impl Kernel {
    /// Reads a release such as `6.12.47+rpt-rpi-v8`; a patch number that is not there is 0.
    /// `None` when it does not begin with two numbers.
    pub fn from_release(release: &str) -> Option<Self> {
        let release = release.trim();
        let digits = |part: &str| -> Option<u32> {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..end].parse().ok()
        };
        let mut parts = release.splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor_text = parts.next()?;
        let minor = digits(minor_text)?;
        // In "7.3-rc1.2" the minor number already ends the version.
        let patch = if minor_text.bytes().all(|b| b.is_ascii_digit()) {
            parts.next().and_then(digits).unwrap_or(0)
        } else {
            0
        };
        Some(Self {
            release: release.to_owned(),
            version: (major, minor, patch),
        })
    }
}

/// The kernel's release, as `uname -r` prints it.
pub(super) fn read(tree: &Tree<'_>) -> Result<Kernel, BoardError> {
    const FILE: &str = "proc/sys/kernel/osrelease";
    let text = tree.must_read(FILE)?;
    let text = String::from_utf8_lossy(&text);
    Kernel::from_release(&text).ok_or_else(|| form(tree, FILE, &text))
}

/// `MemTotal` in bytes.
pub(super) fn memory(tree: &Tree<'_>) -> Result<u64, BoardError> {
    const FILE: &str = "proc/meminfo";
    let text = tree.must_read(FILE)?;
    let text = String::from_utf8_lossy(&text);
    mem_total(&text).ok_or_else(|| form(tree, FILE, &text))
}

/// `MemTotal` of a `/proc/meminfo`, whose `kB` are 1024 bytes (proc_meminfo(5)).
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).filter(|bytes| *bytes > 0)
}

fn form(tree: &Tree<'_>, file: &str, text: &str) -> BoardError {
    BoardError::Form {
        path: tree.path(file),
        found: text.trim().chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn releases_of_vendor_and_distribution_kernels_are_compared_by_number() {
        let version = |text: &str| Kernel::from_release(text).unwrap().version;
        assert_eq!(version("6.12.47+rpt-rpi-v8\n"), (6, 12, 47));
        assert_eq!(version("7.3.4+deb13-arm64"), (7, 3, 4));
        assert_eq!(version("6.19"), (6, 19, 0));
        assert_eq!(version("7.3-rc1.5"), (7, 3, 0));
        assert_eq!(version("6.1.0-25-arm64"), (6, 1, 0));
        for bad in ["", "six.one", "6", "6.", "-6.1"] {
            assert_eq!(Kernel::from_release(bad), None, "{bad}");
        }
    }

    #[test]
    fn memory_is_read_in_units_of_1024_bytes() {
        let text = "MemTotal:        3885372 kB\nMemFree:          100 kB\n";
        assert_eq!(mem_total(text), Some(3_885_372 * 1024));
        for bad in [
            "",
            "MemTotal: 12",
            "MemTotal: x kB",
            "MemTotal: 0 kB",
            "MemFree: 1 kB",
        ] {
            assert_eq!(mem_total(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_of_another_form_is_named_with_what_stands_there() {
        let dir = fixture::machine(&[("proc/sys/kernel/osrelease", "plan9\n")]);
        let error = read(&Tree::new(dir.path())).unwrap_err().to_string();
        assert!(error.contains("osrelease"), "{error}");
        assert!(error.contains("\"plan9\""), "{error}");
        assert!(error.contains("update Lucid"), "{error}");
    }

    proptest! {
        #[test]
        fn any_release_is_read_or_refused_without_panic(text in "\\PC*") {
            let _ = Kernel::from_release(&text);
        }

        #[test]
        fn any_meminfo_is_read_or_refused_without_panic(rest in "\\PC*") {
            let _ = mem_total(&format!("MemTotal:{rest}"));
        }
    }
}
