//! The same work by tantivy in this process: what HTTP, JSON, ids, versions and the log cost.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tantivy::aggregation::AggregationCollector;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::collector::TopDocs;
use tantivy::query::{AllQuery, BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    DateOptions, FAST, Field, IndexRecordOption, STORED, STRING, Schema, TEXT, TantivyDocument,
};
use tantivy::{DateTime, Index, IndexReader, Term};

use crate::Latencies;
use crate::documents::{Numbers, document, user, words};

struct Fields {
    keywords: Vec<(&'static str, Field)>,
    numbers: Vec<(&'static str, Field)>,
    created: Field,
    message: Field,
    source: Field,
}

fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let keywords = ["session_id", "user_id", "status"];
    let keywords = keywords.map(|name| (name, builder.add_text_field(name, STRING | FAST)));
    let numbers = ["size_bytes", "chunk_count"];
    let numbers = numbers.map(|name| {
        let options = tantivy::schema::NumericOptions::default()
            .set_fast()
            .set_indexed();
        (name, builder.add_i64_field(name, options))
    });
    let dates = DateOptions::default().set_fast().set_indexed();
    let created = builder.add_date_field("created_at", dates);
    let message = builder.add_text_field("message", TEXT);
    let source = builder.add_bytes_field("_source", STORED);
    let fields = Fields {
        keywords: keywords.into(),
        numbers: numbers.into(),
        created,
        message,
        source,
    };
    (builder.build(), fields)
}

/// Indexes `count` documents, and asks as often as asked for, with `threads` at once.
pub fn run(dir: &Path, count: u64, requests: u64, threads: u64) -> tantivy::Result<Value> {
    let (schema, fields) = schema();
    let index = Index::create_in_dir(dir, schema)?;
    let began = Instant::now();
    let mut writer = index.writer_with_num_threads(1, 50 << 20)?;
    for number in 0..count {
        let json = document(number);
        let mut doc = TantivyDocument::default();
        for (name, field) in &fields.keywords {
            doc.add_text(*field, json[*name].as_str().unwrap_or_default());
        }
        for (name, field) in &fields.numbers {
            doc.add_i64(*field, json[*name].as_i64().unwrap_or_default());
        }
        let millis = json["created_at"].as_i64().unwrap_or_default();
        doc.add_date(fields.created, DateTime::from_timestamp_millis(millis));
        doc.add_text(fields.message, json["message"].as_str().unwrap_or_default());
        doc.add_bytes(fields.source, json.to_string().as_bytes());
        writer.add_document(doc)?;
    }
    writer.commit()?;
    let indexed = began.elapsed();
    writer.wait_merging_threads()?;
    let reader = index.reader()?;
    let mut found = json!({"index_docs_per_s": count as f64 / indexed.as_secs_f64()});
    for kind in ["term", "match"] {
        found[kind] = ask(kind, &reader, &fields, requests, threads)?.show();
    }
    let mut latencies = Latencies::default();
    let aggregations: Aggregations = serde_json::from_value(json!({
        "statuses": {"terms": {"field": "status"}},
        "days": {"date_histogram": {"field": "created_at", "fixed_interval": "1d"}},
    }))
    .map_err(|error| tantivy::TantivyError::InvalidArgument(error.to_string()))?;
    let whole = Instant::now();
    for _ in 0..200 {
        let began = Instant::now();
        let collector = AggregationCollector::from_aggs(
            aggregations.clone(),
            tantivy::aggregation::AggContextParams::default(),
        );
        let answer = reader.searcher().search(&AllQuery, &collector)?;
        std::hint::black_box(answer);
        latencies.add(began.elapsed());
    }
    latencies.took(whole.elapsed());
    found["aggs"] = latencies.show();
    Ok(found)
}

fn ask(
    kind: &str,
    reader: &IndexReader,
    fields: &Fields,
    requests: u64,
    threads: u64,
) -> tantivy::Result<Latencies> {
    let began = Instant::now();
    let mut all = Latencies::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || -> tantivy::Result<Latencies> {
                    let mut latencies = Latencies::default();
                    for number in (worker..requests).step_by(threads as usize) {
                        let began = Instant::now();
                        let query = query(kind, number, fields);
                        let searcher = reader.searcher();
                        let top = TopDocs::with_limit(10).order_by_score();
                        // Not counted: the node counts no more than 10,000 either.
                        let hits = searcher.search(&*query, &top)?;
                        for (_, address) in hits {
                            let doc: TantivyDocument = searcher.doc(address)?;
                            std::hint::black_box(doc);
                        }
                        latencies.add(began.elapsed());
                    }
                    Ok(latencies)
                })
            })
            .collect();
        for worker in workers {
            let latencies = worker.join();
            let failed = |_| tantivy::TantivyError::SystemError("a worker failed".into());
            all.join(latencies.map_err(failed)??);
        }
        tantivy::Result::Ok(())
    })?;
    all.took(began.elapsed());
    Ok(all)
}

fn query(kind: &str, number: u64, fields: &Fields) -> Box<dyn Query> {
    let term = |field, text: &str| -> Box<dyn Query> {
        let record = IndexRecordOption::WithFreqs;
        Box::new(TermQuery::new(Term::from_field_text(field, text), record))
    };
    if kind == "term" {
        let users = fields.keywords.iter().find(|(name, _)| *name == "user_id");
        let field = users.map_or(fields.message, |(_, field)| *field);
        return term(field, &user(Numbers::new(number).next()));
    }
    let words = words(number);
    let terms = words
        .split(' ')
        .map(|word| (Occur::Should, term(fields.message, word)));
    Box::new(BooleanQuery::new(terms.collect()))
}
