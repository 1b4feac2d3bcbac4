//! What the documents and the files under `systemd/` say is what the program does.

// clippy.toml spares tests, but not the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lucid::config::{Config, EngineKind, MemoryPlan, Role};
use lucid::journal::Event;
use lucid::panel::Pattern;
use lucid::units::{GIB, human_bytes};

const LUCID: &str = env!("CARGO_BIN_EXE_lucid");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Writes a scratch file; power cuts are no matter here.
fn write(path: &Path, content: &str) {
    lucid::fsx::write_atomic(path, content.as_bytes(), 0o644).unwrap();
}

/// Runs a program of the system; `None` where it is not installed.
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{program} is not installed: this part is not checked here");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Stdout and stderr of a successful run.
fn said(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}

/// One table of the memory plan, for boards of these sizes.
fn memory_table(config: &Config, sizes: &[u64]) -> String {
    let mut table = String::from(
        "| RAM | reserve | datastore | engine | `memory.max` | `memory.high` | cache |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for gib in sizes {
        let plan = match MemoryPlan::new(config, gib * GIB) {
            Ok(plan) => plan,
            Err(error) => {
                let _ = writeln!(table, "| {gib} GiB | refused: {error} | | | | | |");
                continue;
            }
        };
        for (index, share) in plan.shares.iter().enumerate() {
            let (ram, reserve) = if index == 0 {
                (format!("{gib} GiB"), human_bytes(plan.reserve))
            } else {
                (String::new(), String::new())
            };
            let _ = writeln!(
                table,
                "| {ram} | {reserve} | {} | {} | {} | {} | {} |",
                share.role,
                share.engine.name(),
                human_bytes(share.memory.max),
                human_bytes(share.memory.high),
                human_bytes(share.memory.cache)
            );
        }
    }
    table
}

fn memory_tables() -> String {
    const SIZES: [u64; 5] = [1, 2, 4, 8, 16];
    let default = Config::default();
    let mut mongod = Config::default();
    mongod.datastore.document.engine = EngineKind::Mongod;
    let mut two = Config::default();
    two.datastore.search.enabled = false;
    let mut elasticsearch = Config::default();
    elasticsearch.datastore.search.engine = EngineKind::Elasticsearch;
    format!(
        "### Default: secantus, redis and lucid-search-node\n\n{}\n\
         ### With `datastore.document.engine = \"mongod\"`\n\n{}\n\
         ### With `datastore.search.enabled = false`\n\n{}\n\
         ### With `datastore.search.engine = \"elasticsearch\"`\n\n{}",
        memory_table(&default, &SIZES),
        memory_table(&mongod, &SIZES),
        memory_table(&two, &SIZES),
        memory_table(&elasticsearch, &SIZES)
    )
}

/// Compares what stands between two marks of a document, or renews it.
fn made_here(document: &str, (begin, end): (&str, &str), wanted: &str) {
    let text = read(document);
    let (head, rest) = text.split_once(begin).unwrap();
    let (found, tail) = rest.split_once(end).unwrap();
    let wanted = format!("\n{wanted}\n");
    if std::env::var_os("LUCID_BLESS").is_some() {
        write(
            &path(document),
            &format!("{head}{begin}{wanted}{end}{tail}"),
        );
        return;
    }
    assert_eq!(
        found, wanted,
        "{document} is out of date; run: LUCID_BLESS=1 cargo test --test docs"
    );
}

#[test]
fn the_memory_tables_are_those_of_the_plan() {
    let marks = (
        "<!-- tables: made by tests/docs.rs -->\n",
        "<!-- end of tables -->",
    );
    made_here("docs/memory.md", marks, &memory_tables());
}

#[test]
fn the_patterns_in_the_documents_are_those_of_the_panel() {
    let mut table = String::from(
        "| state | what it means | rhythm | coloured lamp | of two lamps | blinks after a short press |\n\
         |---|---|---|---|---|---|\n",
    );
    let colour = |pattern: Pattern| match pattern.colour() {
        [true, false, false] => "red",
        [true, true, false] => "yellow",
        [true, false, true] => "magenta",
        [false, true, false] => "green",
        [false, true, true] => "cyan",
        [false, false, true] => "blue",
        [true, true, true] => "white",
        [false, false, false] => "dark",
    };
    let two = |pattern: Pattern| match pattern {
        Pattern::Identify => "in turns",
        Pattern::Ready | Pattern::Starting | Pattern::Working => "green",
        _ if pattern.is_attention() => "red",
        _ => "both",
    };
    for pattern in Pattern::STATES {
        let count = match pattern.count() {
            0 => "-".to_owned(),
            count => count.to_string(),
        };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {count} |",
            pattern.name(),
            pattern.meaning(),
            pattern.rhythm_in_words(),
            colour(pattern),
            two(pattern),
        );
    }
    let marks = (
        "<!-- patterns: made by tests/docs.rs -->\n",
        "<!-- end of patterns -->",
    );
    made_here("docs/panel.md", marks, &table);
}

#[test]
fn the_smallest_board_fits_as_documented() {
    // MemTotal of tests/boards/zero-2-w.
    let ram = 427_104 * 1024;
    let mut config = Config::default();
    let plan = MemoryPlan::new(&config, ram).unwrap();
    assert_eq!(human_bytes(plan.reserve), "97.1 MiB");
    let max = |role| plan.of(role).map(|memory| human_bytes(memory.max));
    assert_eq!(max(Role::Document).as_deref(), Some("192.0 MiB"));
    config.datastore.document.engine = EngineKind::Mongod;
    MemoryPlan::new(&config, ram).unwrap_err();
    for document in ["README.md", "docs/memory.md"] {
        let text = read(document);
        assert!(
            text.contains("417 MiB") && text.contains("97 MiB"),
            "{document}"
        );
    }
}

/// Commands without subcommands, as one types them, from the program's own help.
fn leaves(prefix: &[String], found: &mut BTreeSet<String>) {
    let output = Command::new(LUCID)
        .args(prefix)
        .arg("--help")
        .output()
        .unwrap();
    let help = said(&output);
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        found.insert(prefix.join(" "));
    }
    for name in names {
        let mut longer = prefix.to_vec();
        longer.push(name);
        leaves(&longer, found);
    }
}

#[test]
fn the_readme_lists_every_command_and_no_other() {
    let mut wanted = BTreeSet::new();
    leaves(&[], &mut wanted);
    assert!(wanted.len() > 10, "the help was not understood: {wanted:?}");
    let readme = read("README.md");
    let section = readme.split_once("\n## Commands\n").unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let listed: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `lucid ")?.split('`').next())
        .map(|command| {
            let words = command.split_whitespace();
            let plain = words.take_while(|word| {
                // Neither an option nor the NAME of something.
                word.starts_with(|c: char| c.is_ascii_lowercase())
                    && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            });
            plain.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(listed, wanted, "README.md, section Commands");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![
        path("README.md"),
        path("overlays/README.md"),
        path("image/README.md"),
    ];
    for entry in std::fs::read_dir(path("docs")).unwrap() {
        let document = entry.unwrap().path();
        if document.extension().is_some_and(|kind| kind == "md") {
            documents.push(document);
        }
    }
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let there = document.parent().unwrap().join(target);
            assert!(there.exists(), "{}: {target}", document.display());
        }
    }
}

#[test]
fn systemd_reads_the_message_catalog() {
    let catalog = read("systemd/lucid.catalog");
    let entries = catalog.lines().filter(|line| line.starts_with("-- "));
    assert_eq!(
        entries.count(),
        Event::ALL.len(),
        "an entry of no event, or two of one"
    );
    let root = tempfile::tempdir().unwrap();
    let at = |dir: &str| {
        let dir = root.path().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    };
    write(
        &at("usr/lib/systemd/catalog").join("lucid.catalog"),
        &catalog,
    );
    at("var/lib/systemd/catalog");
    let option = format!("--root={}", root.path().display());
    let Some(update) = run("journalctl", &[&option, "--update-catalog"]) else {
        return;
    };
    let complaints = said(&update);
    assert!(complaints.is_empty(), "{complaints}");
    let list = said(&run("journalctl", &[&option, "--list-catalog"]).unwrap());
    for event in Event::ALL {
        assert!(
            list.lines()
                .any(|line| line.starts_with(event.message_id()) && line.contains("Lucid:")),
            "{event:?} is not in: {list}"
        );
        let dump = said(
            &run(
                "journalctl",
                &[&option, "--dump-catalog", event.message_id()],
            )
            .unwrap(),
        );
        assert!(
            dump.lines().count() > 4,
            "{event:?} is not explained: {dump}"
        );
    }
}

#[test]
fn systemd_verifies_the_service_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("lucid.service");
    // Where lucid is not installed, systemd would miss the program.
    let text = read("systemd/lucid.service");
    let program = "\nExecStart=lucid ";
    assert!(text.contains(program));
    write(
        &unit,
        &text.replace(program, &format!("\nExecStart={LUCID} ")),
    );
    let file = unit.to_str().unwrap();
    if let Some(output) = run("systemd-analyze", &["verify", file]) {
        let complaints = said(&output);
        assert!(complaints.is_empty(), "{complaints}");
    }
}

#[test]
fn the_users_of_the_engines_are_made() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    let option = format!("--root={}", root.path().display());
    let file = path("systemd/lucid.sysusers");
    let Some(output) = run("systemd-sysusers", &[&option, file.to_str().unwrap()]) else {
        return;
    };
    said(&output);
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    for role in Role::ALL {
        let user = passwd
            .lines()
            .find(|line| line.starts_with(&format!("{}:", role.user())));
        let user = user.unwrap_or_else(|| panic!("{} is missing in: {passwd}", role.user()));
        assert!(user.ends_with(":/usr/sbin/nologin"), "{user}");
    }
    let groups = std::fs::read_to_string(root.path().join("etc/group")).unwrap();
    assert!(
        groups.contains("\nlucid:") || groups.starts_with("lucid:"),
        "{groups}"
    );
}

#[test]
fn the_directories_of_the_appliance_are_made() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("only root may give directories to root: not checked here");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let option = format!("--root={}", root.path().display());
    let file = path("systemd/lucid.tmpfiles");
    let args = [&option, "--create", file.to_str().unwrap()];
    let Some(output) = run("systemd-tmpfiles", &args) else {
        return;
    };
    said(&output);
    for (dir, mode) in [
        ("etc/lucid", 0o755),
        ("etc/lucid/credentials", 0o700),
        ("data", 0o755),
    ] {
        let found = std::fs::metadata(root.path().join(dir)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{dir}");
    }
}
