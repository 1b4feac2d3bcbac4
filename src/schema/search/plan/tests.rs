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
        let error = plan(&catalogue, &current, "2026.11", true).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("index [{name}]")), "{text}");
    }
}

#[test]
fn a_policy_that_deletes_at_another_age_is_kept_until_it_is_to_be_reset() {
    let catalogue = Catalogue::load().unwrap();
    let of = |name: &str, delete: Option<Value>, reset: bool| {
        let mut phases = catalogue.policies[name].clone();
        let members = phases.as_object_mut().unwrap();
        members.remove("delete");
        if let Some(delete) = delete {
            members.insert("delete".to_owned(), delete);
        }
        let current = Current {
            policies: BTreeMap::from([(name.to_owned(), phases)]),
            ..Current::empty()
        };
        let steps = plan(&catalogue, &current, "2026.11", reset).unwrap();
        let step = steps.into_iter().find(|step| step.object.name == name);
        let Step { object, requests } = step.unwrap();
        assert_eq!(requests.is_empty(), !object.change.is_one());
        (object.change, object.note.unwrap_or_default())
    };
    let delete = |age: &str| Some(json!({"min_age": age, "actions": {"delete": {}}}));
    for (name, found, said) in [
        (
            "lucid-logs",
            delete("365d"),
            "[365d], that of Lucid at the age of [30d]",
        ),
        (
            "lucid-logs",
            None,
            "deletes never, that of Lucid at the age of [30d]",
        ),
        ("lucid-permanent", delete("9d"), "[9d], that of Lucid never"),
    ] {
        let (change, note) = of(name, found.clone(), false);
        assert_eq!(change, Change::Kept);
        assert!(note.contains(said), "{note}");
        assert_eq!(of(name, found, true), (Change::Updated, String::new()));
    }
    // The same age with other actions is put right.
    assert_eq!(of("lucid-logs", delete("30d"), false).0, Change::Updated);
}
