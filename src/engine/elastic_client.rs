//! Client of both search engines: they speak Elasticsearch's REST interface.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Client, Context, EngineError, Fault, HEALTH_INDEX, Login, nonce};

/// How much of an answer is shown in an error, in characters.
const SHOWN: usize = 300;

/// See the module.
#[derive(Debug)]
pub(super) struct ElasticClient {
    /// Engine, for messages.
    engine: &'static str,
    base: String,
    supervisor: Login,
    /// Taken out during a call, so that one that fails or is given up leaves none behind.
    http: Option<reqwest::Client>,
}

impl ElasticClient {
    pub(super) fn new(engine: &'static str, ctx: &Context) -> Self {
        Self {
            engine,
            base: format!("http://{}", ctx.endpoint()),
            supervisor: ctx.credentials.supervisor.clone(),
            http: None,
        }
    }

    fn error(&self, operation: &'static str, cause: impl Into<String>) -> EngineError {
        EngineError::Call {
            engine: self.engine,
            operation,
            cause: cause.into(),
            answered: true,
        }
    }

    fn unanswered(&self, operation: &'static str, error: &reqwest::Error) -> EngineError {
        EngineError::Call {
            engine: self.engine,
            operation,
            cause: root_cause(error),
            answered: false,
        }
    }

    /// One request; `accepted` are the statuses besides success that are no error.
    async fn call(
        &mut self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accepted: &[StatusCode],
    ) -> Result<(StatusCode, Value), EngineError> {
        let http = self.http.take();
        let failed = |e: reqwest::Error| self.unanswered(operation, &e);
        let http = match http {
            Some(http) => http,
            // A proxy of the environment has no business between two programs of one machine.
            None => crate::http::client()
                .no_proxy()
                .pool_max_idle_per_host(1)
                .build()
                .map_err(failed)?,
        };
        let mut request = http
            .request(method, format!("{}/{path}", self.base))
            .basic_auth(&self.supervisor.user, Some(&self.supervisor.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(failed)?;
        if !status.is_success() && !accepted.contains(&status) {
            let shown: String = text.chars().take(SHOWN).collect();
            return Err(self.error(operation, format!("{status}: {shown}")));
        }
        self.http = Some(http);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn prepare(&mut self) -> Result<(), EngineError> {
        // The accounts stand in its files; this only sees that the supervisor's works.
        self.call(
            "logging in",
            Method::GET,
            "_security/_authenticate",
            None,
            &[],
        )
        .await?;
        let settings = json!({"settings": {"index": {
            "number_of_shards": 1, "number_of_replicas": 0, "hidden": true,
        }}});
        let exists = [StatusCode::BAD_REQUEST];
        let operation = "making the health index";
        let (status, answer) = self
            .call(
                operation,
                Method::PUT,
                HEALTH_INDEX,
                Some(&settings),
                &exists,
            )
            .await?;
        let kind = answer["error"]["type"].as_str().unwrap_or_default();
        if !status.is_success() && kind != "resource_already_exists_exception" {
            return Err(self.error(operation, answer.to_string()));
        }
        Ok(())
    }

    async fn write_and_read(&mut self) -> Result<(), EngineError> {
        const OPERATION: &str = "writing the canary";
        let path = format!("{HEALTH_INDEX}/_doc/{}", nonce());
        let body = json!({"probe": true});
        self.call(OPERATION, Method::PUT, &path, Some(&body), &[])
            .await?;
        self.call(OPERATION, Method::GET, &path, None, &[]).await?;
        self.call(OPERATION, Method::DELETE, &path, None, &[])
            .await?;
        Ok(())
    }

    async fn health(&mut self) -> Result<Vec<Fault>, EngineError> {
        let (_, health) = self
            .call(
                "reading its health",
                Method::GET,
                "_cluster/health",
                None,
                &[],
            )
            .await?;
        // Yellow is normal here: a single node has nowhere to put a replica.
        let red = health["status"].as_str() == Some("red");
        let fault = red.then(|| Fault {
            id: "indices-red",
            message: "some index has lost its data or could not be opened".to_owned(),
            remedy: "GET _cluster/allocation/explain tells which and why; restore it from a \
                     backup"
                .to_owned(),
        });
        Ok(fault.into_iter().collect())
    }
}

/// URI of the client account.
pub(super) fn search_uri(ctx: &Context) -> String {
    let client = &ctx.credentials.client;
    format!(
        "http://{}:{}@{}/",
        client.user,
        client.password,
        ctx.endpoint()
    )
}

/// The innermost cause: what the kernel said, not what it happened in.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Client for ElasticClient {
    fn bootstrap(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.prepare().boxed()
    }

    fn read_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        async {
            let path = format!("{HEALTH_INDEX}/_doc/canary");
            let missing = [StatusCode::NOT_FOUND];
            self.call("reading the canary", Method::GET, &path, None, &missing)
                .await
                .map(drop)
        }
        .boxed()
    }

    fn write_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.write_and_read().boxed()
    }

    fn faults(&mut self) -> BoxFuture<'_, Result<Vec<Fault>, EngineError>> {
        self.health().boxed()
    }

    fn quiesce(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        async {
            self.call("flushing", Method::POST, "_flush", None, &[])
                .await
                .map(drop)
        }
        .boxed()
    }

    /// Its accounts are files that are rendered before a start.
    fn set_password<'a>(&'a mut self, _login: &'a Login) -> BoxFuture<'a, Result<(), EngineError>> {
        let error = EngineError::Unsupported {
            engine: self.engine,
            what: "change a password while it runs",
            alternative: "rotate it while the datastore is stopped",
        };
        std::future::ready(Err(error)).boxed()
    }
}
