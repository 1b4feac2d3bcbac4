"""Bulk writes, and the client's helpers."""

import elasticsearch
from elasticsearch import helpers

from suite import fails, has, holds, partly, refused, same, works


@works("POST /_bulk", "`index`, `create`, `update`, `delete`", "in order; each item has its own status")
def actions_of_all_kinds(t):
    name = t.name()
    answer = t.es.bulk(refresh=True, operations=[
        {"index": {"_index": name, "_id": "1"}}, {"n": 1},
        {"create": {"_index": name, "_id": "2"}}, {"n": 2},
        {"create": {"_index": name, "_id": "1"}}, {"n": 9},
        {"update": {"_index": name, "_id": "1"}}, {"doc": {"m": 1}},
        {"update": {"_index": name, "_id": "7"}}, {"doc": {"m": 1}},
        {"update": {"_index": name, "_id": "3"}}, {"doc": {"n": 3}, "doc_as_upsert": True},
        {"delete": {"_index": name, "_id": "2"}},
        {"delete": {"_index": name, "_id": "2"}},
    ])
    same(answer["errors"], True)
    items = [next(iter(item.items())) for item in answer["items"]]
    same([verb for verb, _ in items], ["index", "create", "create", "update", "update", "update", "delete", "delete"])
    same([item["status"] for _, item in items], [201, 201, 409, 200, 404, 201, 200, 404])
    same(items[2][1]["error"]["type"], "version_conflict_engine_exception")
    same(items[4][1]["error"]["type"], "document_missing_exception")
    same(items[7][1]["result"], "not_found")
    holds(isinstance(answer["took"], int), "took")
    same(t.es.get(index=name, id="1")["_source"], {"n": 1, "m": 1})
    same(t.es.count(index=name)["count"], 2)


@works("POST /{index}/_bulk", "an index in the path; ids of the node's; a bad document fails alone")
def one_bad_document_fails_alone(t):
    name = t.index(mappings={"n": {"type": "integer"}})
    answer = t.es.bulk(index=name, refresh="wait_for", operations=[{"index": {}}, {"n": 1}, {"index": {}}, {"n": "x"}, {"index": {}}, {"n": 3}])
    same([item["index"]["status"] for item in answer["items"]], [201, 400, 201])
    same(answer["items"][1]["index"]["error"]["type"], "document_parsing_exception")
    same(t.es.count(index=name)["count"], 2)


@works("POST /_bulk", "`if_seq_no`, `version_type`, `retry_on_conflict` of an action")
def actions_have_conditions(t):
    name = t.index([{"n": 1}])
    seq = t.es.get(index=name, id="1")["_seq_no"]
    answer = t.es.bulk(index=name, operations=[
        {"index": {"_id": "1", "if_seq_no": seq, "if_primary_term": 1}}, {"n": 2},
        {"index": {"_id": "1", "if_seq_no": seq, "if_primary_term": 1}}, {"n": 3},
        {"index": {"_id": "2", "version": 5, "version_type": "external"}}, {"n": 4},
        {"update": {"_id": "1", "retry_on_conflict": 2}}, {"doc": {"m": 1}},
    ])
    same([next(iter(item.values()))["status"] for item in answer["items"]], [200, 409, 201, 200])
    same(answer["items"][2]["index"]["_version"], 5)


@partly("POST /_bulk", "`routing`", "taken and without effect")
def routing(t):
    name = t.name()
    answer = t.es.bulk(operations=[{"index": {"_index": name, "_id": "1", "routing": "a"}}, {}])
    same(answer["errors"], False)


@refused("POST /_bulk", "`pipeline`", "pipeline")
def pipelines(t):
    t.es.bulk(index=t.name(), operations=[{"index": {}}, {}], pipeline="p")


@works("POST /_bulk", "malformed bodies", "400, nothing is written")
def a_malformed_body_writes_nothing(t):
    name = t.name()
    for operations in ([{"index": {"_id": "1"}}, {"n": 1}, {"walk": {}}], [{"index": {"_id": "1"}}]):
        fails(lambda: t.es.bulk(index=name, operations=operations), 400, "illegal_argument_exception")
    same(t.es.indices.exists(index=name).body, False)


@works("POST /_bulk", "`helpers.bulk`", "5000 documents in chunks of 500")
@works("POST /_search?scroll", "`helpers.scan`")
def thousands_go_in_and_come_out(t):
    name = t.index(mappings={"n": {"type": "integer"}})
    actions = ({"_index": name, "_id": n, "_source": {"n": n}} for n in range(5000))
    done, errors = helpers.bulk(t.es, actions, refresh=True)
    same((done, errors), (5000, []))
    query = {"query": {"range": {"n": {"gte": 1000}}}}
    scanned = [hit["_source"]["n"] for hit in helpers.scan(t.es, query=query, index=name, size=700)]
    same(sorted(scanned), list(range(1000, 5000)))
    in_order = [hit["_source"]["n"] for hit in helpers.scan(t.es, query={"sort": [{"n": "desc"}]}, index=name, size=999, preserve_order=True)]
    same(in_order, list(range(4999, -1, -1)))


@works("POST /_bulk", "`helpers.streaming_bulk`, `helpers.parallel_bulk`")
def bulks_in_streams_tell_each_result(t):
    name = t.index(mappings={"n": {"type": "integer"}})
    actions = [{"_index": name, "_id": n, "n": "bad" if n == 3 else n} for n in range(10)]
    told = list(helpers.streaming_bulk(t.es, actions, chunk_size=4, raise_on_error=False))
    same([ok for ok, _ in told], [n != 3 for n in range(10)])
    same(told[3][1]["index"]["status"], 400)
    try:
        helpers.bulk(t.es, actions)
    except helpers.BulkIndexError as error:
        same(error.errors[0]["index"]["_id"], "3")
    else:
        raise AssertionError("the bad document was taken")
    more = ({"_op_type": "create", "_index": name, "_id": f"p{n}", "n": n} for n in range(200))
    same(all(ok for ok, _ in helpers.parallel_bulk(t.es, more, thread_count=3, chunk_size=20)), True)
    t.es.indices.refresh(index=name)
    same(t.es.count(index=name)["count"], 209)


@works("POST /_bulk", "`helpers.reindex`", "the client reads and writes; the target may have another mapping")
def the_helper_copies_an_index(t):
    source = t.index([{"n": n, "kind": "a" if n % 2 else "b"} for n in range(100)], word="from")
    target = t.index(mappings={"n": {"type": "keyword"}}, word="to")
    same(helpers.reindex(t.es, source, target, query={"query": {"match": {"kind": "a"}}}), (50, 0))
    t.es.indices.refresh(index=target)
    same(t.es.count(index=target, query={"term": {"n": "99"}})["count"], 1)


@works("POST /_bulk", "compressed bodies", "`http_compress=True`")
def bodies_may_be_compressed(t):
    client = elasticsearch.Elasticsearch(t.place.url, basic_auth=(t.place.user, t.place.password), http_compress=True)
    t.cleanup(client.close)
    name = t.name()
    lines = [line for n in range(500) for line in ({"index": {"_id": str(n)}}, {"text": "the same words again " * 5})]
    same(client.bulk(index=name, operations=lines, refresh=True)["errors"], False)
    has(client.count(index=name).body, {"count": 500})
