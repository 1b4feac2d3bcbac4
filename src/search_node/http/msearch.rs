//! Several searches in one request.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::blocking;
use super::request::{Reply, Request, lenience};
use super::searches::{FORMS, expression, run};
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::query::Params;
use crate::search_node::search::{self, Budget, Run};

/// Searches of one request at most.
const MAX_SEARCHES: usize = 1000;

pub(super) async fn msearch(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(&[
        "ccs_minimize_roundtrips",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "rest_total_hits_as_int",
        "search_type",
        "typed_keys",
    ])?;
    request.only(FORMS)?;
    let (node, request) = (Arc::clone(node), request.clone());
    blocking(move || {
        let began = Instant::now();
        let default = expression(&request);
        let pairs = parse(&request.body)?;
        let how = Run::new();
        let mut budget = Budget::new(how.deadline);
        let mut out: Vec<u8> = Vec::new();
        for (head, body) in pairs {
            let found = one(&node, default.as_deref(), &head, &body, &how);
            let text = found.unwrap_or_else(|failure| failure.body().to_string().into_bytes());
            budget.take(text.len())?;
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend(text);
        }
        let mut whole =
            format!("{{\"took\":{},\"responses\":[", began.elapsed().as_millis()).into_bytes();
        whole.extend(out);
        whole.extend(b"]}");
        Ok(Reply::Raw(200, whole))
    })
    .await
}

/// Pairs of lines: where to search, and what for.
fn parse(body: &[u8]) -> Outcome<Vec<(Value, Value)>> {
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let Some((&[], lines)) = lines.split_last() else {
        return Err(Failure::illegal(
            "The msearch request must be terminated by a newline [\\n]",
        ));
    };
    if lines.is_empty() || lines.len() % 2 != 0 {
        return Err(Failure::illegal(
            "a msearch request is pairs of lines: where to search, and a search",
        ));
    }
    if lines.len() / 2 > MAX_SEARCHES {
        return Err(Failure::illegal(format!(
            "a msearch request may have at most {MAX_SEARCHES} searches; send several"
        )));
    }
    let read = |number: usize, line: &[u8]| -> Outcome<Value> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(json!({}));
        }
        serde_json::from_slice(line).map_err(|error| {
            Failure::parsing(format!("line [{}] is no valid JSON: {error}", number + 1))
        })
    };
    let (pairs, _) = lines.as_chunks::<2>();
    let pairs = pairs.iter().enumerate();
    pairs
        .map(|(number, [head, body])| Ok((read(2 * number, head)?, read(2 * number + 1, body)?)))
        .collect()
}

fn one(
    node: &Node,
    default: Option<&str>,
    head: &Value,
    body: &Value,
    how: &Run,
) -> Outcome<Vec<u8>> {
    let params = Params::of("msearch header", head)?;
    let name = match params.get("index") {
        None => None,
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            let names = names.ok_or_else(|| Failure::parsing("[index] must be names"))?;
            Some(names.join(","))
        }
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => return Err(params.bad("index", other, "a name or a list of them")),
    };
    let lenience = lenience(|key| match params.get(key) {
        Some(Value::Array(states)) => {
            let states: Vec<String> = states.iter().filter_map(plain).collect();
            Some(states.join(","))
        }
        value => value.and_then(plain),
    })?;
    params.only("search_type", "query_then_fetch")?;
    params.ignore(&[
        "allow_partial_search_results",
        "ccs_minimize_roundtrips",
        "preference",
        "request_cache",
        "routing",
    ]);
    params.finish()?;
    let parsed = search::Request::parse(body)?;
    let expression = name.as_deref().or(default);
    let (_, mut answer) = run(node, expression, lenience, &parsed, &mut how.clone())?;
    answer.status = Some(200);
    serde_json::to_vec(&answer).map_err(|error| Failure::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pairs_and_a_bad_one_is_named() {
        assert_eq!(parse(b"{}\n{}\n\n{\"size\":1}\n").unwrap().len(), 2);
        for (body, said) in [
            (&b"{}\n{}"[..], "newline"),
            (b"{}\n", "pairs"),
            (b"\n", "pairs"),
            (b"{}\n{x}\n", "line [2]"),
        ] {
            let failure = parse(body).unwrap_err();
            assert!(failure.reason.contains(said), "{failure}");
        }
    }
}
