//! An appliance with all datastores, and a client of its HTTP API.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::Value;

use super::{Appliance, Options, free_port, said};

pub const BASE: &str = "/api/v1/database";

/// What an answer is.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            return Value::Null;
        }
        self.json()
    }

    /// The code of an error with this status.
    #[track_caller]
    pub fn code(&self, status: u16) -> String {
        let error = self.is(status);
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// One appliance and its keys.
pub struct Served {
    pub appliance: Appliance,
    pub port: u16,
    pub reader: String,
    pub writer: String,
    pub admin: String,
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

impl Served {
    /// Ready, with schemas; `more` is further configuration.
    pub fn ready(more: &str) -> Self {
        let (port, search) = (free_port(), free_port());
        let options = Options::both().with(&format!(
            "api.port = {port}\ndatastore.search.enabled = true\ndatastore.search.port = {search}\n\
             {more}"
        ));
        let appliance = Appliance::ready(options);
        let served = Self::over(appliance, port);
        said(&served.appliance, &["schema", "apply"]);
        served
    }

    /// Of an appliance that is there.
    pub fn over(appliance: Appliance, port: u16) -> Self {
        let key = |role: &str| {
            let made = said(&appliance, &["api", "key", "create", role, "--role", role]);
            made.trim().to_owned()
        };
        Self {
            reader: key("reader"),
            writer: key("writer"),
            admin: key("admin"),
            port,
            appliance,
        }
    }

    pub fn send(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let work = async {
            let client = lucid::http::client()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap();
            let mut request = client.request(method, url);
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = request.send().await.unwrap();
            Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                text: answer.text().await.unwrap(),
            }
        };
        runtime().block_on(work)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(
            Some(&self.admin),
            Method::GET,
            &format!("{BASE}{path}"),
            None,
        )
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Some(&self.admin),
            Method::POST,
            &format!("{BASE}{path}"),
            Some(body),
        )
    }

    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.send(Some(&self.admin), method, &format!("{BASE}{path}"), body)
    }
}
