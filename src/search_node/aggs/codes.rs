//! Values as codes: numbers that are equal and ordered as the values of one segment are, so that
//! a text is looked up once for all documents that have it.

use tantivy::columnar::StrColumn;

use super::columns::Values;
use super::key::Key;
use crate::search_node::failure::{Failure, Outcome};

/// Coded values of documents.
#[derive(Debug)]
pub(super) struct Coded {
    pub values: Values<u64>,
    /// All codes are lower; `None` when that is not known.
    pub span: Option<u64>,
    pub decode: Decode,
}

/// What codes stand for.
#[derive(Debug)]
pub(super) enum Decode {
    /// The integer this many steps after the base.
    Steps { base: i64, step: i64 },
    /// One of these integers.
    Ints(Vec<i64>),
    /// The float of these ordered bits.
    Floats,
    /// The whole number this many after the base, as a float.
    Wholes(f64),
    /// A term of the dictionary, or the first number after them for another text.
    Terms {
        column: Box<StrColumn>,
        other: Option<Box<str>>,
    },
    /// One of these addresses.
    Ips(Vec<u128>),
    /// One text.
    Constant(Box<str>),
}

impl Coded {
    /// Of no values.
    pub(super) fn none() -> Self {
        Self {
            values: Values::none(),
            span: Some(0),
            decode: Decode::Floats,
        }
    }

    /// The same text for `len` documents.
    pub(super) fn constant(text: &str, len: usize) -> Self {
        Self {
            values: Values::same(0, len),
            span: Some(1),
            decode: Decode::Constant(text.into()),
        }
    }

    /// Integers from `low` to `high`.
    pub(super) fn ints(values: Values<i64>, low: i64, high: i64) -> Self {
        Self {
            values: values.map(|value| value.wrapping_sub(low).cast_unsigned()),
            // From here to there is one code more.
            span: high.wrapping_sub(low).cast_unsigned().checked_add(1),
            decode: Decode::Steps { base: low, step: 1 },
        }
    }

    /// Floats.
    pub(super) fn floats(values: Values<f64>) -> Self {
        Self {
            values: values.map(float_code),
            span: None,
            decode: Decode::Floats,
        }
    }

    /// The different codes, ascending.
    pub(super) fn distinct(&self) -> Vec<u64> {
        let mut codes = self.values.list.clone();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

impl Decode {
    /// The keys of `codes`, which ascend. The keys do too, but for a text that is not in the
    /// dictionary.
    pub(super) fn keys(&self, codes: &[u64]) -> Outcome<Vec<Key>> {
        Ok(match self {
            Decode::Steps { base, step } => codes
                .iter()
                .map(|code| {
                    let steps = code.wrapping_mul(step.cast_unsigned()).cast_signed();
                    Key::Int(base.wrapping_add(steps))
                })
                .collect(),
            Decode::Ints(ints) => codes
                .iter()
                .map(|code| Key::Int(at(ints, *code).copied().unwrap_or(0)))
                .collect(),
            Decode::Floats => codes
                .iter()
                .map(|code| Key::Float(float_of(*code)))
                .collect(),
            Decode::Wholes(base) => codes
                .iter()
                .map(|code| Key::Float(base + *code as f64))
                .collect(),
            Decode::Terms { column, other } => terms(column, other.as_deref(), codes)?,
            Decode::Ips(ips) => codes
                .iter()
                .map(|code| Key::Ip(at(ips, *code).copied().unwrap_or(0)))
                .collect(),
            Decode::Constant(text) => codes.iter().map(|_| Key::Text(text.clone())).collect(),
        })
    }
}

fn at<T>(list: &[T], code: u64) -> Option<&T> {
    list.get(usize::try_from(code).ok()?)
}

fn terms(column: &StrColumn, other: Option<&str>, codes: &[u64]) -> Outcome<Vec<Key>> {
    let known = column.num_terms() as u64;
    let inside = codes.partition_point(|code| *code < known);
    let mut keys = Vec::with_capacity(codes.len());
    column
        .dictionary()
        .sorted_ords_to_term_cb(&codes[..inside], |term| {
            keys.push(Key::Text(String::from_utf8_lossy(term).into()));
        })?;
    if keys.len() != inside {
        return Err(Failure::internal(
            "terms of a column are not in its dictionary",
        ));
    }
    let other = Key::Text(other.unwrap_or_default().into());
    keys.resize(codes.len(), other);
    Ok(keys)
}

/// Bits of a float that are ordered as floats are; both zeros are one.
pub(super) fn float_code(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn float_of(code: u64) -> f64 {
    f64::from_bits(if code >> 63 == 1 {
        code & !(1 << 63)
    } else {
        !code
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_floats_are_ordered_as_the_floats_are() {
        let floats = [f64::MIN, -1.5, -0.25, 0.0, 1e-300, 2.0, f64::MAX];
        let codes: Vec<u64> = floats.iter().map(|float| float_code(*float)).collect();
        assert!(codes.is_sorted());
        assert_eq!(float_code(-0.0), float_code(0.0));
        let back: Vec<f64> = codes.iter().map(|code| float_of(*code)).collect();
        assert_eq!(back, floats);
    }

    #[test]
    fn integers_over_the_whole_range_have_codes() {
        let values = Values {
            list: vec![i64::MIN, 0, i64::MAX],
            at: None,
            multi: false,
        };
        let coded = Coded::ints(values, i64::MIN, i64::MAX);
        assert_eq!(coded.span, None);
        let keys = coded.decode.keys(&coded.distinct()).unwrap();
        assert_eq!(keys, [Key::Int(i64::MIN), Key::Int(0), Key::Int(i64::MAX)]);
    }
}
