//! What Elasticsearch is told: configuration, Java options and accounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256, Sha512};

use super::{Context, Credentials, Login};
use crate::units::MIB;

/// Its own default of rounds for PBKDF2 password hashes.
const HASH_ROUNDS: u32 = 10_000;

/// Valid for 8.11 to 9.x: node settings only (index settings go into templates), without
/// `gateway.recover_after_nodes` (gone since 8.0), `thread_pool.bulk` (7.0) and
/// `xpack.monitoring.collection.enabled`. Values are the platform's; security is on, and
/// set by hand so that it does not configure itself with certificates at the first start.
pub(super) fn configuration(ctx: &Context) -> String {
    let search = &ctx.config.datastore.search;
    let listen: Vec<_> = search.listen.iter().map(|ip| format!("\"{ip}\"")).collect();
    format!(
        "# Written by lucid at every start; changes are lost.
cluster.name: lucid-cluster
node.name: lucid-node
path.data: \"{data}\"
path.repo: [\"{data}/snapshots\"]
path.logs: \"{data}/logs\"
bootstrap.memory_lock: false
network.host: [{listen}]
http.port: {port}
transport.host: \"127.0.0.1\"
discovery.type: single-node
action.destructive_requires_name: true
xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.enrollment.enabled: false
xpack.security.http.ssl.enabled: false
xpack.security.transport.ssl.enabled: false
xpack.security.authc.password_hashing.algorithm: pbkdf2
xpack.security.authc.realms.file.lucid.order: 0
xpack.security.authc.realms.native.accounts.order: 1
xpack.ml.enabled: false
xpack.watcher.enabled: false
ingest.geoip.downloader.enabled: false
indices.memory.index_buffer_size: 10%
indices.breaker.total.limit: 70%
indices.breaker.request.limit: 40%
indices.breaker.fielddata.limit: 40%
indices.queries.cache.size: 10%
indices.fielddata.cache.size: 20%
http.max_content_length: 100mb
http.compression: true
thread_pool.search.queue_size: 1000
thread_pool.write.queue_size: 1000
",
        data = ctx.data_dir.display(),
        listen = listen.join(", "),
        port = search.port,
    )
}

/// Replaces the distribution's file, which `ES_PATH_CONF` hides. Heap dumps are off: one would
/// fill the volume.
pub(super) fn jvm_options(ctx: &Context) -> String {
    let heap = (ctx.memory.cache / MIB).max(256);
    format!(
        "-Xms{heap}m
-Xmx{heap}m
-XX:+UseG1GC
-Djava.io.tmpdir=${{ES_TMPDIR}}
-XX:-HeapDumpOnOutOfMemoryError
-XX:ErrorFile=/dev/stderr
"
    )
}

/// The console alone: the journal has the lines, and the volume no log files.
pub(super) const LOG4J: &str = "status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%consoleException%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

/// The client's role: data, templates and lifecycle of all but the system's indices.
pub(super) const ROLES: &str = "lucid_client:
  cluster: [ monitor, manage_index_templates, manage_ilm, manage_pipeline ]
  indices:
    - names: [ '*' ]
      privileges: [ all ]
      allow_restricted_indices: false
";

pub(super) fn users(credentials: &Credentials) -> String {
    [&credentials.supervisor, &credentials.client]
        .map(|login| format!("{}:{}\n", login.user, password_hash(login)))
        .concat()
}

pub(super) fn user_roles(credentials: &Credentials) -> String {
    format!(
        "superuser:{}\nlucid_client:{}\n",
        credentials.supervisor.user, credentials.client.user
    )
}

/// `{PBKDF2}ROUNDS$SALT$HASH` with HMAC-SHA-512, 32 bytes each in base64: the form that the file
/// realm reads, and the search node as well. The salt is derived from the password, so that the
/// file is the same at every start; passwords are random and not shared, which is what a salt is
/// there for.
pub(super) fn password_hash(login: &Login) -> String {
    let salt = Sha256::digest(format!("lucid {}\n{}", login.user, login.password));
    let mut hash = [0u8; 32];
    pbkdf2::pbkdf2_hmac::<Sha512>(login.password.as_bytes(), &salt, HASH_ROUNDS, &mut hash);
    format!(
        "{{PBKDF2}}{HASH_ROUNDS}${}${}",
        BASE64.encode(salt),
        BASE64.encode(hash)
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::context;
    use super::*;
    use crate::config::{EngineKind, Role};

    #[test]
    fn the_configuration_has_no_setting_that_stops_8_11() {
        let text = configuration(&context(Role::Search, EngineKind::Elasticsearch));
        for gone in [
            "index.",
            "recover_after_nodes",
            "thread_pool.bulk",
            "monitoring",
            "seed_hosts",
            "cors",
        ] {
            let starts = |line: &str| line.starts_with(gone) || line.contains(&format!(".{gone}"));
            assert!(!text.lines().any(starts), "{gone} in\n{text}");
        }
        assert!(text.contains("xpack.security.enabled: true"));
        assert!(text.contains("path.data: \"/data/x\""));
        // Where backups take their snapshots.
        assert!(text.contains("path.repo: [\"/data/x/snapshots\"]"));
    }
}
