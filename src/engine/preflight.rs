//! What engine versions need from a board: each rule is a function of the version and the
//! board, with its source, and refuses before a SIGILL does.

use std::net::IpAddr;
use std::path::Path;

use super::{Finding, Version};
use crate::board::Board;
use crate::units::{GIB, human_bytes};

fn blocking(rule: &'static str, message: String, remedy: &str) -> Finding {
    Finding {
        rule,
        blocks: true,
        message,
        remedy: remedy.to_owned(),
    }
}

/// `engine-too-old`: a version below the oldest that the rendered configuration is valid for.
pub(super) fn minimum(
    engine: &str,
    version: &Version,
    least: (u32, u32, u32),
    why: &str,
) -> Option<Finding> {
    (version.number < least).then(|| {
        let (major, minor, patch) = least;
        blocking(
            "engine-too-old",
            format!(
                "{engine} {} is older than {major}.{minor}.{patch}: {why}",
                version.text
            ),
            "install a newer version, or set `binary` to one",
        )
    })
}

/// `mongod-needs-armv8.2`: official builds since 5.0 use instructions of ARMv8.2-A, which a
/// Raspberry Pi 4 and older do not have; they die with SIGILL. Source: MongoDB manual,
/// production notes, platform support.
pub(super) fn mongod_armv8_2(version: &Version, board: &Board) -> Option<Finding> {
    let refuse = version.number.0 >= 5 && board.cpu.arch == "aarch64" && !board.cpu.armv8_2;
    refuse.then(|| {
        blocking(
            "mongod-needs-armv8.2",
            format!(
                "mongod {} needs an ARMv8.2 processor; {} has an older one",
                version.text, board.model
            ),
            "use engine = \"secantus\", or a Raspberry Pi 5",
        )
    })
}

/// `mongod-needs-avx`: official x86-64 builds since 5.0 use AVX. Source: as above.
pub(super) fn mongod_avx(version: &Version, board: &Board) -> Option<Finding> {
    (version.number.0 >= 5 && board.cpu.arch == "x86_64" && !board.cpu.avx).then(|| {
        blocking(
            "mongod-needs-avx",
            format!("mongod {} needs a processor with AVX", version.text),
            "use engine = \"secantus\", or show the virtual machine its host's processor",
        )
    })
}

/// `mongod-needs-wide-addresses`: the tcmalloc of mongod 8 takes 48-bit user addresses for
/// granted; kernels built for 39 bits (Raspberry Pi OS for the Pi 4) make it abort at start.
/// Source: google/tcmalloc's platform notes and the reports in its issue tracker.
pub(super) fn mongod_address_bits(version: &Version, board: &Board) -> Option<Finding> {
    let bits = board.va_bits.filter(|bits| *bits < 48)?;
    (version.number.0 >= 8).then(|| {
        blocking(
            "mongod-needs-wide-addresses",
            format!(
                "mongod {} needs 48-bit addresses; this kernel gives programs {bits} bits",
                version.text
            ),
            "use mongod 7.0 or engine = \"secantus\", or a kernel with CONFIG_ARM64_VA_BITS=48 \
             such as Debian's",
        )
    })
}

/// `mongod-kernel-rseq`: from Linux 6.19 until 7.0.14 the tcmalloc of mongod 8 corrupts memory
/// and dies after about 30 s; some 8.x versions refuse to start there. The command line sets
/// `glibc.pthread.rseq=1`, which many report to help, so this only warns. Source: MongoDB 8.0
/// release notes, google/tcmalloc issue 292.
pub(super) fn mongod_rseq(version: &Version, board: &Board) -> Option<Finding> {
    let broken = (6, 19, 0)..(7, 0, 14);
    (version.number.0 >= 8 && broken.contains(&board.kernel.version)).then(|| Finding {
        rule: "mongod-kernel-rseq",
        blocks: false,
        message: format!(
            "mongod {} is known to crash on Linux {}; it is started with \
             GLIBC_TUNABLES=glibc.pthread.rseq=1 to avoid that",
            version.text, board.kernel.release
        ),
        remedy: "use mongod 7.0, or a kernel before 6.19 or from 7.0.14 on".to_owned(),
    })
}

/// `elasticsearch-needs-lse`: the native launcher of 9.4.0 to 9.4.2 is compiled for ARMv8.1
/// atomics and refuses a Raspberry Pi 4 and older. Source: elastic/elasticsearch issue 150323
/// and its fix, pull request 150325.
pub(super) fn elasticsearch_lse(version: &Version, board: &Board) -> Option<Finding> {
    let affected = (9, 4, 0) <= version.number && version.number <= (9, 4, 2);
    (affected && board.cpu.arch == "aarch64" && !board.cpu.lse_atomics).then(|| {
        blocking(
            "elasticsearch-needs-lse",
            format!(
                "the launcher of Elasticsearch {} needs ARMv8.1 atomics; {} does not have them",
                version.text, board.model
            ),
            "use Elasticsearch 9.3, or 9.5 or newer",
        )
    })
}

/// `board-needs-more-memory`: less RAM than the engine needs beside the system. `least` is what
/// the kernel shows: a "4 GB" board shows 3.7 to 3.9 GiB.
pub(super) fn memory(engine: &str, least: u64, board: &Board) -> Option<Finding> {
    (board.memory_bytes < least).then(|| {
        blocking(
            "board-needs-more-memory",
            format!(
                "{engine} needs a board with {}; this one has {}",
                human_bytes(least),
                human_bytes(board.memory_bytes)
            ),
            "disable this datastore, choose a smaller engine, or use a bigger board",
        )
    })
}

/// RAM that Elasticsearch needs: it is offered on boards of 4 GB, as the kernel shows them.
pub(super) const ELASTICSEARCH_MEMORY: u64 = GIB * 7 / 2;

/// RAM that mongod needs: its cache is never below 256 MiB, and it is offered on boards of 2 GB.
pub(super) const MONGOD_MEMORY: u64 = GIB * 7 / 4;

/// `listen-one-address`: the program takes one address only.
pub(super) fn one_address(engine: &str, listen: &[IpAddr]) -> Option<Finding> {
    (listen.len() > 1).then(|| {
        blocking(
            "listen-one-address",
            format!("{engine} listens on one address, {} are set", listen.len()),
            "leave one address in `listen`; \"0.0.0.0\" takes all of IPv4, 127.0.0.1 included",
        )
    })
}

/// `listen-needs-loopback`: the first account of a document store can only be made from the
/// machine itself, over a loopback address (MongoDB manual, localhost exception).
pub(super) fn loopback(engine: &str, listen: &[IpAddr]) -> Option<Finding> {
    let reachable = |ip: &IpAddr| ip.is_loopback() || ip.is_unspecified();
    (!listen.iter().any(reachable)).then(|| {
        blocking(
            "listen-needs-loopback",
            format!("{engine} takes its first account only over a loopback address"),
            "add 127.0.0.1 to `listen`, or use \"0.0.0.0\"",
        )
    })
}

/// `search-loopback-only`: passwords would cross the network in the clear without TLS.
pub(super) fn search_loopback(engine: &str, listen: &[IpAddr], otherwise: &str) -> Option<Finding> {
    (!listen.iter().all(IpAddr::is_loopback)).then(|| {
        blocking(
            "search-loopback-only",
            format!("{engine} would take passwords over the network without TLS"),
            &format!("listen on 127.0.0.1; {otherwise}"),
        )
    })
}

/// A directory that another engine of the same role wrote: `entry` shows it, `writer` wrote it,
/// `config` is its name in the configuration.
pub(super) fn foreign_data(
    rule: &'static str,
    dir: &Path,
    entry: &str,
    writer: &str,
    config: &str,
) -> Finding {
    blocking(
        rule,
        format!(
            "{} holds data of {writer} ({entry}), which this engine cannot read",
            dir.display()
        ),
        &format!(
            "set datastore.search.engine = \"{config}\" again, or move what the directory holds \
             elsewhere to begin with an empty store"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{pi4, pi5};
    use super::*;

    fn v(major: u32, minor: u32, patch: u32) -> Version {
        Version {
            number: (major, minor, patch),
            text: format!("{major}.{minor}.{patch}"),
        }
    }

    #[test]
    fn mongod_is_refused_on_a_pi_4_with_the_way_out_and_runs_on_a_pi_5() {
        let finding = mongod_armv8_2(&v(7, 0, 14), &pi4()).unwrap();
        assert!(finding.blocks && finding.message.contains("Raspberry Pi 4"));
        assert!(finding.remedy.contains("secantus"));
        assert_eq!(mongod_armv8_2(&v(7, 0, 14), &pi5()), None);
        assert_eq!(mongod_armv8_2(&v(4, 4, 18), &pi4()), None);
    }

    #[test]
    fn mongod_is_refused_on_x86_without_avx_only() {
        let mut board = pi4();
        board.cpu.arch = "x86_64";
        assert!(mongod_avx(&v(7, 0, 0), &board).is_some());
        board.cpu.avx = true;
        assert_eq!(mongod_avx(&v(7, 0, 0), &board), None);
        assert_eq!(mongod_avx(&v(7, 0, 0), &pi4()), None);
    }

    #[test]
    fn mongod_8_is_refused_on_39_bit_kernels_and_an_unknown_width_is_let_through() {
        let mut board = pi5();
        board.va_bits = Some(39);
        assert!(mongod_address_bits(&v(8, 0, 0), &board).is_some());
        assert_eq!(mongod_address_bits(&v(7, 0, 14), &board), None);
        board.va_bits = None;
        assert_eq!(mongod_address_bits(&v(8, 0, 0), &board), None);
    }

    #[test]
    fn the_rseq_warning_covers_exactly_the_broken_kernels() {
        let mut board = pi5();
        for (kernel, affected) in [
            ((6, 18, 44), false),
            ((6, 19, 0), true),
            ((7, 0, 13), true),
            ((7, 0, 14), false),
            ((7, 1, 0), false),
        ] {
            board.kernel.version = kernel;
            let finding = mongod_rseq(&v(8, 0, 4), &board);
            assert_eq!(finding.is_some(), affected, "{kernel:?}");
            assert!(finding.is_none_or(|finding| !finding.blocks));
            assert_eq!(mongod_rseq(&v(7, 0, 14), &board), None);
        }
    }

    #[test]
    fn elasticsearch_needs_lse_in_three_versions_only() {
        for (version, refused) in [
            (v(9, 3, 9), false),
            (v(9, 4, 0), true),
            (v(9, 4, 2), true),
            (v(9, 4, 3), false),
        ] {
            assert_eq!(elasticsearch_lse(&version, &pi4()).is_some(), refused);
            assert_eq!(elasticsearch_lse(&version, &pi5()), None);
        }
    }

    #[test]
    fn memory_is_judged_by_what_boards_really_show() {
        assert_eq!(memory("elasticsearch", ELASTICSEARCH_MEMORY, &pi4()), None);
        let mut board = pi4();
        board.memory_bytes = 2 * GIB / 100 * 92;
        assert!(memory("elasticsearch", ELASTICSEARCH_MEMORY, &board).is_some());
        assert_eq!(memory("mongod", MONGOD_MEMORY, &board), None);
    }

    #[test]
    fn a_version_below_the_minimum_says_why() {
        let finding = minimum("redis", &v(6, 2, 7), (7, 0, 0), "rules per subcommand").unwrap();
        assert!(finding.message.contains("6.2.7") && finding.message.contains("per subcommand"));
        assert_eq!(minimum("redis", &v(7, 0, 0), (7, 0, 0), ""), None);
    }

    #[test]
    fn addresses_are_checked() {
        let lo: IpAddr = "127.0.0.1".parse().unwrap();
        let lan: IpAddr = "192.168.1.5".parse().unwrap();
        let any: IpAddr = "::".parse().unwrap();
        assert!(one_address("secantus", &[lo, lan]).is_some());
        assert_eq!(one_address("secantus", &[lo]), None);
        assert!(loopback("mongod", &[lan]).is_some());
        assert_eq!(loopback("mongod", &[lan, lo]), None);
        assert_eq!(loopback("mongod", &[any]), None);
    }
}
