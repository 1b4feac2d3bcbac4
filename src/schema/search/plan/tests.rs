use super::*;

fn aliases(list: &[(&str, &str, Option<bool>)]) -> BTreeMap<String, Map<String, Value>> {
    let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (index, alias, writes) in list {
        let of = all.entry((*index).to_owned()).or_default();
        if !alias.is_empty() {
            let body = writes.map_or(json!({}), |flag| json!({"is_write_index": flag}));
            of.insert((*alias).to_owned(), body);
        }
    }
    all
}

#[test]
fn the_index_that_is_written_to_is_found_or_gets_a_free_name() {
    let catalogue = Catalogue::load().unwrap();
    let sessions = &catalogue.entities[0];
    let find = |own: bool, list: &[(&str, &str, Option<bool>)]| {
        let current = Current {
            own,
            aliases: aliases(list),
            ..Current::empty()
        };
        target(&current, sessions, "2026.11")
    };
    let new = |name: &str, asked: &str| Target::New {
        name: name.to_owned(),
        asked: asked.to_owned(),
    };
    let plain = "lucid-sessions-2026.11";
    assert_eq!(find(true, &[]), new(plain, plain));
    assert_eq!(
        find(false, &[]),
        new(
            "lucid-sessions-2026.11-000001",
            "<lucid-sessions-{now/M{yyyy.MM}}-000001>"
        )
    );
    let alias = "lucid-sessions";
    assert_eq!(
        find(true, &[("a", alias, Some(false)), ("b", alias, Some(true))]),
        Target::Written("b".to_owned())
    );
    assert_eq!(
        find(true, &[("a", alias, None)]),
        Target::Adopted("a".to_owned())
    );
    assert_eq!(
        find(true, &[(plain, "", None)]),
        Target::Adopted(plain.to_owned())
    );
    // One that was taken from writing stays so.
    assert_eq!(
        find(true, &[(plain, alias, Some(false))]),
        new(
            "lucid-sessions-2026.11-000002",
            "<lucid-sessions-{now/M{yyyy.MM}}-000002>"
        )
    );
}

#[test]
fn an_index_with_the_name_of_an_alias_is_told_and_nothing_is_done() {
    let catalogue = Catalogue::load().unwrap();
    for name in ["lucid-blocks", "lucid_blocks"] {
        let current = Current {
            aliases: aliases(&[(name, "", None)]),
            ..Current::empty()
        };
        let error = plan(&catalogue, &current, "2026.11").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("index [{name}]")), "{text}");
    }
}
