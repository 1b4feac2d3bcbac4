//! Sends one kind of request from many clients for a while, and prints how many were answered in a
//! second and how long they took. `WHAT VIA ADDRESS PROOF CLIENTS SECONDS COUNT`: `VIA` is `api`
//! (address `ip:port`, proof a key) or `driver` (address a URI).

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Fault = Box<dyn std::error::Error>;

/// A connection that is kept, and nothing of HTTP that is not needed.
struct Http {
    stream: TcpStream,
    host: String,
    authorization: String,
    buffer: Vec<u8>,
}

impl Http {
    async fn connect(host: &str, authorization: String) -> Result<Self, Fault> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host: host.to_owned(),
            authorization,
            buffer: Vec::new(),
        })
    }

    async fn post(&mut self, path: &str, body: &str) -> Result<Vec<u8>, Fault> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            self.authorization,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection ended".into());
            }
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(begin) = response.parse(&self.buffer)? else {
                continue;
            };
            let status = response.code.unwrap_or(0);
            let length = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| {
                    std::str::from_utf8(header.value)
                        .ok()?
                        .parse::<usize>()
                        .ok()
                })
                .ok_or("an answer without a length")?;
            if self.buffer.len() < begin + length {
                continue;
            }
            let body = self.buffer[begin..begin + length].to_vec();
            if !(200..300).contains(&status) {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
            }
            return Ok(body);
        }
    }
}

/// The work of the session service, as one script.
const SESSION: &str =
    "if not redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX') then return 0 end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1";

/// The work of the rate limit, as one script.
const LIMIT: &str = "local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60000000)
local count = redis.call('ZCARD', KEYS[1])
if count < tonumber(ARGV[1]) then redis.call('ZADD', KEYS[1], now, now .. ':' .. ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], 60000)
return count";

enum Client {
    Api(Http),
    Document(mongodb::Collection<Document>),
    Cache(Box<redis::aio::MultiplexedConnection>),
    Search(Http),
}

const BASE: &str = "/api/v1/database";

async fn one(client: &mut Client, what: &str, n: u64, count: u64) -> Result<(), Fault> {
    let id = n.wrapping_mul(2_654_435_761) % count;
    match client {
        Client::Api(http) => {
            let (path, body) = match what {
                "documents" => (
                    "/mongodb/query",
                    json!({ "collection": "sessions", "filter": { "session_id": format!("s{id}") }, "limit": 1 }),
                ),
                "cache" => (
                    "/redis/cache",
                    json!({ "operation": "get", "key": format!("lucid:cache:bench:{id}") }),
                ),
                "search" => (
                    "/elasticsearch/search",
                    json!({ "query": format!("word{}", id % 100), "index": "lucid-sessions", "size": 10 }),
                ),
                "session" => (
                    "/redis/session",
                    json!({ "session_id": format!("{n:032}"), "user_id": format!("u{}", id % 1000) }),
                ),
                "limit" => (
                    "/redis/rate-limit",
                    json!({ "kind": "user", "identifier": format!("u{id}"), "limit": 1_000_000 }),
                ),
                other => return Err(format!("there is no work {other}").into()),
            };
            let answer = http
                .post(&format!("{BASE}{path}"), &body.to_string())
                .await?;
            if what == "documents" {
                let found: Value = serde_json::from_slice(&answer)?;
                if found["count"] != 1 {
                    return Err(format!("s{id} was not found").into());
                }
            }
        }
        Client::Document(sessions) => {
            let found = sessions
                .find_one(doc! { "session_id": format!("s{id}") })
                .await?;
            found.ok_or_else(|| format!("s{id} was not found"))?;
        }
        Client::Cache(connection) => match what {
            "cache" => {
                let mut pair = redis::pipe();
                let key = format!("lucid:cache:bench:{id}");
                pair.atomic().cmd("GET").arg(&key).cmd("TTL").arg(&key);
                let _: (Option<String>, i64) = pair.query_async(&mut **connection).await?;
            }
            "session" => {
                let (token, user) = (format!("{n:032}"), format!("u{}", id % 1000));
                let text =
                    json!({ "user_id": user, "created_at": "2026-11-27T00:00:00Z" }).to_string();
                let _: i64 = redis::Script::new(SESSION)
                    .key(format!("lucid:session:token:d{token}"))
                    .key(format!("lucid:session:user:d{user}"))
                    .arg(text)
                    .arg(900)
                    .arg(token)
                    .invoke_async(&mut **connection)
                    .await?;
            }
            "limit" => {
                let _: i64 = redis::Script::new(LIMIT)
                    .key(format!("lucid:ratelimit:user:d{id}"))
                    .arg(1_000_000)
                    .arg(n)
                    .invoke_async(&mut **connection)
                    .await?;
            }
            other => return Err(format!("there is no work {other}").into()),
        },
        Client::Search(http) => {
            let body = json!({
                "query": { "bool": { "filter": [], "must": [{ "simple_query_string": { "query": format!("word{}", id % 100), "default_operator": "and", "lenient": true } }] } },
                "size": 10, "from": 0, "track_total_hits": true,
            });
            http.post("/lucid-sessions/_search", &body.to_string())
                .await?;
        }
    }
    Ok(())
}

async fn client(what: &str, via: &str, address: &str, proof: &str) -> Result<Client, Fault> {
    if via == "api" {
        return Ok(Client::Api(
            Http::connect(address, format!("Bearer {proof}")).await?,
        ));
    }
    Ok(match what {
        "documents" => {
            let client = mongodb::Client::with_uri_str(address).await?;
            Client::Document(client.database("lucid").collection("sessions"))
        }
        "search" => {
            let rest = address.split("//").nth(1).ok_or("no URI")?;
            let (login, host) = rest.split_once('@').ok_or("no login")?;
            let login = base64::prelude::BASE64_STANDARD.encode(login);
            Client::Search(
                Http::connect(host.trim_end_matches('/'), format!("Basic {login}")).await?,
            )
        }
        _ => {
            let client = redis::Client::open(address)?;
            Client::Cache(Box::new(client.get_multiplexed_async_connection().await?))
        }
    })
}

async fn run(args: &[String]) -> Result<(), Fault> {
    let [what, via, address, proof, clients, seconds, count] = args else {
        return Err("WHAT VIA ADDRESS PROOF CLIENTS SECONDS COUNT".into());
    };
    let (clients, seconds, count): (u64, u64, u64) =
        (clients.parse()?, seconds.parse()?, count.parse()?);
    let work = Rc::new((what.clone(), via.clone(), address.clone(), proof.clone()));
    let begin = u64::from(std::process::id()) << 32;
    let local = tokio::task::LocalSet::new();
    let taken: Vec<Vec<f64>> = local
        .run_until(async {
            let mut tasks = Vec::new();
            for index in 0..clients {
                let work = Rc::clone(&work);
                tasks.push(tokio::task::spawn_local(async move {
                    let (what, via, address, proof) = &*work;
                    let mut client = client(what, via, address, proof).await?;
                    for n in 0..20 {
                        one(&mut client, what, begin + (index << 24) + n, count).await?;
                    }
                    let until = Instant::now() + Duration::from_secs(seconds);
                    let mut taken = Vec::new();
                    for n in 20.. {
                        let began = Instant::now();
                        if began >= until {
                            break;
                        }
                        one(&mut client, what, begin + (index << 24) + n, count).await?;
                        taken.push(began.elapsed().as_secs_f64() * 1000.0);
                    }
                    Ok::<_, Fault>(taken)
                }));
            }
            let mut all = Vec::new();
            for task in tasks {
                all.push(task.await??);
            }
            Ok::<_, Fault>(all)
        })
        .await?;
    let mut all: Vec<f64> = taken.concat();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| {
        all.get((all.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0.0)
    };
    println!(
        "{}",
        json!({
            "per_second": all.len() as f64 / seconds as f64,
            "p50": at(0.5), "p95": at(0.95), "p99": at(0.99),
        })
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
