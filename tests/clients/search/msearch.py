"""Several searches at once, counts, and what hits show."""

from suite import fails, has, holds, ids, partly, refused, same, works

SEARCH = "POST /{index}/_search"


@works("POST /_msearch", "each with its index and its status", "one that fails leaves the others; at most 1000")
def several_searches(t):
    one, two = t.index([{"n": 1}, {"n": 2}], word="one"), t.index([{"n": 3}], word="two")
    answer = t.es.msearch(searches=[{"index": one}, {"query": {"term": {"n": 2}}}, {"index": [one, two]}, {"size": 0, "aggs": {"s": {"sum": {"field": "n"}}}}, {"index": t.name("none")}, {}, {"index": one}, {"query": {"nonsense": {}}}])
    responses = answer["responses"]
    same([one["status"] for one in responses], [200, 200, 404, 400])
    same(ids(responses[0]), ["2"])
    same(responses[1]["aggregations"]["s"]["value"], 6.0)
    same(responses[2]["error"]["type"], "index_not_found_exception")
    holds(isinstance(answer["took"], int), "took")
    fails(lambda: t.es.msearch(index=one, searches=[{}, {"size": 0}] * 1001), 400, "illegal_argument_exception", "1000")


@works("POST /{index}/_msearch", "an index in the path; `ignore_unavailable` of a search")
def an_index_for_all_searches(t):
    name = t.index([{"n": 1}])
    answer = t.es.msearch(index=name, searches=[{}, {}, {"index": [name, t.name("none")], "ignore_unavailable": True}, {"size": 0}])
    same([one["hits"]["total"]["value"] for one in answer["responses"]], [1, 1])


@refused("POST /_msearch/template", "", "template")
def templates(t):
    t.es.msearch_template(search_templates=[{}, {"source": "{}"}])


@refused("POST /_search/template", "", "template")
def a_template(t):
    t.es.search_template(source={"query": {"match_all": {}}})


@works("POST /{index}/_count", "`query`")
def counted(t):
    name = t.index([{"n": n} for n in range(7)])
    same(t.es.count(index=name).body, {"count": 7, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}})
    same(t.es.count(index=name, query={"range": {"n": {"gte": 4}}})["count"], 3)
    fails(lambda: t.raw("POST", f"/{name}/_count", {"size": 1}), 400, "parsing_exception", "size")


@works(SEARCH, "the whole answer", "`took`, `timed_out`, `_shards`, `hits.total`, `max_score`")
def the_shape_of_an_answer(t):
    name = t.index([{"n": 1}])
    answer = t.search(name).body
    same(set(answer), {"took", "timed_out", "_shards", "hits"})
    has(answer, {"timed_out": False, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}, "hits": {"total": {"value": 1, "relation": "eq"}, "max_score": 1.0, "hits": [{"_index": name, "_id": "1", "_score": 1.0, "_source": {"n": 1}}]}})
    has(t.search(name, {"match_none": {}}).body["hits"], {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []})


@works(SEARCH, "`_source`", "`false`, patterns, `includes`, `excludes`")
def parts_of_the_source(t):
    name = t.index([{"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}])
    source = lambda **more: t.search(name, **more)["hits"]["hits"][0].get("_source")
    same(source(source=False), None)
    same(source(source="b.c"), {"b": {"c": 2}})
    same(source(source=["a", "b.d.e"]), {"a": 1, "b": {"d": [{"e": 3}]}})
    same(source(source={"includes": ["b.*"], "excludes": ["*.f"]}), {"b": {"c": 2, "d": [{"e": 3}]}})
    same(source(source_excludes=["b"]), {"a": 1})


@works(SEARCH, "`version`, `seq_no_primary_term`")
def versions_of_hits(t):
    name = t.index([{"n": 1}])
    t.es.index(index=name, id="1", document={"n": 2}, refresh=True)
    has(t.search(name, version=True, seq_no_primary_term=True)["hits"]["hits"][0], {"_version": 2, "_seq_no": 1, "_primary_term": 1})


@works("POST /_search", "all indices, lists, patterns, exclusions; `ignore_unavailable`, `allow_no_indices`, `expand_wildcards`")
def indices_of_a_search(t):
    one, two = t.index([{"n": 1}], word="log-1"), t.index([{"n": 2}], word="log-2")
    total = lambda index, **more: t.es.search(index=index, size=0, **more)["hits"]["total"]["value"]
    same(total(f"{one},{two}"), 2)
    same(total(t.name("log-*")), 2)
    same(total(f"{t.name('log-*')},-{two}"), 1)
    same(total(t.name("nothing-*")), 0)
    fails(lambda: total(t.name("nothing")), 404, "index_not_found_exception", f"no such index [{t.name('nothing')}]")
    same(total(f"{one},{t.name('nothing')}", ignore_unavailable=True), 1)
    fails(lambda: total(t.name("nothing-*"), allow_no_indices=False), 404, "index_not_found_exception")
    holds(t.es.search(size=0)["hits"]["total"]["value"] >= 2, "all indices")


@works(SEARCH, "`timeout`", "what takes longer ends with 429, not with a part of the hits; 30 s at most for any search")
def a_limit_of_time(t):
    same(ids(t.search(t.index([{"n": 1}]), timeout="10s")), ["1"])


@works(SEARCH, "`filter_path`, `pretty`", "for every call")
def filtered_answers(t):
    name = t.index([{"n": 1}])
    same(t.es.search(index=name, filter_path="hits.hits._id,hits.total.value").body, {"hits": {"total": {"value": 1}, "hits": [{"_id": "1"}]}})
    same(t.es.search(index=name, filter_path="-hits,-took,-_shards").body, {"timed_out": False})


@refused(SEARCH, "`typed_keys=true`", "typed_keys")
def typed(t):
    t.es.search(index=t.index([{}]), typed_keys=True)


@partly(SEARCH, "`search_type`, `preference`, `routing`, `request_cache`, `batched_reduce_size`, …", "taken, and change nothing: there is one shard")
def how_shards_are_asked(t):
    name = t.index([{"n": 1}])
    same(ids(t.search(name, search_type="dfs_query_then_fetch", preference="_local", routing="a", request_cache=True)), ["1"])


for path, ask in {"_async_search": lambda t: t.es.async_search.submit(index=t.index([{}])), "_field_caps": lambda t: t.es.field_caps(index=t.index([{}]), fields="*"), "_rank_eval": lambda t: t.raw("POST", f"/{t.index([{}])}/_rank_eval", {}),
                  "_search_shards": lambda t: t.es.search_shards(index=t.index([{}])), "_validate/query": lambda t: t.es.indices.validate_query(index=t.index([{}])), "_knn_search": lambda t: t.raw("POST", f"/{t.index([{}])}/_knn_search", {}),
                  "_terms_enum": lambda t: t.es.terms_enum(index=t.index([{}]), field="a"), "_mvt": lambda t: t.raw("POST", f"/{t.index([{}])}/_mvt/a/1/1/1", {})}.items():
    refused(f"POST /{{index}}/{path}", "", path.split("/")[0])(ask)
