//! Whether memory limits can be put in force.

use std::path::PathBuf;

use super::MemoryCgroup;
use super::tree::Tree;

/// One line of a mount table.
#[derive(Debug, PartialEq)]
struct Mount {
    point: String,
    kind: String,
    options: String,
}

/// Looks for a cgroup v2 tree whose top offers the memory controller
/// (`Documentation/admin-guide/cgroup-v2.rst`), and says why there is none.
pub(super) fn memory(tree: &Tree<'_>, is_pi: bool) -> MemoryCgroup {
    let table = tree
        .text("proc/self/mounts")
        .or_else(|| tree.text("proc/mounts"))
        .unwrap_or_default();
    let mounts = mounts(&table);
    let mut unified = mounts.iter().filter(|m| m.kind == "cgroup2");
    let found = unified.find(|mount| {
        tree.text(&format!("{}/cgroup.controllers", mount.point))
            .is_some_and(|list| list.split_whitespace().any(|c| c == "memory"))
    });
    if let Some(mount) = found {
        return MemoryCgroup::Available(PathBuf::from(&mount.point));
    }
    let cmdline = tree.text("proc/cmdline").unwrap_or_default();
    MemoryCgroup::Missing(reason(&mounts, &cmdline, is_pi))
}

/// Why the memory controller is missing, and the way out.
fn reason(mounts: &[Mount], cmdline: &str, is_pi: bool) -> String {
    let says = |key: &str| {
        cmdline
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .any(|list| list.split(',').any(|name| name == "memory"))
    };
    let first_version = mounts
        .iter()
        .find(|m| m.kind == "cgroup" && m.options.split(',').any(|o| o == "memory"));
    let disabled = says("cgroup_disable");
    let enabled = says("cgroup_enable");
    if let Some(mount) = first_version {
        format!(
            "cgroup v1 holds the memory controller (mounted on {}), so cgroup v2 has none; add \
             cgroup_no_v1=memory to the kernel command line and restart",
            mount.point
        )
    } else if disabled && enabled {
        "the kernel command line says both cgroup_disable=memory and cgroup_enable=memory and \
         this kernel heeds the first; update the kernel, or remove cgroup_disable=memory"
            .to_owned()
    } else if is_pi && disabled {
        "the kernel command line says cgroup_disable=memory, which Raspberry Pi's device tree adds; \
         add cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt and restart"
            .to_owned()
    } else if disabled {
        "the kernel command line says cgroup_disable=memory; remove it there and restart".to_owned()
    } else if !mounts.iter().any(|m| m.kind == "cgroup2") {
        "no cgroup v2 tree is mounted; run under systemd, or mount one: \
         mount -t cgroup2 none /sys/fs/cgroup"
            .to_owned()
    } else if is_pi && !enabled {
        "the kernel offers no memory controller, and Raspberry Pi kernels leave it off unless \
         told; add cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt and restart"
            .to_owned()
    } else {
        "the kernel offers no memory controller in cgroup v2; boot a kernel built with \
         CONFIG_MEMCG, or, in a container, delegate the controller to it"
            .to_owned()
    }
}

/// The lines of a mount table; lines of another form are passed over.
fn mounts(table: &str) -> Vec<Mount> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            Some(Mount {
                point: unescape(fields.next()?),
                kind: fields.next()?.to_owned(),
                options: fields.next()?.to_owned(),
            })
        })
        .collect()
}

/// Undoes the octal escapes for blank, tab, newline and backslash (proc_pid_mounts(5)).
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture;
    use super::*;
    use proptest::prelude::*;

    const UNIFIED: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n";
    const HYBRID: &str = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                          cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                          cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    fn machine(table: &str, cmdline: &str, controllers: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = fixture::machine(&[("proc/mounts", table), ("proc/cmdline", cmdline)]);
        for (point, list) in controllers {
            fixture::add(
                dir.path(),
                &[(&format!("{point}/cgroup.controllers"), list)],
            );
        }
        dir
    }

    fn missing(table: &str, cmdline: &str, is_pi: bool) -> String {
        let dir = machine(table, cmdline, &[("sys/fs/cgroup", "cpuset cpu io pids")]);
        match memory(&Tree::new(dir.path()), is_pi) {
            MemoryCgroup::Missing(reason) => reason,
            MemoryCgroup::Available(point) => panic!("found at {}", point.display()),
        }
    }

    #[test]
    fn the_tree_that_has_the_controller_is_taken() {
        let table = "none /a\\040b cgroup2 rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let dir = machine(
            table,
            "",
            &[("a b", "hugetlb"), ("sys/fs/cgroup", "cpu io memory pids")],
        );
        let wanted = MemoryCgroup::Available(PathBuf::from("/sys/fs/cgroup"));
        assert_eq!(memory(&Tree::new(dir.path()), true), wanted);
        let dir = machine(table, "", &[("a b", "memory\n")]);
        let wanted = MemoryCgroup::Available(PathBuf::from("/a b"));
        assert_eq!(memory(&Tree::new(dir.path()), true), wanted);
    }

    #[test]
    fn a_pi_is_told_what_to_write_into_cmdline_txt() {
        for cmdline in [
            "coherent_pool=1M cgroup_disable=memory root=/dev/mmcblk0p2",
            "cgroup_disable=hugetlb,memory",
            "console=tty1 root=/dev/mmcblk0p2",
        ] {
            let reason = missing(UNIFIED, cmdline, true);
            assert!(reason.contains("cgroup_enable=memory"), "{reason}");
            assert!(reason.contains("cmdline.txt"), "{reason}");
        }
    }

    #[test]
    fn a_pi_that_was_told_already_is_not_told_again() {
        let both = missing(UNIFIED, "cgroup_disable=memory cgroup_enable=memory", true);
        assert!(both.contains("update the kernel"), "{both}");
        let only = missing(UNIFIED, "cgroup_enable=cpuset,memory", true);
        assert!(only.contains("CONFIG_MEMCG"), "{only}");
    }

    #[test]
    fn each_other_cause_has_its_own_way_out() {
        let first = missing(HYBRID, "cgroup_disable=memory", true);
        assert!(first.contains("/sys/fs/cgroup/memory"), "{first}");
        assert!(first.contains("cgroup_no_v1=memory"), "{first}");
        let disabled = missing(UNIFIED, "cgroup_disable=memory", false);
        assert!(disabled.contains("remove it"), "{disabled}");
        let unmounted = missing("proc /proc proc rw 0 0\n", "", true);
        assert!(unmounted.contains("mount -t cgroup2"), "{unmounted}");
        let absent = missing(UNIFIED, "quiet", false);
        assert!(absent.contains("CONFIG_MEMCG"), "{absent}");
    }

    proptest! {
        #[test]
        fn any_mount_table_and_command_line_give_an_answer_without_panic(table in "(\\PC|\n|\\\\0)*", cmdline in "\\PC*") {
            prop_assert!(!reason(&mounts(&table), &cmdline, true).is_empty());
        }
    }
}
