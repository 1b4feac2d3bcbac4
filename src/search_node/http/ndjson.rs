//! The body of a bulk request: lines of JSON.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::documents::{check_id, condition};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::Condition;

/// One action of a request.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) verb: Verb,
    pub(super) index: Option<String>,
    pub(super) id: Option<String>,
    pub(super) condition: Condition,
    pub(super) retries: u64,
    pub(super) body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Index,
    Create,
    Update,
    Delete,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Index => "index",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// Reads newline-delimited JSON. An action that cannot be read ends the request, nothing of
/// which is then done; the error names the line.
pub(super) fn parse(body: &Bytes) -> Outcome<Vec<Item>> {
    if body.is_empty() {
        return Err(Failure::parsing("request body is required"));
    }
    if body.last() != Some(&b'\n') {
        return Err(Failure::illegal(
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut items = Vec::new();
    let mut lines = Lines {
        body,
        at: 0,
        number: 0,
    };
    while let Some((line, number)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut item = action(&line, number)?;
        if item.verb != Verb::Delete {
            item.body = match lines.next() {
                Some((body, _)) if !body.iter().all(u8::is_ascii_whitespace) => body,
                _ => {
                    return Err(Failure::illegal(format!(
                        "Malformed action/metadata line [{number}]: the document of this [{}] is \
                         missing",
                        item.verb.name()
                    )));
                }
            };
        }
        items.push(item);
    }
    if items.is_empty() {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    Ok(items)
}

struct Lines<'a> {
    body: &'a Bytes,
    at: usize,
    number: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Option<(Bytes, usize)> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let line = self.body.slice(self.at..self.at + length);
        self.at += length + 1;
        self.number += 1;
        Some((line, self.number))
    }
}

fn action(line: &[u8], number: usize) -> Outcome<Item> {
    let malformed =
        |why: String| Failure::illegal(format!("Malformed action/metadata line [{number}], {why}"));
    let json: Value = serde_json::from_slice(line)
        .map_err(|error| malformed(format!("no valid JSON: {error}")))?;
    let mut members = json.as_object().into_iter().flatten();
    let (Some((verb, meta)), None) = (members.next(), members.next()) else {
        return Err(malformed("expected an object with one action".to_owned()));
    };
    let verb = match verb.as_str() {
        "index" => Verb::Index,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => {
            return Err(malformed(format!(
                "expected field [create], [delete], [index] or [update] but found [{other}]"
            )));
        }
    };
    let empty = Map::new();
    let meta = match meta {
        Value::Object(meta) => meta,
        Value::Null => &empty,
        other => return Err(malformed(format!("expected an object but found [{other}]"))),
    };
    let text = |key: &str| -> Option<String> {
        match meta.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        }
    };
    for key in meta.keys() {
        match key.as_str() {
            "_index" | "_id" | "routing" | "version" | "version_type" | "if_seq_no"
            | "if_primary_term" | "op_type" | "retry_on_conflict" => {}
            "require_alias" if meta.get(key) == Some(&Value::Bool(false)) => {}
            "require_alias" => {
                return Err(Failure::unsupported(format!(
                    "[require_alias] in line [{number}] of a bulk request"
                )));
            }
            "pipeline" => {
                return Err(Failure::unsupported(format!(
                    "[pipeline] in line [{number}] of a bulk request"
                )));
            }
            other => {
                return Err(malformed(format!("Unknown parameter [{other}]")));
            }
        }
    }
    let mut condition = condition(text)?;
    condition.create |= verb == Verb::Create;
    let id = text("_id");
    if let Some(id) = &id {
        check_id(id)?;
    } else if matches!(verb, Verb::Update | Verb::Delete) {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            format!("Validation Failed: 1: id is missing in line [{number}];"),
        ));
    }
    let retries = match text("retry_on_conflict") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| malformed(format!("[retry_on_conflict: {text}] is no whole number")))?,
    };
    Ok(Item {
        verb,
        index: text("_index"),
        id,
        condition,
        retries,
        body: Bytes::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_malformed_line_is_named() {
        for (body, said) in [
            ("", "body is required"),
            ("{\"index\":{}}", "newline"),
            ("{\"index\":{}}\n{}\n{x}\n", "line [3]"),
            ("{\"index\":{}}\n{}\n{\"drop\":{}}\n", "found [drop]"),
            ("{\"index\":{}}\n", "document of this [index] is missing"),
            ("{\"delete\":{}}\n", "id is missing in line [1]"),
            ("{\"index\":{\"typo\":1}}\n{}\n", "[typo]"),
            ("\n\n", "no requests added"),
        ] {
            let failure = parse(&Bytes::from(body)).unwrap_err();
            assert!(failure.reason.contains(said), "{body}: {failure}");
        }
    }

    #[test]
    fn actions_are_read_in_order() {
        let body = "{\"index\":{\"_id\":1}}\n{\"a\":1}\n\n{\"delete\":{\"_id\":\"x\"}}\n{\"update\":{\"_id\":\"y\"}}\n{\"doc\":{}}\n";
        let items = parse(&Bytes::from(body)).unwrap();
        let verbs: Vec<_> = items.iter().map(|item| item.verb).collect();
        assert_eq!(verbs, [Verb::Index, Verb::Delete, Verb::Update]);
        assert_eq!(items[0].id.as_deref(), Some("1"));
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in ".{0,200}\n") {
            let _ = parse(&Bytes::from(body));
        }
    }
}
