//! Tests write trees in Lucene's notation: `+must should -must_not`.

mod bounds;
mod classic;
mod simple;

use std::fmt::Write;

use super::*;

/// A tree in short: groups in parentheses, other nodes as `field:value`.
fn show(node: &Node) -> String {
    let named = |field: &Option<String>, value: String, boost: f32| {
        let field = field
            .as_ref()
            .map_or(String::new(), |name| format!("{name}:"));
        let boost = if (boost - 1.0).abs() < f32::EPSILON {
            String::new()
        } else {
            format!("^{boost}")
        };
        format!("{field}{value}{boost}")
    };
    match node {
        Node::Bool {
            must,
            should,
            must_not,
        } => {
            let mut parts = Vec::new();
            for (sign, nodes) in [("+", must), ("", should), ("-", must_not)] {
                parts.extend(nodes.iter().map(|node| format!("{sign}{}", show(node))));
            }
            format!("({})", parts.join(" "))
        }
        Node::Text {
            field,
            text,
            quoted,
            slop,
            fuzzy,
            boost,
        } => {
            let mut value = if *quoted {
                format!("{text:?}")
            } else {
                text.clone()
            };
            match fuzzy {
                Some(Fuzzy::Auto) => value.push_str("~auto"),
                Some(Fuzzy::Edits(edits)) => write!(value, "~{edits}").unwrap(),
                None => {}
            }
            if let Some(slop) = slop {
                write!(value, "~{slop}").unwrap();
            }
            named(field, value, *boost)
        }
        Node::Wildcard {
            field,
            pattern,
            boost,
        } => named(field, format!("wild({pattern})"), *boost),
        Node::Prefix {
            field,
            prefix,
            boost,
        } => named(field, format!("prefix({prefix})"), *boost),
        Node::Regex {
            field,
            pattern,
            boost,
        } => named(field, format!("/{pattern}/"), *boost),
        Node::Range {
            field,
            from,
            to,
            boost,
        } => {
            let from = match from {
                Some((bound, true)) => format!("[{bound}"),
                Some((bound, false)) => format!("{{{bound}"),
                None => "*".to_owned(),
            };
            let to = match to {
                Some((bound, true)) => format!("{bound}]"),
                Some((bound, false)) => format!("{bound}}}"),
                None => "*".to_owned(),
            };
            named(field, format!("{from}..{to}"), *boost)
        }
        Node::Exists { field } => format!("exists({field})"),
        Node::All => "all".to_owned(),
        Node::Boosted { node, boost } => format!("{}^{boost}", show(node)),
        Node::Nothing => "nothing".to_owned(),
    }
}
