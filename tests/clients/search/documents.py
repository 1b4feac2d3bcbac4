"""Single documents."""

import elasticsearch

from suite import fails, has, holds, partly, refused, same, works


@works("PUT /{index}/_doc/{id}", "makes and replaces", "201 and 200; the index is made when it is missing")
@works("GET /{index}/_doc/{id}", "", "as it is now, before any refresh")
def a_document_is_made_replaced_and_got(t):
    name = t.name()
    made = t.es.index(index=name, id="1", document={"a": 1, "b": {"c": [1, 2]}})
    same(made.meta.status, 201)
    has(made.body, {"_index": name, "_id": "1", "_version": 1, "result": "created", "_seq_no": 0, "_primary_term": 1})
    same(made["_shards"]["failed"], 0)
    again = t.es.index(index=name, id="1", document={"a": 2})
    same(again.meta.status, 200)
    has(again.body, {"_version": 2, "result": "updated", "_seq_no": 1})
    has(t.es.get(index=name, id="1").body, {"_index": name, "_id": "1", "_version": 2, "_seq_no": 1, "_primary_term": 1, "found": True, "_source": {"a": 2}})


@works("POST /{index}/_doc", "an id of the node's", "20 characters that are safe in URLs")
def the_node_makes_ids(t):
    name = t.name()
    made = [t.es.index(index=name, document={"n": n}) for n in range(3)]
    same([one["result"] for one in made], ["created"] * 3)
    same(len({one["_id"] for one in made}), 3)
    for one in made:
        same(len(one["_id"]), 20)
        holds("/" not in one["_id"] and "+" not in one["_id"], one["_id"])


@works("PUT /{index}/_create/{id}", "", "409 `version_conflict_engine_exception` when it is there")
@works("PUT /{index}/_doc/{id}", "`op_type=create`")
def create_does_not_replace(t):
    name = t.name()
    same(t.es.create(index=name, id="1", document={"n": 1})["result"], "created")
    error = fails(lambda: t.es.create(index=name, id="1", document={"n": 2}), 409, "version_conflict_engine_exception", "[1]: version conflict")
    same(type(error), elasticsearch.ConflictError)
    fails(lambda: t.es.index(index=name, id="1", document={"n": 2}, op_type="create"), 409)
    same(t.es.get(index=name, id="1")["_source"], {"n": 1})


@works("DELETE /{index}/_doc/{id}", "", "404 and `not_found` when it is not there")
def a_document_is_deleted(t):
    name = t.index([{"n": 1}])
    gone = t.es.delete(index=name, id="1")
    has(gone.body, {"result": "deleted", "_version": 2})
    error = fails(lambda: t.es.delete(index=name, id="1"), 404)
    same(error.body["result"], "not_found")
    same(t.es.exists(index=name, id="1").body, False)


@works("HEAD /{index}/_doc/{id}")
@works("HEAD /{index}/_source/{id}")
@works("GET /{index}/_source/{id}", "`_source_includes`, `_source_excludes`")
def existence_and_the_bare_source(t):
    name = t.index([{"a": 1, "b": {"c": 2, "d": 3}}])
    same(t.es.exists(index=name, id="1").body, True)
    same(t.es.exists(index=name, id="2").body, False)
    same(t.es.exists_source(index=name, id="1").body, True)
    same(t.es.exists_source(index=name, id="2").body, False)
    same(t.es.get_source(index=name, id="1").body, {"a": 1, "b": {"c": 2, "d": 3}})
    same(t.es.get_source(index=name, id="1", source_includes="b.*", source_excludes="b.d").body, {"b": {"c": 2}})
    fails(lambda: t.es.get_source(index=name, id="2"), 404, "resource_not_found_exception")


@works("GET /{index}/_doc/{id}", "`_source`, `_source_includes`, `_source_excludes`")
def a_part_of_the_source_is_shown(t):
    name = t.index([{"a": 1, "b": {"c": 2, "d": 3}}])
    holds("_source" not in t.es.get(index=name, id="1", source=False).body, "no source")
    same(t.es.get(index=name, id="1", source=["a", "b.c"])["_source"], {"a": 1, "b": {"c": 2}})
    same(t.es.get(index=name, id="1", source_excludes="b")["_source"], {"a": 1})


@works("GET /{index}/_doc/{id}", "`realtime`, `refresh`")
def what_searches_see_is_got_without_realtime(t):
    name = t.index(settings={"refresh_interval": -1})
    t.es.index(index=name, id="1", document={"n": 1})
    same(t.es.get(index=name, id="1")["found"], True)
    fails(lambda: t.es.get(index=name, id="1", realtime=False), 404)
    same(t.es.get(index=name, id="1", realtime=False, refresh=True)["found"], True)


@works("PUT /{index}/_doc/{id}", "`refresh=true`, `wait_for`", "so too for the other writes")
def a_write_is_seen_as_soon_as_it_wants(t):
    name = t.index(settings={"refresh_interval": "200ms"})
    t.es.index(index=name, id="1", document={"n": 1}, refresh=True)
    same(t.es.count(index=name)["count"], 1)
    t.es.index(index=name, id="2", document={"n": 2}, refresh="wait_for")
    same(t.es.count(index=name)["count"], 2)
    t.es.delete(index=name, id="1", refresh=True)
    same(t.es.count(index=name)["count"], 1)


@works("PUT /{index}/_doc/{id}", "`if_seq_no`, `if_primary_term`", "so too for deletes and updates")
def writes_have_conditions(t):
    name = t.index([{"n": 1}])
    seq = t.es.get(index=name, id="1")["_seq_no"]
    t.es.index(index=name, id="1", document={"n": 2}, if_seq_no=seq, if_primary_term=1)
    stale = {"index": name, "id": "1", "if_seq_no": seq, "if_primary_term": 1}
    fails(lambda: t.es.index(document={"n": 3}, **stale), 409, "version_conflict_engine_exception")
    fails(lambda: t.es.delete(**stale), 409, "version_conflict_engine_exception")
    fails(lambda: t.es.update(doc={"n": 3}, **stale), 409, "version_conflict_engine_exception")
    same(t.es.get(index=name, id="1")["_source"], {"n": 2})


@works("PUT /{index}/_doc/{id}", "`version`, `version_type=external`, `external_gte`")
def versions_may_come_from_outside(t):
    name = t.name()
    same(t.es.index(index=name, id="1", document={"n": 1}, version=7, version_type="external")["_version"], 7)
    fails(lambda: t.es.index(index=name, id="1", document={}, version=7, version_type="external"), 409)
    same(t.es.index(index=name, id="1", document={"n": 2}, version=7, version_type="external_gte")["_version"], 7)
    same(t.es.index(index=name, id="1", document={"n": 3}, version=9, version_type="external")["_version"], 9)
    fails(lambda: t.es.index(index=name, id="1", document={}, version=9), 400, "action_request_validation_exception")


@works("POST /{index}/_update/{id}", "`doc`, `detect_noop`", "objects are merged, everything else is replaced")
def a_document_is_updated_in_part(t):
    name = t.index([{"a": 1, "b": {"c": [1, 2]}}])
    done = t.es.update(index=name, id="1", doc={"b": {"c": [3], "d": 4}})
    has(done.body, {"result": "updated", "_version": 2})
    same(t.es.get(index=name, id="1")["_source"], {"a": 1, "b": {"c": [3], "d": 4}})
    same(t.es.update(index=name, id="1", doc={"a": 1})["result"], "noop")
    has(t.es.update(index=name, id="1", doc={"a": 1}, detect_noop=False).body, {"result": "updated", "_version": 3})
    fails(lambda: t.es.update(index=name, id="2", doc={"a": 1}), 404, "document_missing_exception", "[2]: document missing")


@works("POST /{index}/_update/{id}", "`upsert`, `doc_as_upsert`, `retry_on_conflict`")
def an_update_makes_what_is_missing(t):
    name = t.name()
    made = t.es.update(index=name, id="1", doc={"n": 2}, upsert={"n": 1}, retry_on_conflict=3)
    same((made.meta.status, made["result"]), (201, "created"))
    same(t.es.get(index=name, id="1")["_source"], {"n": 1})
    t.es.update(index=name, id="1", doc={"n": 2}, upsert={"n": 1})
    same(t.es.get(index=name, id="1")["_source"], {"n": 2})
    same(t.es.update(index=name, id="2", doc={"n": 5}, doc_as_upsert=True)["result"], "created")
    same(t.es.get(index=name, id="2")["_source"], {"n": 5})
    same(t.es.update(index=name, id="2", doc={"n": 6}, scripted_upsert=False)["result"], "updated")


@refused("POST /{index}/_update/{id}", "`script`", "[script]")
def scripts(t):
    t.es.update(index=t.index([{}]), id="1", script={"source": "ctx._source.n += 1"})


@refused("POST /{index}/_update/{id}", "`_source` of the answer", "[_source]")
def the_source_of_an_update(t):
    t.raw("POST", f"/{t.index([{}])}/_update/1", {"doc": {"n": 1}, "_source": True})


@works("POST /_mget", "`docs`, each with an index and a part of the source")
@works("POST /{index}/_mget", "`ids`")
def several_documents_are_got(t):
    one = t.index([{"n": 1, "m": 1}, {"n": 2, "m": 2}], word="a")
    other = t.index([{"n": 3}], word="b")
    got = t.es.mget(docs=[{"_index": one, "_id": "2", "_source": ["n"]}, {"_index": other, "_id": "1"}, {"_index": other, "_id": "9"}])["docs"]
    same([doc["found"] for doc in got], [True, True, False])
    same([doc.get("_source") for doc in got], [{"n": 2}, {"n": 3}, None])
    got = t.es.mget(index=one, ids=["2", "1"])["docs"]
    same([doc["_source"]["n"] for doc in got], [2, 1])
    fails(lambda: t.es.mget(index=one, ids=[]), 400, "action_request_validation_exception", "no documents to get")
    missing = t.es.mget(docs=[{"_index": t.name("none"), "_id": "1"}])["docs"][0]
    same(missing["error"]["type"], "index_not_found_exception")


@partly("PUT /{index}/_doc/{id}", "`routing`", "taken and without effect: there is one shard; it is not shown with the document")
def routing_changes_nothing(t):
    name = t.name()
    t.es.index(index=name, id="1", document={"n": 1}, routing="a")
    same(t.es.get(index=name, id="1", routing="b")["_source"], {"n": 1})


@works("PUT /{index}/_doc/{id}", "`wait_for_active_shards`, `timeout`", "more copies than one are refused with 400: they never come")
def copies_to_wait_for(t):
    t.es.index(index=t.name(), id="1", document={}, wait_for_active_shards=1, timeout="5s")
    fails(lambda: t.es.index(index=t.name(), id="1", document={}, wait_for_active_shards=2), 400, says="wait_for_active_shards")


@refused("PUT /{index}/_doc/{id}", "`pipeline`", "pipeline")
def pipelines(t):
    t.es.index(index=t.name(), id="1", document={}, pipeline="p")


@refused("PUT /{index}/_doc/{id}", "`require_alias=true`", "require_alias")
def aliases_required(t):
    t.es.index(index=t.name(), id="1", document={}, require_alias=True)


@refused("GET /{index}/_doc/{id}", "`stored_fields`", "stored_fields")
def stored_fields(t):
    t.es.get(index=t.index([{}]), id="1", stored_fields="a")


@refused("GET /{index}/_doc/{id}", "`version`", "version")
def versions_of_gets(t):
    t.es.get(index=t.index([{}]), id="1", version=1)


@refused("GET /{index}/_termvectors/{id}", "", "_termvectors")
def term_vectors(t):
    t.es.termvectors(index=t.index([{}]), id="1")


@refused("GET /{index}/_explain/{id}", "", "_explain")
def explained(t):
    t.es.explain(index=t.index([{}]), id="1", query={"match_all": {}})
