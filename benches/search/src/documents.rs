//! The documents and the queries, the same in every run.

use serde_json::{Value, json};

/// Words that messages are made of.
const VOCABULARY: u64 = 5000;

/// Users that own documents.
const USERS: u64 = 1000;

/// Days that documents lie in.
const DAYS: u64 = 90;

/// The first day, in seconds since the epoch: 2026-01-01.
const FIRST: u64 = 1_767_225_600;

const STATUSES: [&str; 5] = ["active", "completed", "failed", "pending", "archived"];

/// Numbers without a pattern that matters (Steele and others: `SplitMix64`).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A word; those at the front of the vocabulary are much more frequent, as in any language.
    fn word(&mut self) -> String {
        let share = self.below(1 << 20) as f64 / f64::from(1 << 20);
        let rank = ((VOCABULARY as f64).powf(share) - 1.0) as u64;
        format!("word{rank}")
    }
}

pub fn user(number: u64) -> String {
    format!("user-{:04}", number % USERS)
}

/// Document `number`, about 500 bytes.
pub fn document(number: u64) -> Value {
    let mut numbers = Numbers::new(number);
    let words: Vec<String> = (0..34).map(|_| numbers.word()).collect();
    let at = FIRST + numbers.below(DAYS * 86_400);
    json!({
        "session_id": format!("session-{number:08}-{:016x}", numbers.next()),
        "user_id": user(numbers.next()),
        "status": STATUSES[numbers.below(5) as usize],
        "created_at": at * 1000,
        "size_bytes": numbers.below(1 << 30),
        "chunk_count": numbers.below(64),
        "message": words.join(" "),
    })
}

pub fn mappings() -> Value {
    json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"properties": {
        "session_id": {"type": "keyword"}, "user_id": {"type": "keyword"},
        "status": {"type": "keyword"}, "created_at": {"type": "date"},
        "size_bytes": {"type": "long"}, "chunk_count": {"type": "integer"},
        "message": {"type": "text"},
    }}})
}

/// The text of query `number` of this kind.
pub fn words(number: u64) -> String {
    let mut numbers = Numbers::new(number ^ 0xabcd);
    format!("{} {}", numbers.word(), numbers.word())
}

/// The body of query `number`.
pub fn query(kind: &str, number: u64) -> Value {
    match kind {
        "term" => json!({"query": {"term": {"user_id": user(Numbers::new(number).next())}}}),
        "match" => json!({"query": {"match": {"message": words(number)}}}),
        _ => json!({"size": 0, "aggs": {
            "statuses": {"terms": {"field": "status"}},
            "days": {"date_histogram": {"field": "created_at", "fixed_interval": "1d"}},
        }}),
    }
}
