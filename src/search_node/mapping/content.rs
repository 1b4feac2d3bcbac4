//! The values of one field, as its index takes them.

use serde_json::Value;

use super::completion;
use super::kind::{Kind, Storage};
use super::leaf::Leaf;
use super::reader::{Reader, Target};
use super::values::{Number, parse_ip, parse_number};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;

/// Longest exact term, in bytes, as in Lucene.
const MAX_TERM: usize = 32_766;

impl Reader<'_> {
    pub(super) fn leaf(&mut self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        match value {
            Value::Array(values) => {
                for value in values {
                    self.leaf(leaf, value, target)?;
                }
                Ok(())
            }
            Value::Null => match &leaf.null_value {
                Some(stand_in) => self.value(leaf, stand_in, target),
                None => Ok(()),
            },
            _ => match self.value(leaf, value, target) {
                Err(_) if self.is_accepted => Ok(()),
                result => result,
            },
        }
    }

    fn value(&self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        if value.is_object() && leaf.kind != Kind::Completion {
            return if leaf.ignore_malformed {
                Ok(())
            } else {
                Err(self.unreadable(leaf, value, "Can't get text on a START_OBJECT"))
            };
        }
        let field = leaf.field();
        let result = match leaf.kind.storage() {
            Storage::Text => {
                let text = text(value);
                target.present.insert(leaf.slot);
                if leaf.index {
                    target.doc.add_text(field, text);
                }
                Ok(())
            }
            Storage::Term => {
                let mut text = text(value);
                if text.chars().count() > leaf.ignore_above {
                    return Ok(());
                }
                if leaf.lowercase {
                    text = text.to_lowercase();
                }
                if text.len() > MAX_TERM {
                    return Err(immense(leaf));
                }
                target.doc.add_text(field, text);
                Ok(())
            }
            Storage::Int | Storage::Float => {
                let blank = value.as_str().is_some_and(|text| text.trim().is_empty());
                if blank && leaf.kind != Kind::Boolean && leaf.kind != Kind::Date {
                    return Err(self.unreadable(leaf, value, "empty String"));
                }
                parse_number(leaf, value).map(|number| match number {
                    Number::Int(number) => target.doc.add_i64(field, number),
                    Number::Float(number) => target.doc.add_f64(field, number),
                })
            }
            Storage::Completion => return self.completion(leaf, value, target),
            Storage::Ip => parse_ip(value).map(|ip| target.doc.add_ip_addr(field, ip)),
        };
        match result {
            Err(_) if leaf.ignore_malformed => Ok(()),
            Err(why) => Err(self.unreadable(leaf, value, &why)),
            Ok(()) => Ok(()),
        }
    }

    /// What is suggested for a document: each input as one term.
    fn completion(&self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        let inputs =
            completion::inputs(leaf, value).map_err(|why| self.unreadable(leaf, value, &why))?;
        for (input, weight) in inputs {
            let term = leaf
                .completion_term(&input, weight)
                .map_err(|why| self.unreadable(leaf, value, &why))?;
            let Some(term) = term else {
                continue;
            };
            if term.len() > MAX_TERM {
                return Err(immense(leaf));
            }
            target.doc.add_text(leaf.field(), term);
        }
        target.present.insert(leaf.slot);
        Ok(())
    }

    fn unreadable(&self, leaf: &Leaf, value: &Value, why: &str) -> Failure {
        let preview: String = text(value).chars().take(100).collect();
        Failure::document(format!(
            "[1:1] failed to parse field [{}] of type [{}] in document with id '{}'. Preview of \
             field's value: '{preview}'",
            leaf.path,
            leaf.kind.name(),
            self.id
        ))
        .because(Failure::illegal(why))
    }
}

/// A term is too long.
fn immense(leaf: &Leaf) -> Failure {
    Failure::illegal(format!(
        "Document contains at least one immense term in field=\"{}\" (whose UTF8 encoding is \
         longer than the max length {MAX_TERM})",
        leaf.path
    ))
}
