//! Where fields lie in the index: the schema of tantivy that follows from a mapping.
//!
//! Fields are numbered in the order in which they came and keep their number, so that segments
//! written before a field came stay readable.

use std::collections::BTreeMap;
use std::sync::Arc;

use tantivy::schema::{
    BytesOptions, Field, IndexRecordOption, IpAddrOptions, NumericOptions, SchemaBuilder,
    TextFieldIndexing, TextOptions,
};

use super::kind::Storage;
use super::leaf::Leaf;
use crate::search_node::analysis::Analyzer;

/// The fields that every index has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemFields;

impl SystemFields {
    /// `_id`: one term, stored.
    pub(crate) const ID: Field = Field::from_field_id(0);
    /// `_source`: the document's bytes as they came, stored.
    pub(crate) const SOURCE: Field = Field::from_field_id(1);
    /// `_seq_no`: a column.
    pub(crate) const SEQ: Field = Field::from_field_id(2);
    /// `_version`: a column.
    pub(crate) const VERSION: Field = Field::from_field_id(3);
    /// The number of the nested object that this is an instance of: a column.
    pub(crate) const NEST: Field = Field::from_field_id(4);
    /// Slots of the texts and completions that have a value: terms, for `exists`.
    pub(crate) const PRESENT: Field = Field::from_field_id(5);
    /// How many there are; the mapping's fields follow.
    pub(crate) const COUNT: u32 = 6;
    /// Name of the column of `_seq_no`.
    pub(crate) const SEQ_COLUMN: &'static str = "seq";
    /// Name of the column of `_version`.
    pub(crate) const VERSION_COLUMN: &'static str = "version";
    /// Name of the column of nested objects.
    pub(crate) const NEST_COLUMN: &'static str = "nest";
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Schema {
    /// As tantivy takes it.
    pub tantivy: tantivy::schema::Schema,
}

impl Schema {
    pub(super) fn new(slots: &[String], leaves: &BTreeMap<String, Arc<Leaf>>) -> Self {
        let mut schema = SchemaBuilder::new();
        schema.add_text_field("id", term(true, false).set_stored());
        schema.add_bytes_field("source", BytesOptions::default().set_stored());
        schema.add_u64_field("seq", NumericOptions::default().set_fast());
        schema.add_u64_field("version", NumericOptions::default().set_fast());
        schema.add_u64_field("nest", NumericOptions::default().set_fast());
        schema.add_text_field("present", term(true, false));
        for (position, path) in slots.iter().enumerate() {
            let name = format!("f{position}");
            match leaves.get(path) {
                Some(leaf) => add(&mut schema, &name, leaf),
                // A slot without a field does not occur: fields are never removed.
                None => {
                    schema.add_u64_field(&name, NumericOptions::default());
                }
            }
        }
        Self {
            tantivy: schema.build(),
        }
    }
}

fn add(schema: &mut SchemaBuilder, name: &str, leaf: &Leaf) {
    match leaf.kind.storage() {
        Storage::Text => {
            let mut options = TextOptions::default();
            if leaf.index {
                options = options.set_indexing_options(
                    TextFieldIndexing::default()
                        .set_tokenizer(leaf.analyzer.tokenizer_name())
                        .set_fieldnorms(leaf.norms)
                        .set_index_option(IndexRecordOption::WithFreqsAndPositions),
                );
            }
            schema.add_text_field(name, options);
        }
        Storage::Term => {
            schema.add_text_field(name, term(leaf.index, true));
        }
        Storage::Completion => {
            schema.add_text_field(name, term(true, false));
        }
        Storage::Int => {
            schema.add_i64_field(name, NumericOptions::default().set_fast());
        }
        Storage::Float => {
            schema.add_f64_field(name, NumericOptions::default().set_fast());
        }
        Storage::Ip => {
            schema.add_ip_addr_field(name, IpAddrOptions::default().set_fast());
        }
    }
}

/// One exact term, without frequencies and length.
fn term(index: bool, fast: bool) -> TextOptions {
    let mut options = TextOptions::default();
    if index {
        options = options.set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(Analyzer::Keyword.tokenizer_name())
                .set_fieldnorms(false)
                .set_index_option(IndexRecordOption::Basic),
        );
    }
    if fast {
        options = options.set_fast(FAST_TOKENIZER);
    }
    options
}

/// Tantivy's own name for taking the whole text.
const FAST_TOKENIZER: &str = "raw";
