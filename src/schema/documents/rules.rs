//! What holds for a value beyond its type, and what is told of one that breaks it.

use mongodb::bson::Bson;
use sha2::{Digest, Sha256};

use super::definition::Node;

/// A rule that a value breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where, with dots.
    pub path: String,
    /// Which rule, in one word such as `required`.
    pub rule: &'static str,
    /// What holds, and what was found.
    pub message: String,
}

impl Broken {
    pub(super) fn new(path: &str, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            rule,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

pub(super) fn check(path: &str, node: &Node, value: &Bson, broken: &mut Vec<Broken>) {
    match value {
        Bson::String(text) => check_text(path, node, text, broken),
        Bson::Array(values) => {
            let least = node.min_items.unwrap_or(0);
            if (values.len() as u64) < u64::from(least) {
                let message = format!("must have {least} elements at least; has {}", values.len());
                broken.push(Broken::new(path, "minItems", message));
            }
        }
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => {
            let number = match value {
                Bson::Int32(number) => f64::from(*number),
                Bson::Int64(number) => *number as f64,
                Bson::Double(number) => *number,
                other => other.to_string().trim_matches('"').parse().unwrap_or(0.0),
            };
            if let Some(min) = node.min.filter(|min| number < *min as f64) {
                let message = format!("must be {min} at least; found {number}");
                broken.push(Broken::new(path, "minimum", message));
            }
            if let Some(max) = node.max.filter(|max| number > *max as f64) {
                let message = format!("must be {max} at most; found {number}");
                broken.push(Broken::new(path, "maximum", message));
            }
        }
        _ => {}
    }
}

fn check_text(path: &str, node: &Node, text: &str, broken: &mut Vec<Broken>) {
    let length = text.chars().count() as u64;
    if let Some(least) = node.min_len.filter(|least| length < u64::from(*least)) {
        let message = format!("must have {least} characters at least; has {length}");
        broken.push(Broken::new(path, "minLength", message));
    }
    if let Some(most) = node.max_len.filter(|most| length > u64::from(*most)) {
        let message = format!("must have {most} characters at most; has {length}");
        broken.push(Broken::new(path, "maxLength", message));
    }
    if !node.choices.is_empty() && !node.choices.iter().any(|choice| choice == text) {
        let message = format!("must be one of {}; found {text:?}", node.choices.join(", "));
        broken.push(Broken::new(path, "enum", message));
    }
    if let Some(pattern) = &node.pattern {
        let matches = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
        if !matches {
            let message = format!("must match {pattern}");
            broken.push(Broken::new(path, "pattern", message));
        } else if node.base58check && !has_checksum(text) {
            let message = "is no address: its checksum is another one";
            broken.push(Broken::new(path, "checksum", message));
        }
    }
}

/// Whether a text in base 58 ends with the first bytes of the hash of the hash of the rest.
fn has_checksum(text: &str) -> bool {
    let Ok(bytes) = bs58::decode(text).into_vec() else {
        return false;
    };
    let Some((payload, sum)) = bytes.split_last_chunk::<4>() else {
        return false;
    };
    Sha256::digest(Sha256::digest(payload)).starts_with(sum)
}
