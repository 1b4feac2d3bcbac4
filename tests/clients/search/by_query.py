"""Changing and deleting what a query finds, reindexing, and the tasks behind these."""


from suite import fails, has, holds, ids, refused, same, works


def _things(t, count=20, word="x"):
    return t.index([{"n": n, "kind": "odd" if n % 2 else "even"} for n in range(count)], {"n": {"type": "integer"}, "kind": {"type": "keyword"}}, word=word)


ODD = {"term": {"kind": "odd"}}
ALL = {"match_all": {}}


@works("POST /{index}/_delete_by_query", "`query`, `refresh`, `max_docs`, `scroll_size`")
def found_documents_are_deleted(t):
    name = _things(t)
    done = t.es.delete_by_query(index=name, query=ODD, refresh=True)
    has(done.body, {"timed_out": False, "total": 10, "deleted": 10, "batches": 1, "version_conflicts": 0, "noops": 0, "retries": {"bulk": 0, "search": 0}, "throttled_millis": 0, "requests_per_second": -1.0, "throttled_until_millis": 0, "failures": []})
    same(t.es.count(index=name)["count"], 10)
    done = t.es.delete_by_query(index=name, query=ALL, max_docs=7, scroll_size=3, refresh=True)
    has(done.body, {"total": 7, "deleted": 7, "batches": 3})
    same(t.es.count(index=name)["count"], 3)
    fails(lambda: t.raw("POST", f"/{name}/_delete_by_query", {}), 400, "action_request_validation_exception", "query is missing")


@works("POST /{index}/_update_by_query", "without a script", "indexes documents again: under a mapping that has changed")
def documents_come_under_a_new_mapping(t):
    name = t.name()
    t.es.indices.create(index=name, mappings={"dynamic": False, "properties": {}})
    t.fill(name, [{"k": "a"}, {"k": "b"}])
    t.es.indices.put_mapping(index=name, properties={"k": {"type": "keyword"}})
    same(t.found(name, {"term": {"k": "a"}}), [])
    has(t.es.update_by_query(index=name, refresh=True).body, {"total": 2, "updated": 2, "deleted": 0, "version_conflicts": 0, "failures": []})
    same(t.found(name, {"term": {"k": "a"}}), ["1"])
    same(t.es.get(index=name, id="1")["_version"], 2)


@works("POST /{index}/_update_by_query", "`conflicts`", "409 for a document that changed since the search; `proceed` counts it")
def conflicts(t):
    name = t.index([{"n": 1}, {"n": 2}], settings={"refresh_interval": -1})
    t.es.index(index=name, id="1", document={"n": 9})
    error = fails(lambda: t.es.update_by_query(index=name), 409)
    has(error.body, {"version_conflicts": 1})
    same((error.body["failures"][0]["id"], error.body["failures"][0]["status"]), ("1", 409))
    name = t.index([{"n": 1}, {"n": 2}], word="again", settings={"refresh_interval": -1})
    t.es.index(index=name, id="1", document={"n": 9})
    done = t.es.delete_by_query(index=name, query=ALL, conflicts="proceed", refresh=True)
    has(done.body, {"total": 2, "deleted": 1, "version_conflicts": 1})
    same(t.es.get(index=name, id="1")["_source"], {"n": 9})


@works("POST /_reindex", "`source.query`, `source._source`, `max_docs`", "the target is made when it is missing")
def documents_are_copied(t):
    source, target = _things(t, word="from"), t.name("to")
    done = t.es.reindex(source={"index": source, "query": ODD}, dest={"index": target}, refresh=True)
    has(done.body, {"timed_out": False, "total": 10, "created": 10, "updated": 0, "deleted": 0, "version_conflicts": 0, "failures": []})
    same(sorted(ids(t.search(target, size=20)), key=int), [str(n + 1) for n in range(20) if n % 2])
    done = t.es.reindex(source={"index": source, "_source": ["n"], "size": 4}, dest={"index": target}, max_docs=9, refresh=True)
    same((done["total"], done["created"] + done["updated"]), (9, 9))
    holds("kind" not in t.es.get(index=target, id="1")["_source"], "the kind came along")


@works("POST /_reindex", "`dest.op_type: create`, `conflicts: proceed`, `dest.version_type: external`")
def what_is_there_stays(t):
    source, target = t.index([{"n": 1}, {"n": 2}], word="from"), t.index([{"n": 9}], word="to")
    fails(lambda: t.es.reindex(source={"index": source}, dest={"index": target, "op_type": "create"}), 409)
    done = t.es.reindex(source={"index": source}, dest={"index": target, "op_type": "create"}, conflicts="proceed", refresh=True)
    same(done["version_conflicts"] + done["created"], 2)
    same(t.es.get(index=target, id="1")["_source"], {"n": 9})
    t.es.index(index=source, id="1", document={"n": 5}, refresh=True)
    t.es.reindex(source={"index": source}, dest={"index": target, "version_type": "external"}, conflicts="proceed", refresh=True)
    same((t.es.get(index=target, id="1")["_source"], t.es.get(index=target, id="1")["_version"]), ({"n": 5}, 2))


@works("POST /_reindex", "what cannot be", "400 for an index into itself, 404 for one that is not there")
def impossible_copies(t):
    name = _things(t, 2)
    fails(lambda: t.es.reindex(source={"index": name}, dest={"index": name}), 400, "action_request_validation_exception", "reindex cannot write into an index its reading from")
    fails(lambda: t.es.reindex(source={"index": t.name("no")}, dest={"index": t.name("to")}), 404, "index_not_found_exception")


@works("POST /{index}/_delete_by_query", "`wait_for_completion=false`", "so too for `_update_by_query` and `_reindex`")
@works("GET /_tasks/{task}", "`wait_for_completion`", "the answer of an ended task is kept")
def work_goes_on_behind(t):
    name = _things(t, 200)
    task = t.es.delete_by_query(index=name, query=ODD, wait_for_completion=False)["task"]
    ended = t.es.tasks.get(task_id=task, wait_for_completion=True, timeout="30s")
    same(ended["completed"], True)
    has(ended["task"], {"type": "transport", "action": "indices:data/write/delete/byquery", "cancellable": True})
    same(f"{ended['task']['node']}:{ended['task']['id']}", task)
    has(ended["response"], {"total": 100, "deleted": 100, "failures": []})
    t.es.indices.refresh(index=name)
    same(t.es.count(index=name)["count"], 100)
    fails(lambda: t.es.tasks.get(task_id=task.split(":")[0] + ":99999999"), 404, "resource_not_found_exception")


@works("POST /{index}/_update_by_query", "`requests_per_second`", "waits between batches")
@works("GET /_tasks", "`actions`, `detailed`")
@works("POST /_tasks/{task}/_cancel")
@works("POST /_update_by_query/{task}/_rethrottle", "", "so too for `_delete_by_query` and `_reindex`")
def tasks_are_shown_slowed_and_cancelled(t):
    name = _things(t, 100)
    task = t.es.update_by_query(index=name, scroll_size=10, requests_per_second=5, wait_for_completion=False)["task"]
    shown = t.es.tasks.list(actions="*byquery", detailed=True)
    tasks = {id: of for node in shown["nodes"].values() for id, of in node["tasks"].items()}
    has(tasks[task], {"action": "indices:data/write/update/byquery", "type": "transport"})
    t.es.update_by_query_rethrottle(task_id=task, requests_per_second=4)
    t.es.tasks.cancel(task_id=task)
    ended = t.es.tasks.get(task_id=task, wait_for_completion=True, timeout="30s")
    same(ended["completed"], True)
    holds(ended["response"]["updated"] < 100, ended["response"])
    same(ended["response"]["canceled"], "by user request")


@works("POST /{index}/_delete_by_query", "several indices, aliases with a filter")
def filters_of_aliases_hold(t):
    one, two, alias = _things(t, 4, "one"), _things(t, 4, "two"), t.name("odd")
    t.es.indices.put_alias(index=[one, two], name=alias, filter=ODD)
    has(t.es.delete_by_query(index=alias, query=ALL, refresh=True).body, {"deleted": 4})
    same(t.es.count(index=[one, two], query={"term": {"kind": "even"}})["count"], 4)


@refused("POST /{index}/_update_by_query", "`script`", "script")
def scripts(t):
    t.es.update_by_query(index=_things(t, 1), script={"source": "ctx._source.n++"})


@refused("POST /{index}/_update_by_query", "`pipeline`", "pipeline")
def pipelines(t):
    t.es.update_by_query(index=_things(t, 1), pipeline="p")


@refused("POST /{index}/_delete_by_query", "`slices` above 1", "slices", note="so too for the others")
def slices(t):
    t.es.delete_by_query(index=_things(t, 1), query=ALL, slices=2)


for what, said, more in (("`script`", "script", {"script": {"source": "1"}}), ("`source.remote`", "remote", {"source": {"index": "x", "remote": {"host": "http://h:9200"}}}), ("`dest.pipeline`", "pipeline", {"dest": {"index": "y", "pipeline": "p"}})):
    refused("POST /_reindex", what, said)(lambda t, more=more: t.raw("POST", "/_reindex", {"source": {"index": _things(t, 1)}, "dest": {"index": t.name("to")}, **more}))
