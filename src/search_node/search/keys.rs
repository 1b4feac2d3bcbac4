//! Reading what hits are ordered by.

use std::net::Ipv6Addr;

use tantivy::DocId;
use tantivy::columnar::{Column, StrColumn};

use super::sort::SortValue;
use crate::search_node::failure::Outcome;

/// Which of several values of a document counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Min,
    Max,
    Sum,
    Avg,
    Median,
}

/// An address as it is shown: IPv4 in its own form.
pub(super) fn show_ip(ip: Ipv6Addr) -> String {
    match ip.to_ipv4_mapped() {
        Some(v4) => v4.to_string(),
        None => ip.to_string(),
    }
}

/// Reads the values of one key in one segment.
pub(super) enum KeyReader {
    Score,
    /// The number of the segment's first document over the whole search, indices and all.
    Doc(u64),
    Absent(SortValue),
    Int(Column<i64>, Mode, SortValue),
    Float(Column<f64>, Mode, SortValue),
    Ip(Column<Ipv6Addr>, Mode, SortValue),
    Text(StrColumn, Mode, SortValue),
}

impl KeyReader {
    /// The value of `doc`; texts as ordinals.
    pub(super) fn value(&self, doc: DocId, score: f32) -> SortValue {
        match self {
            KeyReader::Score => SortValue::Float(f64::from(score)),
            KeyReader::Doc(base) => {
                SortValue::Int(i64::try_from(base + u64::from(doc)).unwrap_or(i64::MAX))
            }
            KeyReader::Absent(missing) => missing.clone(),
            KeyReader::Int(column, mode, missing) => {
                let mut values = column.values_for_doc(doc);
                let Some(first) = values.next() else {
                    return missing.clone();
                };
                SortValue::Int(match mode {
                    Mode::Min => values.fold(first, i64::min),
                    Mode::Max => values.fold(first, i64::max),
                    Mode::Sum => values.fold(first, i64::saturating_add),
                    Mode::Avg | Mode::Median => {
                        let mut all: Vec<i64> = std::iter::once(first).chain(values).collect();
                        middle_int(&mut all, *mode)
                    }
                })
            }
            KeyReader::Float(column, mode, missing) => {
                let mut values = column.values_for_doc(doc);
                let Some(first) = values.next() else {
                    return missing.clone();
                };
                SortValue::Float(match mode {
                    Mode::Min => values.fold(first, f64::min),
                    Mode::Max => values.fold(first, f64::max),
                    Mode::Sum => values.fold(first, |a, b| a + b),
                    Mode::Avg | Mode::Median => {
                        let mut all: Vec<f64> = std::iter::once(first).chain(values).collect();
                        middle_float(&mut all, *mode)
                    }
                })
            }
            KeyReader::Ip(column, mode, missing) => {
                let values = column.values_for_doc(doc);
                let chosen = if *mode == Mode::Max {
                    values.max()
                } else {
                    values.min()
                };
                chosen.map_or_else(|| missing.clone(), SortValue::Ip)
            }
            KeyReader::Text(column, mode, missing) => {
                let ords = column.term_ords(doc);
                let chosen = if *mode == Mode::Max {
                    ords.max()
                } else {
                    ords.min()
                };
                chosen.map_or_else(|| missing.clone(), SortValue::Ord)
            }
        }
    }

    /// A value that holds in every segment.
    pub(super) fn resolve(&self, value: SortValue) -> Outcome<SortValue> {
        let (SortValue::Ord(ord), KeyReader::Text(column, ..)) = (&value, self) else {
            return Ok(value);
        };
        let mut text = String::new();
        column.ord_to_str(*ord, &mut text)?;
        Ok(SortValue::Text(text))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn middle_int(all: &mut [i64], mode: Mode) -> i64 {
    // Halves are rounded up, as Java does.
    let rounded = |sum: i128, count: i128| (2 * sum + count).div_euclid(2 * count) as i64;
    if mode == Mode::Avg {
        let sum: i128 = all.iter().map(|value| i128::from(*value)).sum();
        return rounded(sum, all.len() as i128);
    }
    all.sort_unstable();
    let half = all.len() / 2;
    if all.len() % 2 == 1 {
        all[half]
    } else {
        rounded(i128::from(all[half - 1]) + i128::from(all[half]), 2)
    }
}

fn middle_float(all: &mut [f64], mode: Mode) -> f64 {
    if mode == Mode::Avg {
        return all.iter().sum::<f64>() / all.len() as f64;
    }
    all.sort_unstable_by(f64::total_cmp);
    let half = all.len() / 2;
    if all.len() % 2 == 1 {
        all[half]
    } else {
        f64::midpoint(all[half - 1], all[half])
    }
}
