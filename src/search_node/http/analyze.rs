//! `_analyze`: how a text becomes terms.

use serde_json::{Value, json};

use super::request::{Reply, Request};
use crate::search_node::analysis::Analyzer;
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Kind;

/// Tokens of one request at most, as `index.analyze.max_token_count`.
const MAX_TOKENS: usize = 10_000;

/// Turns offsets in bytes into those that count characters of UTF-16, as Java does.
struct Utf16<'a> {
    text: &'a str,
    /// The last offset asked for, in bytes,
    bytes: usize,
    /// and in UTF-16.
    units: usize,
}

impl Utf16<'_> {
    /// `bytes` counts forward from one call to the next, or back by a token.
    fn of(&mut self, bytes: usize) -> usize {
        let count = |part: &str| part.encode_utf16().count();
        if bytes >= self.bytes {
            self.units += count(&self.text[self.bytes..bytes]);
        } else {
            self.units -= count(&self.text[bytes..self.bytes]);
        }
        self.bytes = bytes;
        self.units
    }
}

pub(super) fn analyze(node: &Node, request: &Request) -> Outcome<Reply> {
    request.known(&[])?;
    let body = request.json()?;
    let named = |analyzer: &str| {
        Analyzer::from_name(analyzer).ok_or_else(|| {
            if Analyzer::is_elsewhere(analyzer) {
                return Failure::unsupported(format!("analyzer [{analyzer}]"));
            }
            Failure::illegal(format!("failed to find global analyzer [{analyzer}]"))
        })
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
        let mut at = Utf16 {
            text,
            bytes: 0,
            units: start,
        };
        let mut last = 0;
        for token in analyzer.tokens(text) {
            if tokens.len() >= MAX_TOKENS {
                return Err(Failure::illegal(format!(
                    "The number of tokens produced by calling _analyze has exceeded the allowed \
                     maximum of [{MAX_TOKENS}]. Send a shorter text."
                )));
            }
            let kind = if token.text.chars().all(|c| c.is_ascii_digit()) {
                "<NUM>"
            } else {
                "<ALPHANUM>"
            };
            last = token.position + 1;
            tokens.push(json!({
                "token": token.text,
                "start_offset": at.of(token.from),
                "end_offset": at.of(token.to),
                "type": if analyzer == Analyzer::Standard || analyzer == Analyzer::English { kind } else { "word" },
                "position": position + token.position,
            }));
        }
        position += last + 100;
        start = at.of(text.len()) + 1;
    }
    Ok(Reply::ok(json!({"tokens": tokens})))
}
