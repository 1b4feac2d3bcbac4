//! The rooms of `src/` stand on floors, and an import may only go down: checked in the source,
//! and compared with the drawing in `docs/architecture.md`.

// clippy.toml spares tests, but not the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every room and its floor. A new room gets its line here and in the drawing.
const FLOORS: &[(u32, &[&str])] = &[
    (7, &["main"]),
    (6, &["cli"]),
    (5, &["api"]),
    (4, &["supervisor"]),
    (3, &["backup", "store"]),
    (
        2,
        &[
            "engine",
            "panel",
            "schema",
            "search_node",
            "tuning",
            "volume",
        ],
    ),
    (1, &["board", "config", "listen"]),
    (
        0,
        &[
            "fsx", "http", "journal", "paths", "readable", "status", "units",
        ],
    ),
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn floors() -> BTreeMap<&'static str, u32> {
    let rooms = FLOORS.iter();
    rooms
        .flat_map(|(floor, rooms)| rooms.iter().map(|room| (*room, *floor)))
        .collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room of a file: the first part of its path in `src`.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(project().join("src")).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code without what stands behind `//`: documents may name any room.
fn code(text: &str) -> String {
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The first names after every `root::`, in `use` and in paths; `{a::b, c}` is two names.
fn names_after(root: &str, code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + root.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest).to_owned());
            continue;
        };
        let mut depth = 1;
        let mut wanted = true;
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => wanted = true,
                c if wanted && (c.is_alphabetic() || c == '_') => {
                    names.insert(word(&group[index..]).to_owned());
                    wanted = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// Every room and the rooms that it imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(&project().join("src"), &mut files);
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let code = code(&std::fs::read_to_string(&file).unwrap());
        let mut names = names_after("crate::", &code);
        if room == "main" {
            names.extend(names_after("lucid::", &code));
        }
        names.remove(&room);
        imports.entry(room).or_default().extend(names);
    }
    imports
}

#[test]
fn every_room_has_its_floor_and_every_floor_its_rooms() {
    let lib = std::fs::read_to_string(project().join("src/lib.rs")).unwrap();
    let mut there: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    there.insert("main");
    let known: BTreeSet<&str> = floors().into_keys().collect();
    assert_eq!(there, known, "lib.rs and FLOORS do not name the same rooms");
}

#[test]
fn no_room_imports_from_its_own_floor_or_above() {
    let floors = floors();
    let floor = |room: &str| {
        floors
            .get(room)
            .copied()
            .unwrap_or_else(|| panic!("{room} has no floor in FLOORS"))
    };
    let mut wrong = Vec::new();
    for (room, names) in imports() {
        for name in names {
            if floor(&name) >= floor(&room) {
                wrong.push(format!(
                    "{room} (floor {}) imports {name} (floor {})",
                    floor(&room),
                    floor(&name)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows may only point down: {wrong:#?}");
}

#[test]
fn the_drawing_shows_the_rooms_where_they_are() {
    let text = std::fs::read_to_string(project().join("docs/architecture.md")).unwrap();
    let mut drawn = BTreeMap::new();
    for line in text.lines() {
        let Some((floor, rest)) = line
            .strip_prefix("floor ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        for room in rest.split_whitespace() {
            drawn.insert(room.to_owned(), floor.parse::<u32>().unwrap());
        }
    }
    let floors: BTreeMap<String, u32> = floors()
        .into_iter()
        .map(|(room, floor)| (room.to_owned(), floor))
        .collect();
    assert_eq!(
        drawn, floors,
        "the drawing in docs/architecture.md and FLOORS differ"
    );
}

#[test]
fn the_arrows_in_the_document_are_those_of_the_source() {
    let text = std::fs::read_to_string(project().join("docs/architecture.md")).unwrap();
    let imports = imports();
    for (room, names) in &imports {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let arrows = if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        };
        let row = format!("| `{room}` | {arrows} |");
        assert!(
            text.contains(&row),
            "docs/architecture.md lacks the row: {row}"
        );
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = code(
        "use crate::board::Board; // crate::no\nlet x = crate::fsx::read();\n\
         use crate::{config::{Config, Role}, status};\nmycrate::other();",
    );
    let found = names_after("crate::", &code);
    let wanted = ["board", "config", "fsx", "status"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
}
