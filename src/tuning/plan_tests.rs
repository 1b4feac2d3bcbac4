use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::tuning::testing::{DEFAULT_SET, Engine, MONGOD_8, board, inputs, pi4};

const MONGOD_7: &[Engine] = &[(EngineKind::Mongod, Some(7)), (EngineKind::Valkey, Some(8))];
const SEARCH: &[Engine] = &[
    (EngineKind::Secantus, None),
    (EngineKind::Elasticsearch, Some(8)),
];

fn facts(zram: bool) -> Facts {
    Facts {
        zram,
        btrfs: Vec::new(),
    }
}

fn wanted(board: &Board, engines: &[Engine]) -> BTreeMap<String, String> {
    let config = Config::default();
    plan(&inputs(board, &config, engines), &facts(true))
        .into_iter()
        .map(|knob| (knob.name.clone(), knob.wanted()))
        .collect()
}

/// Checks values by name; `-` means that the knob is not in the plan.
fn assert_wanted(board: &Board, engines: &[Engine], expected: &[(&str, &str)]) {
    let plan = wanted(board, engines);
    for (name, value) in expected {
        let found = plan.get(*name).map_or("-", String::as_str);
        assert_eq!(found, *value, "{name} for {engines:?}");
    }
}

#[test]
fn the_default_set_on_a_pi_4() {
    assert_wanted(
        &pi4(),
        DEFAULT_SET,
        &[
            ("zram", "1896M"),
            ("vm.max_map_count", "-"),
            ("vm.overcommit_memory", "1"),
            ("vm.swappiness", "133"),
            ("thp.enabled", "madvise"),
            ("thp.defrag", "madvise"),
            ("thp.khugepaged_max_ptes_none", "-"),
            ("vm.dirty_background_bytes", "61865984"),
            ("vm.dirty_bytes", "247463936"),
            ("net.core.somaxconn", "65535"),
            ("net.ipv4.tcp_max_syn_backlog", "4096"),
            ("nofile", "10032"),
            ("block.mmcblk0.read_ahead_kb", "128"),
            ("block.mmcblk0.scheduler", "mq-deadline"),
            ("block.sda.read_ahead_kb", "16"),
            ("block.sda.scheduler", "mq-deadline"),
        ],
    );
}

#[test]
fn a_new_mongodb_gets_the_opposite_huge_pages_of_the_rest() {
    assert_wanted(
        &pi4(),
        MONGOD_8,
        &[
            ("thp.enabled", "always"),
            ("thp.defrag", "defer+madvise"),
            ("thp.khugepaged_max_ptes_none", "0"),
            ("vm.max_map_count", "128000"),
            ("vm.overcommit_memory", "1"),
            ("nofile", "64000"),
        ],
    );
    for engines in [MONGOD_7, &[(EngineKind::Mongod, None)], SEARCH, &[]] {
        assert_wanted(
            &pi4(),
            engines,
            &[
                ("thp.enabled", "madvise"),
                ("thp.defrag", "madvise"),
                ("thp.khugepaged_max_ptes_none", "-"),
            ],
        );
    }
}

#[test]
fn huge_pages_switched_off_by_somebody_stay_off() {
    let config = Config::default();
    let board = pi4();
    let plan = plan(&inputs(&board, &config, DEFAULT_SET), &facts(true));
    let thp = plan.iter().find(|knob| knob.name == "thp.enabled").unwrap();
    let Want::File { rule, absent, .. } = &thp.want else {
        panic!("{thp:?}");
    };
    assert!(rule.satisfied("never") && rule.satisfied("madvise") && !rule.satisfied("always"));
    assert!(matches!(absent, Absent::Fine(_)));
}

#[test]
fn elasticsearch_gets_its_map_areas_and_open_files() {
    assert_wanted(
        &pi4(),
        SEARCH,
        &[
            ("vm.max_map_count", "1048576"),
            ("vm.overcommit_memory", "-"),
            ("net.core.somaxconn", "4096"),
            ("nofile", "65535"),
        ],
    );
}

#[test]
fn the_search_node_of_lucid_asks_for_no_knob_of_its_own() {
    let names = |engines| wanted(&pi4(), engines);
    let with: &[Engine] = &[(EngineKind::Redis, None), (EngineKind::SearchNode, None)];
    assert_eq!(names(with), names(&with[..1]));
    assert_wanted(
        &pi4(),
        with,
        &[("vm.max_map_count", "-"), ("nofile", "10032")],
    );
}

#[test]
fn swappiness_is_high_only_where_swap_is_in_ram() {
    let config = Config::default();
    let board = pi4();
    for (zram, value) in [(true, "133"), (false, "1")] {
        let plan = plan(&inputs(&board, &config, DEFAULT_SET), &facts(zram));
        let knob = plan.iter().find(|knob| knob.name == "vm.swappiness");
        assert_eq!(knob.unwrap().wanted(), value);
    }
}

#[test]
fn limits_follow_the_board() {
    let small = board(Family::Zero2W, 416, &[("mmcblk0", DiskKind::Sd)]);
    assert_wanted(
        &small,
        DEFAULT_SET,
        &[
            ("zram", "208M"),
            ("vm.dirty_background_bytes", "8388608"),
            ("vm.dirty_bytes", "33554432"),
        ],
    );
    let large = board(Family::Pi5, 16_000, &[("nvme0n1", DiskKind::Nvme)]);
    assert_wanted(
        &large,
        DEFAULT_SET,
        &[
            ("zram", "4G"),
            ("vm.dirty_bytes", "-"),
            ("block.nvme0n1.scheduler", "none"),
            ("block.nvme0n1.read_ahead_kb", "16"),
        ],
    );
    let pages = Board {
        page_size: 65_536,
        ..large
    };
    assert_wanted(
        &pages,
        DEFAULT_SET,
        &[("block.nvme0n1.read_ahead_kb", "64")],
    );
}

#[test]
fn small_cores_compress_with_the_cheap_algorithm() {
    for (family, first) in [
        (Family::Zero2W, "lzo-rle"),
        (Family::Pi3, "lzo-rle"),
        (Family::Pi4, "zstd"),
        (Family::Pi5, "zstd"),
        (Family::Other, "zstd"),
    ] {
        let Want::Zram { algorithms, .. } = zram(&board(family, 1024, &[])).want else {
            panic!("{family:?}");
        };
        assert_eq!(algorithms.first(), Some(&first), "{family:?}");
    }
}

#[test]
fn every_kind_of_disk() {
    for (kind, scheduler, read_ahead) in [
        (DiskKind::Sd, "mq-deadline", "128"),
        (DiskKind::Emmc, "mq-deadline", "128"),
        (DiskKind::UsbSsd, "mq-deadline", "16"),
        (DiskKind::SataSsd, "mq-deadline", "16"),
        (DiskKind::Rotating, "mq-deadline", "-"),
        (DiskKind::Nvme, "none", "16"),
        (DiskKind::Virtual, "-", "-"),
        (DiskKind::Unknown, "-", "-"),
    ] {
        let board = board(Family::Pi4, 1024, &[("d", kind)]);
        let expected = [
            ("block.d.scheduler", scheduler),
            ("block.d.read_ahead_kb", read_ahead),
        ];
        assert_wanted(&board, DEFAULT_SET, &expected);
    }
    let ssd = board(Family::Pi4, 1024, &[("sda", DiskKind::UsbSsd)]);
    assert_wanted(
        &ssd,
        &[(EngineKind::Redis, None)],
        &[("block.sda.read_ahead_kb", "-")],
    );
}

#[test]
fn mounted_btrfs_gets_the_read_ahead_that_its_disk_cannot_give() {
    let config = Config::default();
    let board = pi4();
    let facts = Facts {
        zram: true,
        btrfs: vec!["btrfs-1".to_owned()],
    };
    let names = |engines: &[Engine]| {
        plan(&inputs(&board, &config, engines), &facts)
            .into_iter()
            .filter(|knob| knob.name.starts_with("bdi."))
            .map(|knob| (knob.name.clone(), knob.wanted()))
            .collect::<Vec<_>>()
    };
    let expected = ("bdi.btrfs-1.read_ahead_kb".to_owned(), "16".to_owned());
    assert_eq!(names(DEFAULT_SET), [expected]);
    assert!(names(&[(EngineKind::Redis, None)]).is_empty());
}

#[test]
fn what_the_configuration_excludes_is_not_planned() {
    let board = pi4();
    let mut config = Config::default();
    config.tuning.zram = false;
    config.tuning.skip = vec!["thp.enabled".to_owned(), "block.sda.scheduler".to_owned()];
    let names: Vec<String> = plan(&inputs(&board, &config, DEFAULT_SET), &facts(false))
        .into_iter()
        .map(|knob| knob.name)
        .collect();
    for absent in ["zram", "thp.enabled", "block.sda.scheduler"] {
        assert!(!names.iter().any(|name| name == absent), "{absent}");
    }
    assert!(names.iter().any(|name| name == "block.mmcblk0.scheduler"));
    config.tuning.enabled = false;
    assert!(plan(&inputs(&board, &config, DEFAULT_SET), &facts(false)).is_empty());
}

#[test]
fn every_knob_has_its_own_name_a_reason_and_a_path_below_proc_or_sys() {
    let config = Config::default();
    for engines in [DEFAULT_SET, MONGOD_8, MONGOD_7, SEARCH, &[]] {
        let board = pi4();
        let plan = plan(&inputs(&board, &config, engines), &facts(true));
        let names: std::collections::BTreeSet<_> = plan.iter().map(|k| &k.name).collect();
        assert_eq!(names.len(), plan.len());
        for knob in &plan {
            assert!(!knob.why.is_empty());
            if let Want::File { path, .. } = &knob.want {
                assert!(path.starts_with("proc/sys") || path.starts_with("sys"));
            }
        }
    }
}
