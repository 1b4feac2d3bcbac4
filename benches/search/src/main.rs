//! Load for the search benchmark: one job each call, one line of JSON with what was measured.

mod direct;
mod documents;
mod wire;

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::Connection;

/// Times of many requests.
#[derive(Default)]
pub struct Latencies {
    micros: Vec<u64>,
    took: Duration,
}

impl Latencies {
    pub fn add(&mut self, time: Duration) {
        self.micros.push(time.as_micros() as u64);
    }

    pub fn join(&mut self, other: Self) {
        self.micros.extend(other.micros);
    }

    pub fn took(&mut self, time: Duration) {
        self.took = time;
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.micros.get(index).copied().unwrap_or(0) as f64 / 1000.0
    }

    pub fn show(mut self) -> Value {
        self.micros.sort_unstable();
        json!({
            "requests": self.micros.len(),
            "per_s": self.micros.len() as f64 / self.took.as_secs_f64(),
            "p50_ms": self.at(0.5),
            "p95_ms": self.at(0.95),
            "max_ms": self.at(1.0),
        })
    }
}

struct Target {
    address: String,
    login: String,
}

/// Creates the index and puts `count` documents into it.
fn bulk(target: &Target, count: u64, batch: u64, connections: u64) -> Result<Value> {
    let mut connection = Connection::open(&target.address, &target.login)?;
    let body = documents::mappings().to_string();
    let (status, answer) = connection.call("PUT", "/bench", body.as_bytes())?;
    if status != 200 {
        return Err(Error::other(String::from_utf8_lossy(answer).into_owned()));
    }
    // Made before the clock starts: what is measured is the node.
    let bodies: Vec<String> = (0..count.div_ceil(batch))
        .map(|part| {
            let numbers = part * batch..((part + 1) * batch).min(count);
            numbers
                .map(|number| {
                    format!(
                        "{{\"index\":{{\"_id\":\"{number}\"}}}}\n{}\n",
                        documents::document(number)
                    )
                })
                .collect()
        })
        .collect();
    let bytes: usize = bodies.iter().map(String::len).sum();
    let began = Instant::now();
    let bodies = &bodies;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|worker| {
                scope.spawn(move || -> Result<()> {
                    let mut connection = Connection::open(&target.address, &target.login)?;
                    for body in bodies
                        .iter()
                        .skip(worker as usize)
                        .step_by(connections as usize)
                    {
                        let (status, answer) =
                            connection.call("POST", "/bench/_bulk", body.as_bytes())?;
                        let answer: Value = serde_json::from_slice(answer)?;
                        if status != 200 || answer["errors"] != false {
                            return Err(Error::other(answer.to_string()));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(Error::other("a worker failed")))
        })
    })?;
    let took = began.elapsed().as_secs_f64();
    let (status, _) = connection.call("POST", "/bench/_refresh", b"")?;
    if status != 200 {
        return Err(Error::other("the refresh failed"));
    }
    Ok(
        json!({"docs_per_s": count as f64 / took, "mb_per_s": bytes as f64 / took / 1e6, "bytes_per_doc": bytes as f64 / count as f64}),
    )
}

/// Sends queries of one kind, for `limit` at most.
fn ask(
    target: &Target,
    kind: &str,
    requests: u64,
    connections: u64,
    limit: Duration,
) -> Result<Value> {
    let began = Instant::now();
    let mut all = Latencies::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|worker| {
                scope.spawn(move || -> Result<Latencies> {
                    let mut connection = Connection::open(&target.address, &target.login)?;
                    let mut latencies = Latencies::default();
                    for number in (worker..requests).step_by(connections as usize) {
                        let body = documents::query(kind, number).to_string();
                        let sent = Instant::now();
                        let (status, answer) =
                            connection.call("POST", "/bench/_search", body.as_bytes())?;
                        latencies.add(sent.elapsed());
                        if status != 200 {
                            return Err(Error::other(String::from_utf8_lossy(answer).into_owned()));
                        }
                        if number == 0 {
                            check(kind, answer)?;
                        }
                        if began.elapsed() > limit {
                            break;
                        }
                    }
                    Ok(latencies)
                })
            })
            .collect();
        for worker in workers {
            all.join(
                worker
                    .join()
                    .unwrap_or_else(|_| Err(Error::other("a worker failed")))?,
            );
        }
        Result::Ok(())
    })?;
    all.took(began.elapsed());
    Ok(all.show())
}

/// An answer without hits would be fast.
fn check(kind: &str, answer: &[u8]) -> Result<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    let hits = answer["hits"]["hits"].as_array().map_or(0, Vec::len);
    let buckets = answer["aggregations"]["statuses"]["buckets"].as_array();
    if hits == 10 || (kind == "aggs" && buckets.is_some_and(|buckets| buckets.len() == 5)) {
        return Ok(());
    }
    Err(Error::other(format!("nothing was found: {answer}")))
}

/// One write a second.
fn singles(target: &Target, count: u64) -> Result<Value> {
    let mut connection = Connection::open(&target.address, &target.login)?;
    let mut latencies = Latencies::default();
    let began = Instant::now();
    for number in 0..count {
        let body = documents::document(1_000_000 + number).to_string();
        let sent = Instant::now();
        let path = format!("/bench/_doc/single-{number}");
        let (status, answer) = connection.call("PUT", &path, body.as_bytes())?;
        if status != 201 {
            return Err(Error::other(String::from_utf8_lossy(answer).into_owned()));
        }
        latencies.add(sent.elapsed());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(sent.elapsed()));
    }
    latencies.took(began.elapsed());
    Ok(latencies.show())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(Error::other);
    let found = match args.as_slice() {
        ["direct", dir, docs, requests, threads] => direct::run(
            std::path::Path::new(dir),
            number(docs)?,
            number(requests)?,
            number(threads)?,
        )
        .map_err(Error::other)?,
        [job, address, login, rest @ ..] => {
            let target = Target {
                address: (*address).to_owned(),
                login: (*login).to_owned(),
            };
            match (*job, rest) {
                ("bulk", [docs, batch, connections]) => {
                    bulk(&target, number(docs)?, number(batch)?, number(connections)?)?
                }
                ("ask", [kind, requests, connections, seconds]) => {
                    let limit = Duration::from_secs(number(seconds)?);
                    ask(
                        &target,
                        kind,
                        number(requests)?,
                        number(connections)?,
                        limit,
                    )?
                }
                ("singles", [count]) => singles(&target, number(count)?)?,
                _ => return Err(Error::other("usage: bulk|ask|singles ADDRESS LOGIN ...")),
            }
        }
        _ => return Err(Error::other("usage: direct|bulk|ask|singles ...")),
    };
    println!("{found}");
    Ok(())
}
