//! `_analyze`: how a text becomes terms.

use serde_json::{Value, json};

use super::request::{Reply, Request};
use crate::search_node::analysis::Analyzer;
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Kind;

pub(super) fn analyze(node: &Node, request: &Request) -> Outcome<Reply> {
    request.known(&["index"])?;
    let body = request.json()?;
    let named = |analyzer: &str| {
        Analyzer::from_name(analyzer)
            .ok_or_else(|| Failure::illegal(format!("failed to find global analyzer [{analyzer}]")))
    };
    for key in body.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !["analyzer", "field", "text"].contains(&key.as_str()) {
            return Err(Failure::unsupported(format!("[{key}] of _analyze")));
        }
    }
    let analyzer = match (
        body["analyzer"].as_str(),
        body["field"].as_str(),
        request.path.as_slice(),
    ) {
        (Some(analyzer), ..) => named(analyzer)?,
        (None, Some(field), [name, _]) => {
            let mapping = node.one(name)?.mapping();
            match mapping.leaf(field) {
                Some(leaf) if leaf.kind == Kind::Text => leaf.analyzer,
                Some(_) => Analyzer::Keyword,
                None => Analyzer::Standard,
            }
        }
        _ => Analyzer::Standard,
    };
    let texts: Vec<&str> = match &body["text"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => return Err(Failure::illegal("[text] is missing")),
    };
    let mut tokens = Vec::new();
    let mut position = 0;
    let mut start = 0;
    for text in texts {
        // Offsets count characters of UTF-16, as in Java.
        let utf16 = |bytes: usize| start + text[..bytes].encode_utf16().count();
        let mut last = 0;
        for token in analyzer.tokens(text) {
            let kind = if token.text.chars().all(|c| c.is_ascii_digit()) {
                "<NUM>"
            } else {
                "<ALPHANUM>"
            };
            last = token.position + 1;
            tokens.push(json!({
                "token": token.text,
                "start_offset": utf16(token.from),
                "end_offset": utf16(token.to),
                "type": if analyzer == Analyzer::Standard || analyzer == Analyzer::English { kind } else { "word" },
                "position": position + token.position,
            }));
        }
        position += last + 100;
        start = utf16(text.len()) + 1;
    }
    Ok(Reply::ok(json!({"tokens": tokens})))
}
