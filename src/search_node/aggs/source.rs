//! The field that an aggregation works on.

use std::net::Ipv6Addr;
use std::sync::Arc;

use tantivy::DocId;
use tantivy::columnar::{Column, StrColumn};

use super::codes::{Coded, Decode};
use super::columns::{Values, gather};
use super::context::Ctx;
use super::key::{Shown, whole};
use super::params::float;
use super::target::Target;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{Kind, Leaf, Number, Storage, parse_ip, parse_number};

/// Whether a field has numbers.
pub(super) fn numbers(kind: Kind) -> bool {
    kind.is_numeric()
}

/// Any field.
pub(super) fn anything(_: Kind) -> bool {
    true
}

/// Where values come from.
#[derive(Debug)]
enum Lane {
    Absent,
    Int(Column<i64>),
    Float(Column<f64>),
    Terms(Box<StrColumn>),
    Ip(Column<Ipv6Addr>),
    /// The index's name.
    Index(String),
}

/// A field of one segment.
#[derive(Debug)]
pub(super) struct Source<'a> {
    target: &'a Target,
    pub leaf: Option<&'a Leaf>,
    column: Lane,
    pub show: Shown,
    now: i64,
}

impl<'a> Source<'a> {
    /// Opens the field for an aggregation of type `agg`, which takes some kinds.
    pub(super) fn open(
        ctx: &Ctx<'a>,
        target: &'a Target,
        agg: &str,
        takes: fn(Kind) -> bool,
    ) -> Outcome<Self> {
        let now = ctx.host.now();
        if target.field == "_index" && takes(Kind::Keyword) {
            return Ok(Self {
                target,
                leaf: None,
                column: Lane::Index(ctx.host.index_name().to_owned()),
                show: Shown::default(),
                now,
            });
        }
        let leaf = ctx.leaf(&target.field, agg, takes)?.map(Arc::as_ref);
        let show = Arc::new(target.show(leaf)?);
        let column = match (leaf, ctx.part) {
            (Some(leaf), Some(part)) => open(leaf, part.segment.reader.fast_fields())?,
            _ => Lane::Absent,
        };
        let source = Self {
            target,
            leaf,
            column,
            show,
            now,
        };
        source.check_missing()?;
        Ok(source)
    }

    fn check_missing(&self) -> Outcome<()> {
        match self.leaf.map(|leaf| leaf.kind.storage()) {
            Some(Storage::Int | Storage::Float) => self.missing_number().map(|_| ()),
            Some(Storage::Ip) => self.missing_ip().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Whether a document has a value.
    pub(super) fn has(&self, doc: DocId) -> bool {
        match &self.column {
            Lane::Absent => false,
            Lane::Int(column) => column.index.has_value(doc),
            Lane::Float(column) => column.index.has_value(doc),
            Lane::Terms(column) => column.ords().index.has_value(doc),
            Lane::Ip(column) => column.index.has_value(doc),
            Lane::Index(_) => true,
        }
    }

    /// The value for documents without one.
    fn missing_number(&self) -> Outcome<Option<Number>> {
        let Some(value) = &self.target.missing else {
            return Ok(None);
        };
        let dates = self.target.dates && self.leaf.is_none();
        let number = match self.leaf {
            Some(leaf) if leaf.kind == Kind::Date => {
                let formats = self.target.formats(self.leaf)?;
                Ok(Number::Int(self.target.date(value, &formats, self.now)?))
            }
            Some(leaf) => parse_number(leaf, value),
            None if dates => {
                let formats = self.target.formats(None)?;
                Ok(Number::Int(self.target.date(value, &formats, self.now)?))
            }
            None => float(value)
                .map(Number::Float)
                .ok_or_else(|| format!("For input string: [{value}]")),
        };
        number.map(Some).map_err(|why| {
            Failure::illegal(format!("[missing] of field [{}]: {why}", self.target.field))
        })
    }

    fn missing_int(&self) -> Outcome<Option<i64>> {
        Ok(self.missing_number()?.map(|number| match number {
            Number::Int(number) => number,
            Number::Float(number) => whole(number),
        }))
    }

    fn missing_float(&self) -> Outcome<Option<f64>> {
        Ok(self.missing_number()?.map(|number| match number {
            Number::Int(number) => number as f64,
            Number::Float(number) => number,
        }))
    }

    fn missing_ip(&self) -> Outcome<Option<u128>> {
        let missing = self.target.missing.as_ref();
        let ip = missing.map(|value| parse_ip(value).map(u128::from));
        ip.transpose().map_err(Failure::illegal)
    }

    /// Numbers of documents.
    pub(super) fn numbers(&self, docs: &[DocId]) -> Outcome<Values<f64>> {
        let missing = self.missing_float()?;
        Ok(match &self.column {
            Lane::Int(column) => {
                let missing = self.missing_int()?;
                gather(column, docs, missing).map(|value| value as f64)
            }
            Lane::Float(column) => gather(column, docs, missing),
            _ => match missing {
                Some(missing) => Values::same(missing, docs.len()),
                None => Values::none(),
            },
        })
    }

    /// Integers of documents, and bounds of them.
    pub(super) fn ints(&self, docs: &[DocId]) -> Outcome<Option<(Values<i64>, i64, i64)>> {
        let missing = self.missing_int()?;
        let (values, low, high) = match &self.column {
            Lane::Int(column) => {
                let (low, high) = (column.min_value(), column.max_value());
                (gather(column, docs, missing), low, high)
            }
            Lane::Float(column) => {
                let (low, high) = (whole(column.min_value()), whole(column.max_value()));
                let missing = missing.map(|missing| missing as f64);
                (gather(column, docs, missing).map(whole), low, high)
            }
            _ => {
                return Ok(
                    missing.map(|missing| (Values::same(missing, docs.len()), missing, missing))
                );
            }
        };
        Ok(Some(match missing {
            Some(missing) => (values, low.min(missing), high.max(missing)),
            None => (values, low, high),
        }))
    }

    /// Bounds of the numbers that documents have.
    pub(super) fn number_bounds(&self) -> Outcome<Option<(f64, f64)>> {
        let missing = self.missing_float()?;
        let (low, high) = match &self.column {
            Lane::Int(column) => (column.min_value() as f64, column.max_value() as f64),
            Lane::Float(column) => (column.min_value(), column.max_value()),
            _ => return Ok(missing.map(|missing| (missing, missing))),
        };
        Ok(Some(match missing {
            Some(missing) => (low.min(missing), high.max(missing)),
            None => (low, high),
        }))
    }

    /// Coded values of documents. A document has each text and address once, but a number as
    /// often as it was given.
    pub(super) fn codes(&self, docs: &[DocId]) -> Outcome<Coded> {
        Ok(match &self.column {
            Lane::Index(name) => Coded::constant(name, docs.len()),
            Lane::Terms(column) => self.terms(column, docs)?,
            Lane::Int(_) => match self.ints(docs)? {
                Some((values, low, high)) => Coded::ints(values, low, high),
                None => Coded::none(),
            },
            Lane::Float(_) => Coded::floats(self.numbers(docs)?),
            Lane::Ip(column) => {
                let missing = self.missing_ip()?.map(Ipv6Addr::from);
                ips(gather_ips(column, docs, missing))
            }
            Lane::Absent => self.absent(docs)?,
        })
    }

    fn absent(&self, docs: &[DocId]) -> Outcome<Coded> {
        let Some(missing) = &self.target.missing else {
            return Ok(Coded::none());
        };
        Ok(match self.leaf.map(|leaf| leaf.kind.storage()) {
            Some(Storage::Int) => match self.ints(docs)? {
                Some((values, low, high)) => Coded::ints(values, low, high),
                None => Coded::none(),
            },
            Some(Storage::Float) => Coded::floats(self.numbers(docs)?),
            Some(Storage::Ip) => match self.missing_ip()? {
                Some(ip) => ips(Values::same(ip, docs.len())),
                None => Coded::none(),
            },
            _ => Coded::constant(&plain(missing).unwrap_or_default(), docs.len()),
        })
    }

    fn terms(&self, column: &StrColumn, docs: &[DocId]) -> Outcome<Coded> {
        let known = column.num_terms() as u64;
        let mut other = None;
        let missing = match self.target.missing.as_ref().and_then(plain) {
            None => None,
            Some(text) => {
                let ord = column.dictionary().term_ord(text.as_bytes())?;
                if ord.is_none() {
                    other = Some(text.into());
                }
                Some(ord.unwrap_or(known))
            }
        };
        let mut values = gather(column.ords(), docs, missing);
        values.dedup();
        Ok(Coded {
            values,
            span: Some(known + 1),
            decode: Decode::Terms {
                column: Box::new(column.clone()),
                other,
            },
        })
    }
}

fn open(leaf: &Leaf, columns: &tantivy::fastfield::FastFieldReaders) -> Outcome<Lane> {
    let name = leaf.column();
    let column = match leaf.kind.storage() {
        Storage::Int => columns.column_opt(&name)?.map(Lane::Int),
        Storage::Float => columns.column_opt(&name)?.map(Lane::Float),
        Storage::Ip => columns.column_opt(&name)?.map(Lane::Ip),
        Storage::Term => columns
            .str(&name)?
            .map(|column| Lane::Terms(Box::new(column))),
        Storage::Text | Storage::Completion => None,
    };
    Ok(column.unwrap_or(Lane::Absent))
}

fn gather_ips(
    column: &Column<Ipv6Addr>,
    docs: &[DocId],
    missing: Option<Ipv6Addr>,
) -> Values<u128> {
    let mut found = Values {
        list: Vec::new(),
        at: Some(Vec::new()),
        multi: true,
    };
    let mut positions = Vec::new();
    for (at, doc) in docs.iter().enumerate() {
        let before = found.list.len();
        found
            .list
            .extend(column.values_for_doc(*doc).map(u128::from));
        if found.list.len() == before {
            found.list.extend(missing.map(u128::from));
        }
        positions.resize(found.list.len(), super::columns::position(at));
    }
    found.at = Some(positions);
    found.dedup();
    found
}

fn ips(values: Values<u128>) -> Coded {
    let (known, values) = values.numbered();
    Coded {
        values,
        span: Some(known.len() as u64),
        decode: Decode::Ips(known),
    }
}
