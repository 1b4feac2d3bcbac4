"""Snapshots: repositories, what is kept in them, and bringing it back."""

import time

import elasticsearch

from suite import fails, has, holds, refused, same, works


def _repository(t, word="repo"):
    name = t.name(word)
    same(t.es.snapshot.create_repository(name=name, type="fs", settings={"location": f"{t.place.repository}/{name}"}).body, {"acknowledged": True})
    t.cleanup(lambda: t.es.snapshot.delete_repository(name=name))
    return name


def _snapshot(t, repository, snapshot, **how):
    return t.es.snapshot.create(repository=repository, snapshot=snapshot, wait_for_completion=True, **how)["snapshot"]


@works("PUT /_snapshot/{repository}", "type `fs`: `location` below a directory of `path_repo`", "`repository_exception` elsewhere")
@works("GET /_snapshot/{repository}", "", "404 `repository_missing_exception`")
@works("DELETE /_snapshot/{repository}", "", "leaves its files")
@works("POST /_snapshot/{repository}/_verify")
def repositories(t):
    name = _repository(t)
    shown = t.es.snapshot.get_repository(name=name).body
    same((shown[name]["type"], shown[name]["settings"]["location"]), ("fs", f"{t.place.repository}/{name}"))
    holds(name in t.es.snapshot.get_repository().body, "all repositories")
    same(len(t.es.snapshot.verify_repository(name=name)["nodes"]), 1)
    fails(lambda: t.es.snapshot.create_repository(name=t.name("out"), type="fs", settings={"location": "/etc"}), (400, 500), "repository_exception", "path.repo")
    t.es.snapshot.delete_repository(name=name)
    fails(lambda: t.es.snapshot.get_repository(name=name), 404, "repository_missing_exception", f"[{name}] missing")


for kind in ("s3", "gcs", "azure", "hdfs", "url", "source"):
    refused("PUT /_snapshot/{repository}", f"type {kind}", kind)(lambda t, kind=kind: t.es.snapshot.create_repository(name=t.name("r"), type=kind, settings={}))


@works("PUT /_snapshot/{repository}/{snapshot}", "`indices`, `ignore_unavailable`, `include_global_state`, `metadata`, `wait_for_completion`", "200 with the whole when it is waited for, else `accepted`")
@works("GET /_snapshot/{repository}/{snapshot}", "lists, patterns, `_all`, `_current`; `verbose`", "404 `snapshot_missing_exception`")
@works("DELETE /_snapshot/{repository}/{snapshot}", "", "frees what no other snapshot uses")
def snapshots(t):
    repository, name = _repository(t), t.index([{"n": n} for n in range(30)])
    made = _snapshot(t, repository, "one", indices=name, metadata={"by": "me"})
    has(made, {"snapshot": "one", "repository": repository, "state": "SUCCESS", "indices": [name], "failures": [], "shards": {"total": 1, "failed": 0, "successful": 1}, "metadata": {"by": "me"}, "version": "8.11.0"})
    holds(made["end_time_in_millis"] >= made["start_time_in_millis"] > 1.7e12, made)
    accepted = t.es.snapshot.create(repository=repository, snapshot="two", indices=name)
    same(accepted.body, {"accepted": True})
    end = time.monotonic() + 30
    while t.es.snapshot.get(repository=repository, snapshot="two")["snapshots"][0]["state"] == "IN_PROGRESS":
        holds(time.monotonic() < end, "it does not end")
        time.sleep(0.05)
    same([one["snapshot"] for one in t.es.snapshot.get(repository=repository, snapshot="_all")["snapshots"]], ["one", "two"])
    brief = t.es.snapshot.get(repository=repository, snapshot="one", verbose=False)["snapshots"][0]
    same((brief["snapshot"], "metadata" in brief), ("one", False))
    same([one["snapshot"] for one in t.es.snapshot.get(repository=repository, snapshot="t*")["snapshots"]], ["two"])
    same(t.es.snapshot.get(repository=repository, snapshot="_current")["snapshots"], [])
    fails(lambda: t.es.snapshot.get(repository=repository, snapshot="no"), 404, "snapshot_missing_exception", f"[{repository}:no] is missing")
    fails(lambda: _snapshot(t, repository, "one"), 400, "invalid_snapshot_name_exception", "snapshot with the same name already exists")
    fails(lambda: _snapshot(t, repository, "Upper"), 400, "invalid_snapshot_name_exception", "lowercase")
    fails(lambda: _snapshot(t, repository, "x", indices=t.name("no")), 404, "index_not_found_exception")
    same(_snapshot(t, repository, "x", indices=f"{name},{t.name('no')}", ignore_unavailable=True)["indices"], [name])
    same(t.es.snapshot.delete(repository=repository, snapshot="one,x").body, {"acknowledged": True})
    same([one["snapshot"] for one in t.es.snapshot.get(repository=repository, snapshot="*")["snapshots"]], ["two"])
    fails(lambda: t.es.snapshot.delete(repository=repository, snapshot="one"), 404, "snapshot_missing_exception")


@works("POST /_snapshot/{repository}/{snapshot}/_restore", "`indices`, `rename_pattern`, `rename_replacement`, `include_aliases`, `index_settings`, `ignore_index_settings`", "documents, mapping, settings, aliases, place in the lifecycle")
def a_snapshot_is_restored(t):
    repository = _repository(t)
    name = t.index([{"n": n, "k": str(n)} for n in range(25)], {"n": {"type": "integer"}, "k": {"type": "keyword"}}, settings={"refresh_interval": "7s"}, aliases={t.name("alias"): {}})
    _snapshot(t, repository, "one", indices=name)
    t.es.delete(index=name, id="1", refresh=True)
    t.es.indices.delete(index=name)
    done = t.es.snapshot.restore(repository=repository, snapshot="one", wait_for_completion=True)
    same(done["snapshot"], {"snapshot": "one", "indices": [name], "shards": {"total": 1, "failed": 0, "successful": 1}})
    same(t.es.count(index=name)["count"], 25)
    same(t.es.count(index=name, query={"range": {"n": {"lt": 5}}})["count"], 5)
    same(t.es.get(index=name, id="1")["_source"], {"n": 0, "k": "0"})
    shown = t.es.indices.get(index=name)[name]
    same((shown["mappings"]["properties"]["k"], shown["settings"]["index"]["refresh_interval"], list(shown["aliases"])), ({"type": "keyword"}, "7s", [t.name("alias")]))
    fails(lambda: t.es.snapshot.restore(repository=repository, snapshot="one", wait_for_completion=True), 500, "snapshot_restore_exception", name)
    t.es.snapshot.restore(repository=repository, snapshot="one", wait_for_completion=True, indices=name, rename_pattern="(.+)", rename_replacement="$1-copy", include_aliases=False, index_settings={"index.refresh_interval": "9s"}, ignore_index_settings=["index.priority"])
    copy = t.es.indices.get(index=f"{name}-copy")[f"{name}-copy"]
    same((copy["settings"]["index"]["refresh_interval"], copy["aliases"]), ("9s", {}))
    t.es.index(index=f"{name}-copy", id="new", document={"n": 99}, refresh=True)
    same((t.es.count(index=f"{name}-copy")["count"], t.es.count(index=name)["count"]), (26, 25))
    fails(lambda: t.es.snapshot.restore(repository=repository, snapshot="no", wait_for_completion=True), (404, 500), says="no")


@works("POST /_snapshot/{repository}/{snapshot}/_restore", "a closed index", "is replaced")
def a_closed_index_is_replaced(t):
    repository, name = _repository(t), t.index([{"n": 1}])
    _snapshot(t, repository, "one", indices=name)
    t.es.index(index=name, document={"n": 2}, refresh=True)
    t.es.indices.close(index=name)
    t.es.snapshot.restore(repository=repository, snapshot="one", indices=name, wait_for_completion=True)
    same(t.es.count(index=name)["count"], 1)


@works("GET /_snapshot/{repository}/{snapshot}/_status", "states, shards, files and sizes")
@works("GET /_snapshot/_status", "", "those at work; under `restores`, which Elasticsearch does not have, restores at work and those that failed")
def status(t):
    repository, name = _repository(t), t.index([{"n": 1}])
    _snapshot(t, repository, "one", indices=name)
    shown = t.es.snapshot.status(repository=repository, snapshot="one")["snapshots"][0]
    has(shown, {"snapshot": "one", "repository": repository, "state": "SUCCESS"})
    has(shown["shards_stats"], {"total": 1, "done": 1, "failed": 0})
    holds(shown["stats"]["total"]["size_in_bytes"] > 0 and name in shown["indices"], shown)
    same(t.es.snapshot.status().body, {"snapshots": [], "restores": []})


@works("POST /_snapshot/{repository}/_cleanup")
@works("a snapshot holds what is new alone", "files that another snapshot has are not copied again")
def snapshots_share_files(t):
    repository, name = _repository(t), t.index([{"text": f"words {n}"} for n in range(500)])
    _snapshot(t, repository, "one", indices=name)
    _snapshot(t, repository, "two", indices=name)
    stats = t.es.snapshot.status(repository=repository, snapshot="two")["snapshots"][0]["stats"]
    holds(stats["incremental"]["size_in_bytes"] * 2 < stats["total"]["size_in_bytes"], stats)
    t.es.snapshot.delete(repository=repository, snapshot="one")
    same(t.es.snapshot.cleanup_repository(name=repository)["results"], {"deleted_bytes": 0, "deleted_blobs": 0})
    t.es.indices.delete(index=name)
    t.es.snapshot.restore(repository=repository, snapshot="two", wait_for_completion=True)
    same(t.es.count(index=name)["count"], 500)


@works("PUT /_snapshot/{repository}/{snapshot}", "templates, with `include_global_state`")
def templates_come_along(t):
    repository, name, template = _repository(t), t.index([{}]), t.name("template")
    t.es.indices.put_index_template(name=template, index_patterns=[t.name("zz*")], priority=7)
    t.cleanup(lambda: t.es.indices.delete_index_template(name=template))
    _snapshot(t, repository, "one", indices=name, include_global_state=True)
    t.es.indices.delete_index_template(name=template)
    t.es.indices.delete(index=name)
    t.es.snapshot.restore(repository=repository, snapshot="one", include_global_state=True, wait_for_completion=True)
    same(t.es.indices.get_index_template(name=template)["index_templates"][0]["index_template"]["priority"], 7)


@works("roles", "snapshots", "for administrators; readers and writers see them")
def roles(t):
    repository = _repository(t)
    scribe = t.place.client("scribe")
    holds(repository in scribe.snapshot.get_repository().body, "the writer sees it")
    error = fails(lambda: scribe.snapshot.create(repository=repository, snapshot="one"), 403, "security_exception")
    same(type(error), elasticsearch.AuthorizationException)


@refused("PUT /_snapshot/{repository}/{snapshot}", "`feature_states`", "feature_states")
def features(t):
    t.es.snapshot.create(repository=_repository(t), snapshot="one", feature_states=["kibana"])


@refused("POST /_snapshot/{repository}/{snapshot}/_mount", "", "_mount")
def mounted(t):
    t.es.searchable_snapshots.mount(repository=_repository(t), snapshot="one", index="x")


@refused("PUT /_snapshot/{repository}/{snapshot}/_clone/{target}", "", "_clone")
def cloned(t):
    t.es.snapshot.clone(repository=_repository(t), snapshot="one", target_snapshot="two", indices="x")
