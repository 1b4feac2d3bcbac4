//! Values of many documents from a column at once.

use std::fmt::Debug;

use tantivy::DocId;
use tantivy::columnar::{Column, ColumnIndex};

/// Values of a list of documents.
#[derive(Debug, Clone)]
pub(super) struct Values<T> {
    pub list: Vec<T>,
    /// Position of each value's document in the list, ascending; `None` when each document has
    /// exactly one value.
    pub at: Option<Vec<u32>>,
    /// Whether a document may have several ones.
    pub multi: bool,
}

impl<T: Copy> Values<T> {
    /// No values.
    pub(super) fn none() -> Self {
        Self {
            list: Vec::new(),
            at: Some(Vec::new()),
            multi: false,
        }
    }

    /// The same for all of `len` documents.
    pub(super) fn same(value: T, len: usize) -> Self {
        Self {
            list: vec![value; len],
            at: None,
            multi: false,
        }
    }

    /// Calls `f` with the position of the document and the value, in order.
    #[inline]
    pub(super) fn each(&self, mut f: impl FnMut(usize, T)) {
        match &self.at {
            None => {
                for (at, value) in self.list.iter().enumerate() {
                    f(at, *value);
                }
            }
            Some(positions) => {
                for (at, value) in positions.iter().zip(&self.list) {
                    f(*at as usize, *value);
                }
            }
        }
    }

    /// The different values, ascending, and the number of each among them.
    pub(super) fn numbered(self) -> (Vec<T>, Values<u64>)
    where
        T: Ord,
    {
        let mut known = self.list.clone();
        known.sort_unstable();
        known.dedup();
        let numbers = self.map(|value| known.partition_point(|one| *one < value) as u64);
        (known, numbers)
    }

    /// Other values in their place.
    pub(super) fn map<U>(self, f: impl FnMut(T) -> U) -> Values<U> {
        Values {
            list: self.list.into_iter().map(f).collect(),
            at: self.at,
            multi: self.multi,
        }
    }

    /// Keeps the values that `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(T) -> bool) {
        let mut values = Vec::with_capacity(self.list.len());
        let mut positions = Vec::with_capacity(self.list.len());
        self.each(|at, value| {
            if keep(value) {
                values.push(value);
                positions.push(position(at));
            }
        });
        self.list = values;
        self.at = Some(positions);
    }

    /// Takes away the values of documents from position `len` on.
    pub(super) fn split_off(&mut self, len: usize) -> Vec<T> {
        let Some(positions) = &mut self.at else {
            return self.list.split_off(len.min(self.list.len()));
        };
        let cut = positions.partition_point(|at| (*at as usize) < len);
        positions.truncate(cut);
        self.list.split_off(cut)
    }

    /// The values of each document: `f` gets its position and a list, which is empty for those
    /// that have none.
    pub(super) fn by_doc(&self, len: usize, mut f: impl FnMut(usize, &[T])) {
        let Some(positions) = &self.at else {
            for (at, value) in self.list.iter().enumerate() {
                f(at, std::slice::from_ref(value));
            }
            return;
        };
        let mut start = 0;
        for at in 0..len {
            let rest = &positions[start..];
            let here = rest.iter().take_while(|one| **one as usize == at).count();
            f(at, &self.list[start..start + here]);
            start += here;
        }
    }
}

impl<T: Copy + Ord> Values<T> {
    /// Takes each value of a document once.
    pub(super) fn dedup(&mut self) {
        if !self.multi {
            return;
        }
        let Some(positions) = self.at.take() else {
            return;
        };
        let mut pairs: Vec<(u32, T)> = positions.into_iter().zip(self.list.drain(..)).collect();
        // Positions ascend already, so that this sorts within documents only.
        pairs.sort();
        pairs.dedup();
        let (positions, values) = pairs.into_iter().unzip();
        self.at = Some(positions);
        self.list = values;
    }
}

/// A position in a list of documents, of which there are at most 2^32.
#[inline]
pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The values of `docs`, which are of the column's segment; `missing` is that of documents
/// without one.
pub(super) fn gather<T>(column: &Column<T>, docs: &[DocId], missing: Option<T>) -> Values<T>
where
    T: Copy + PartialOrd + Debug + Default + Send + Sync + 'static,
{
    if matches!(column.index, ColumnIndex::Full) {
        let mut values = vec![T::default(); docs.len()];
        column.values.get_vals(docs, &mut values);
        return Values {
            list: values,
            at: None,
            multi: false,
        };
    }
    let multi = matches!(column.index, ColumnIndex::Multivalued(_));
    if let Some(missing) = missing {
        let mut values = Vec::with_capacity(docs.len());
        let mut positions = Vec::with_capacity(docs.len());
        for (at, doc) in docs.iter().enumerate() {
            let before = values.len();
            values.extend(column.values_for_doc(*doc));
            if values.len() == before {
                values.push(missing);
            }
            positions.resize(values.len(), position(at));
        }
        return Values {
            list: values,
            at: Some(positions),
            multi,
        };
    }
    let mut rows = Vec::with_capacity(docs.len());
    let mut positions = Vec::with_capacity(docs.len());
    for (at, doc) in docs.iter().enumerate() {
        for row in column.index.value_row_ids(*doc) {
            rows.push(row);
            positions.push(position(at));
        }
    }
    let mut values = vec![T::default(); rows.len()];
    column.values.get_vals(&rows, &mut values);
    Values {
        list: values,
        at: Some(positions),
        multi,
    }
}
