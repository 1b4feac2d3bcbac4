"""The order of hits, and reading them page by page."""

import time


from suite import fails, holds, ids, refused, same, scores, works

SEARCH = "POST /{index}/_search"


def _things(t):
    return t.index([{"n": 3, "k": "c", "many": [1, 9]}, {"n": 1, "k": "a", "many": [5]}, {"n": 2, "k": "b", "day": "2024-01-01", "many": [2, 4]}, {"k": "a"}], {
        "n": {"type": "integer"}, "k": {"type": "keyword"}, "day": {"type": "date"}, "many": {"type": "integer"}, "text": {"type": "text"}, "f": {"type": "double"}})


def _sorted(t, name, *sort, **more):
    return ids(t.search(name, sort=list(sort), **more))


@works(SEARCH, "`sort`: numbers, keywords, dates, booleans, addresses; several keys", "ascending and descending; `sort` values of the hits")
def by_fields(t):
    name = _things(t)
    same(_sorted(t, name, {"n": "asc"}), ["2", "3", "1", "4"])
    same(_sorted(t, name, {"n": {"order": "desc"}}), ["1", "3", "2", "4"])
    same(_sorted(t, name, "k", {"n": "desc"}), ["2", "4", "3", "1"])
    other = t.index([{"ok": True, "ip": "10.0.0.9"}, {"ok": False, "ip": "9.0.0.1"}, {"ip": "2001:db8::1"}], {"ok": {"type": "boolean"}, "ip": {"type": "ip"}}, word="other")
    same(_sorted(t, other, {"ok": "asc"})[:2], ["2", "1"])
    same(t.search(other, sort=[{"ok": "desc"}])["hits"]["hits"][0]["sort"], [1])
    same(_sorted(t, other, {"ip": "asc"}), ["2", "1", "3"])
    same(t.search(other, sort=[{"ip": "asc"}])["hits"]["hits"][0]["sort"], ["9.0.0.1"])
    same(_sorted(t, name, {"day": "asc"})[0], "3")
    answer = t.search(name, sort=[{"k": "asc"}, {"n": "asc"}])
    same([hit["sort"] for hit in answer["hits"]["hits"]], [["a", 1], ["a", 9223372036854775807], ["b", 2], ["c", 3]])
    same((answer["hits"]["max_score"], scores(answer)), (None, [None] * 4))


@works(SEARCH, "`sort`: `missing`, `unmapped_type`, `mode`, `format`")
def options(t):
    name = _things(t)
    same(_sorted(t, name, {"n": {"order": "asc", "missing": "_first"}}), ["4", "2", "3", "1"])
    same(_sorted(t, name, {"n": {"order": "asc", "missing": 2}}), ["2", "3", "4", "1"])
    same(_sorted(t, name, {"many": {"order": "asc", "mode": "max"}})[:3], ["3", "2", "1"])
    same(_sorted(t, name, {"many": {"order": "asc", "mode": "sum"}})[:3], ["2", "3", "1"])
    same(_sorted(t, name, {"many": "asc"})[:3], ["1", "3", "2"])
    same(_sorted(t, name, {"many": "desc"})[:3], ["1", "2", "3"])
    same(_sorted(t, name, {"no": {"order": "asc", "unmapped_type": "long"}}, {"n": "asc"}), ["2", "3", "1", "4"])
    answer = t.search(name, sort=[{"day": {"order": "asc", "format": "yyyy-MM-dd"}}])
    same(answer["hits"]["hits"][0]["sort"], ["2024-01-01"])
    fails(lambda: t.search(name, sort=["no"]), 400, "query_shard_exception", "No mapping found for [no] in order to sort on")
    fails(lambda: t.search(name, sort=["text"]), 400, "illegal_argument_exception", "text")


@works(SEARCH, "`sort`: `_score`, `_doc`; `track_scores`")
def by_score(t):
    name = t.index([{"text": "a b"}, {"text": "a a"}, {"text": "b"}], {"text": {"type": "text"}})
    query = {"match": {"text": "a"}}
    same(_sorted(t, name, "_score", query=query), ["2", "1"])
    same(_sorted(t, name, {"_score": "asc"}, query=query), ["1", "2"])
    same(_sorted(t, name, "_doc"), ["1", "2", "3"])
    answer = t.search(name, query, sort=[{"_doc": "desc"}], track_scores=True)
    same(ids(answer), ["2", "1"])
    same(answer["hits"]["max_score"], max(scores(answer)))
    first = t.search(name, query, sort=["_score"], size=1)["hits"]["hits"][0]
    same(first["sort"], [first["_score"]])
    same(ids(t.search(name, query, sort=["_score"], search_after=first["sort"])), ["1"])


def _sort(sort):
    return lambda t: t.search(_things(t), sort=[sort])


for what, said, sort in (("`_script`", "_script", {"_script": {"type": "number", "script": "1"}}), ("`_geo_distance`", "_geo_distance", {"_geo_distance": {"p": [0, 0]}}),
                         ("`nested`", "nested", {"n": {"nested": {"path": "n"}}}), ("`numeric_type`", "numeric_type", {"n": {"numeric_type": "long"}})):
    refused(SEARCH, f"`sort`: {what}", said)(_sort(sort))


@refused(SEARCH, "`sort`: `_id`", "_id", kind="illegal_argument_exception", note="as in Elasticsearch with its default settings")
def by_id(t):
    t.search(_things(t), sort=["_id"])


@works(SEARCH, "`from`, `size`", "to 10000 together (`index.max_result_window`)")
def pages(t):
    name = t.index([{"n": n} for n in range(25)], {"n": {"type": "integer"}})
    same(len(ids(t.search(name))), 10)
    page = t.search(name, sort=["n"], from_=20, size=10)
    same([hit["_source"]["n"] for hit in page["hits"]["hits"]], [20, 21, 22, 23, 24])
    same(ids(t.search(name, size=0)), [])
    fails(lambda: t.search(name, from_=9999, size=2), 400, "illegal_argument_exception", "Result window is too large, from + size must be less than or equal to: [10000] but was [10001]")
    t.es.indices.put_settings(index=name, settings={"max_result_window": 20})
    fails(lambda: t.search(name, size=21), 400, says="[20]")


@works(SEARCH, "`track_total_hits`", "`true`, `false`, a number; counted to 10000 by default")
def totals(t):
    name = t.index([{"n": n} for n in range(30)])
    same(t.search(name)["hits"]["total"], {"value": 30, "relation": "eq"})
    same(t.search(name, track_total_hits=True)["hits"]["total"], {"value": 30, "relation": "eq"})
    same(t.search(name, track_total_hits=7)["hits"]["total"], {"value": 7, "relation": "gte"})
    same(t.search(name, track_total_hits=30)["hits"]["total"], {"value": 30, "relation": "eq"})
    holds("total" not in t.search(name, track_total_hits=False)["hits"], "no total")


@refused(SEARCH, "`rest_total_hits_as_int=true`", "rest_total_hits_as_int")
def totals_as_numbers(t):
    t.es.search(index=_things(t), rest_total_hits_as_int=True)


@works(SEARCH, "`search_after`", "with the values of a page's last hit; dates as texts too")
def pages_after(t):
    name = t.index([{"n": n % 5, "m": n} for n in range(20)], {"n": {"type": "integer"}, "m": {"type": "long"}})
    seen, after = [], None
    while True:
        page = t.search(name, sort=[{"n": "desc"}, {"m": "asc"}], size=6, **({"search_after": after} if after else {}))["hits"]["hits"]
        if not page:
            break
        seen += [(hit["_source"]["n"], hit["_source"]["m"]) for hit in page]
        after = page[-1]["sort"]
    same(seen, sorted(((n % 5, n) for n in range(20)), key=lambda key: (-key[0], key[1])))
    days = t.index([{"d": f"2024-01-0{n}"} for n in range(1, 6)], {"d": {"type": "date"}}, word="days")
    same(ids(t.search(days, sort=["d"], search_after=["2024-01-03"])), ["4", "5"])
    same(ids(t.search(days, sort=[{"d": {"order": "desc", "format": "yyyy-MM-dd"}}], search_after=["2024-01-03"])), ["2", "1"])
    fails(lambda: t.search(name, sort=["n"], search_after=[1, 2]), 400, "illegal_argument_exception", "search_after has 2 value(s) but sort has 1.")
    fails(lambda: t.search(name, sort=["n"], search_after=[1], from_=1), 400, says="`from` parameter must be set to 0")


@works("POST /{index}/_pit", "`keep_alive`")
@works(SEARCH, "`pit`", "what was there at the beginning; `_shard_doc`")
@works("DELETE /_pit")
def a_point_in_time(t):
    name = t.index([{"n": n} for n in range(10)], {"n": {"type": "integer"}})
    pit = t.es.open_point_in_time(index=name, keep_alive="1m")["id"]
    t.es.index(index=name, document={"n": 99}, refresh=True)
    t.es.delete(index=name, id="1", refresh=True)
    seen, after = [], None
    while True:
        answer = t.es.search(pit={"id": pit, "keep_alive": "1m"}, size=4, sort=[{"_shard_doc": "asc"}], **({"search_after": after} if after else {}))
        pit = answer["pit_id"]
        if not ids(answer):
            break
        seen += [hit["_source"]["n"] for hit in answer["hits"]["hits"]]
        after = answer["hits"]["hits"][-1]["sort"]
    same(sorted(seen), list(range(10)))
    answer = t.es.search(pit={"id": pit}, sort=[{"n": "desc"}], size=1)
    same(len(answer["hits"]["hits"][0]["sort"]), 2)
    same(t.es.close_point_in_time(id=pit).body, {"succeeded": True, "num_freed": 1})
    fails(lambda: t.es.search(pit={"id": pit}), 404, "search_context_missing_exception")


@refused("POST /{index}/_pit", "`index_filter`", "index_filter")
def a_filtered_point_in_time(t):
    t.raw("POST", f"/{_things(t)}/_pit", {"index_filter": {"match_all": {}}}, keep_alive="1m")


@works("POST /{index}/_search?scroll", "pages until an empty one", "`size` is a page's")
@works("POST /_search/scroll")
@works("DELETE /_search/scroll", "one, several; `_all` for administrators")
def scrolls(t):
    name = t.index([{"n": n} for n in range(25)], {"n": {"type": "integer"}})
    answer = t.search(name, sort=[{"n": "desc"}], size=10, scroll="1m")
    same(answer["hits"]["total"], {"value": 25, "relation": "eq"})
    t.es.index(index=name, document={"n": 99}, refresh=True)
    seen = []
    while ids(answer):
        seen += [hit["_source"]["n"] for hit in answer["hits"]["hits"]]
        answer = t.es.scroll(scroll_id=answer["_scroll_id"], scroll="1m")
    same(seen, list(range(24, -1, -1)))
    scroll = answer["_scroll_id"]
    same(t.es.clear_scroll(scroll_id=scroll).body, {"succeeded": True, "num_freed": 1})
    fails(lambda: t.es.scroll(scroll_id=scroll), 404, "search_context_missing_exception")
    error = fails(lambda: t.es.clear_scroll(scroll_id=scroll), 404)
    same(error.body, {"succeeded": True, "num_freed": 0})
    t.search(name, scroll="1m")
    holds(t.es.clear_scroll(scroll_id="_all")["num_freed"] >= 1, "all are closed")
    fails(lambda: t.search(name, scroll="25h"), 400, "illegal_argument_exception", "too large")
    fails(lambda: t.search(name, scroll="1m", size=0), 400, says="[size] cannot be [0] in a scroll context")


@works("POST /{index}/_search?scroll", "contexts end by themselves", "after their time without use; 500 at once")
def contexts_expire(t):
    name = t.index([{"n": 1}, {"n": 2}])
    scroll = t.search(name, size=1, scroll="200ms")["_scroll_id"]
    pit = t.es.open_point_in_time(index=name, keep_alive="200ms")["id"]
    time.sleep(0.4)
    fails(lambda: t.es.scroll(scroll_id=scroll), 404, "search_context_missing_exception")
    fails(lambda: t.es.search(pit={"id": pit}), 404, "search_context_missing_exception")
    opened = [t.es.open_point_in_time(index=name, keep_alive="1m")["id"] for _ in range(500)]
    t.cleanup(lambda: [t.es.close_point_in_time(id=one) for one in opened])
    fails(lambda: t.es.open_point_in_time(index=name, keep_alive="1m"), 429, "es_rejected_execution_exception", "[500]")
