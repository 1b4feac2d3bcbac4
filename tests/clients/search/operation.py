"""What the node tells about itself."""

from suite import UNSUPPORTED, fails, has, holds, partly, refused, same, works


@works("GET /", "", "version 8.11.0, with `build_flavor` `lucid`; header `X-Elastic-Product`")
@works("HEAD /")
def what_it_is(t):
    info = t.es.info()
    same(info.meta.headers["x-elastic-product"], "Elasticsearch")
    same(info.meta.headers["content-type"], "application/vnd.elasticsearch+json;compatible-with=8")
    same((info["version"]["number"], info["version"]["build_flavor"], info["tagline"]), ("8.11.0", "lucid", "You Know, for Search"))
    holds(info["cluster_uuid"] and info["name"] and info["cluster_name"], info)
    same(t.es.ping(), True)


@partly("GET /_cluster/health/{index}", "`wait_for_status`, `timeout`", "408 and `timed_out` at once when it is not there, also for an index that is not")
def health(t):
    name = t.index([{}], settings={"number_of_replicas": 0})
    has(t.es.cluster.health(index=name, wait_for_status="green", timeout="5s").body, {"status": "green", "timed_out": False, "number_of_nodes": 1, "active_primary_shards": 1, "active_shards": 1, "unassigned_shards": 0, "active_shards_percent_as_number": 100.0})
    t.es.indices.put_settings(index=name, settings={"number_of_replicas": 1})
    has(t.es.cluster.health(index=name).body, {"status": "yellow", "unassigned_shards": 1, "active_shards_percent_as_number": 50.0})
    late = t.es.options(ignore_status=408).cluster.health(index=name, wait_for_status="green", timeout="100ms")
    same((late.meta.status, late["timed_out"]), (408, True))
    missing = t.es.options(ignore_status=408).cluster.health(index=t.name("none"), timeout="100ms")
    has(missing.body, {"status": "red", "timed_out": True, "active_shards": 0})
    holds(t.es.cluster.health()["status"] in ("yellow", "green"), "the whole cluster")


@refused("GET /_cluster/health", "`level=indices`, `level=shards`", "level")
def health_of_each(t):
    t.es.cluster.health(level="indices")


@partly("GET /_cluster/stats", "", "counts of indices and documents, sizes, free space, version")
def figures_of_the_cluster(t):
    t.index([{}, {}])
    stats = t.es.cluster.stats()
    holds(stats["indices"]["count"] >= 1 and stats["indices"]["docs"]["count"] >= 2, stats)
    same(stats["nodes"]["count"]["total"], 1)
    holds(0 < stats["nodes"]["fs"]["free_in_bytes"] <= stats["nodes"]["fs"]["total_in_bytes"], stats)


@works("GET /_cluster/pending_tasks", "", "none ever wait")
def pending(t):
    same(t.es.cluster.pending_tasks().body, {"tasks": []})


@partly("GET /_cluster/allocation/explain", "", "names a copy that has no place, and why; 400 when there is none")
def why_a_copy_waits(t):
    name = t.index(settings={"number_of_replicas": 1})
    found = t.es.cluster.allocation_explain().body
    holds(found["index"] <= name, found)
    has(found, {"shard": 0, "primary": False, "current_state": "unassigned"})


@partly("GET /_nodes", "", "name, address, roles, version; other parts are not there, nor `publish_address`, so that clients that sniff find nothing: leave `sniff_on_start` off")
@partly("GET /_nodes/stats", "", "documents, memory, log, free space; other parts are not there")
def nodes(t):
    nodes = t.es.nodes.info()
    same(nodes["_nodes"], {"total": 1, "successful": 1, "failed": 0})
    node = next(iter(nodes["nodes"].values()))
    same((node["version"], node["roles"]), ("8.11.0", ["data", "ingest", "master"]))
    stats = next(iter(t.es.nodes.stats()["nodes"].values()))
    holds(stats["process"]["mem"]["resident_in_bytes"] > 1 << 20, stats)
    holds(stats["fs"]["total"]["total_in_bytes"] > 0 and stats["uptime_in_millis"] > 0, stats)


@refused("GET /_nodes/hot_threads", "", "hot_threads")
def hot_threads(t):
    t.es.nodes.hot_threads()


@refused("GET /_nodes/usage", "", "usage")
def usage(t):
    t.es.nodes.usage()


@works("GET /_cat/indices/{index}", "`format=json`, `h`, `s`, `v`, `bytes`, `health`", "as a text or JSON; columns that the table has not are refused")
def cat_indices(t):
    one, two = t.index([{}, {}], word="one", settings={"number_of_replicas": 0}), t.index([{}], word="two", settings={"number_of_replicas": 1})
    rows = t.es.cat.indices(index=t.name("*"), format="json", s="docs.count:desc", bytes="b")
    same([(row["index"], row["health"], row["status"], row["pri"], row["rep"], row["docs.count"]) for row in rows], [(one, "green", "open", "1", "0", "2"), (two, "yellow", "open", "1", "1", "1")])
    holds(int(rows[0]["store.size"]) > 0, rows)
    same(t.es.cat.indices(index=t.name("*"), h="index,docs.count", s="index", v=True).body.split("\n")[0].split(), ["index", "docs.count"])
    same([row["index"] for row in t.es.cat.indices(index=t.name("*"), format="json", health="yellow")], [two])
    same(t.es.cat.indices(index=one, h="i,dc", format="json").body, [{"index": one, "docs.count": "2"}])
    fails(lambda: t.es.cat.indices(h="index,creation.date"), 400, UNSUPPORTED, "creation.date")
    fails(lambda: t.es.cat.indices(format="yaml"), 400)


@works("GET /_cat/health")
@works("GET /_cat/count/{index}")
@works("GET /_cat/aliases/{name}")
@works("GET /_cat/nodes")
@works("GET /_cat/allocation")
def other_tables(t):
    name = t.index([{}, {}, {}])
    t.es.indices.put_alias(index=name, name=t.name("a"), filter={"match_all": {}})
    has(t.es.cat.health(format="json")[0], {"node.total": "1", "status": t.es.cluster.health()["status"]})
    same(t.es.cat.count(index=name, format="json")[0]["count"], "3")
    same(t.es.cat.aliases(name=t.name("a"), format="json").body, [{"alias": t.name("a"), "index": name, "filter": "*", "routing.index": "-", "routing.search": "-", "is_write_index": "-"}])
    has(t.es.cat.nodes(format="json")[0], {"ip": "127.0.0.1", "master": "*", "node.role": "dim"})
    holds(0 <= int(t.es.cat.allocation(format="json")[0]["disk.percent"]) <= 100, "disk.percent")
    holds("/_cat/indices" in t.es.cat.help().body, "the list")


def _cat(name):
    return lambda t: t.raw("GET", f"/_cat/{name}")


for name in ("component_templates", "fielddata", "master", "nodeattrs", "pending_tasks", "plugins", "recovery", "segments", "shards", "templates", "thread_pool", "transforms"):
    refused(f"GET /_cat/{name}", "", name)(_cat(name))


def _raw(method, path, body=None):
    return lambda t: t.raw(method, path, body)


for method, path in (
    ("GET", "/_cluster/state"), ("POST", "/_cluster/reroute"), ("GET", "/_health_report"), ("GET", "/_remote/info"), ("GET", "/_license"), ("GET", "/_xpack"), ("GET", "/_ingest/pipeline"), ("PUT", "/_scripts/s"), ("GET", "/_ml/info"), ("GET", "/_watcher/stats"),
    ("GET", "/_transform"), ("POST", "/_sql"), ("POST", "/_eql/search"), ("GET", "/_rollup/job"), ("GET", "/_ccr/stats"), ("GET", "/_enrich/policy"), ("GET", "/_features"), ("GET", "/_migration/deprecations"), ("GET", "/_autoscaling/policy/p"), ("GET", "/_slm/policy"),
    ("GET", "/_dangling"), ("GET", "/_query_rules"), ("GET", "/_synonyms"), ("GET", "/_ssl/certificates")):
    refused(f"{method} {path}", "", path.split("/")[1])(_raw(method, path, {} if method != "GET" else None))
