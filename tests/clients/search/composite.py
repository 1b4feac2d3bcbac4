"""Aggregations over combinations of values, and in nested objects."""

from suite import fails, holds, pairs, refused, same, works

SEARCH = "POST /{index}/_search"


def _sales(t):
    return t.index([{"k": "a", "n": 1, "day": "2024-01-01"}, {"k": "a", "n": 7, "day": "2024-01-02"}, {"k": "b", "n": 1, "day": "2024-02-01"}, {"n": 3, "day": "2024-02-02"}], {"k": {"type": "keyword"}, "n": {"type": "integer"}, "day": {"type": "date"}})


@works(SEARCH, "aggregation: `composite`", "sources `terms`, `histogram`, `date_histogram`; `size`, `after`, `order`; 32 sources")
def combinations(t):
    name = _sales(t)
    sources = [{"k": {"terms": {"field": "k"}}}, {"n": {"histogram": {"field": "n", "interval": 5}}}]
    whole = t.aggs(name, c={"composite": {"sources": sources}})["c"]
    same([(bucket["key"], bucket["doc_count"]) for bucket in whole["buckets"]], [({"k": "a", "n": 0.0}, 1), ({"k": "a", "n": 5.0}, 1), ({"k": "b", "n": 0.0}, 1)])
    same(whole["after_key"], {"k": "b", "n": 0.0})
    seen, after = [], None
    while True:
        page = t.aggs(name, c={"composite": {"size": 1, "sources": sources, **({"after": after} if after else {})}, "aggs": {"s": {"sum": {"field": "n"}}}})["c"]
        if not page["buckets"]:
            break
        seen += [bucket["s"]["value"] for bucket in page["buckets"]]
        after = page["after_key"]
    same(seen, [1.0, 7.0, 1.0])
    holds("after_key" not in page, "the last page has no key")
    months = t.aggs(name, c={"composite": {"sources": [{"m": {"date_histogram": {"field": "day", "calendar_interval": "month", "format": "yyyy-MM", "order": "desc"}}}]}})["c"]
    same([(bucket["key"]["m"], bucket["doc_count"]) for bucket in months["buckets"]], [("2024-02", 2), ("2024-01", 2)])
    many = [{f"s{n}": {"terms": {"field": "k"}}} for n in range(33)]
    fails(lambda: t.aggs(name, c={"composite": {"sources": many}}), 400, says="32")


@works(SEARCH, "aggregation: `composite`: `missing_bucket`, `missing_order`")
def missing_values(t):
    name = _sales(t)
    of = lambda **more: [(bucket["key"]["k"], bucket["doc_count"]) for bucket in t.aggs(name, c={"composite": {"sources": [{"k": {"terms": {"field": "k", "missing_bucket": True, **more}}}]}})["c"]["buckets"]]
    same(of(), [(None, 1), ("a", 2), ("b", 1)])
    same(of(missing_order="last"), [("a", 2), ("b", 1), (None, 1)])
    same(of(order="desc"), [("b", 1), ("a", 2), (None, 1)])


@refused(SEARCH, "aggregation: `composite`: `geotile_grid`", "geotile_grid")
def tiles(t):
    t.aggs(_sales(t), c={"composite": {"sources": [{"g": {"geotile_grid": {"field": "k"}}}]}})


@works(SEARCH, "aggregation: `nested`, `reverse_nested`", "`path`")
def in_nested_objects(t):
    name = t.index([{"kind": "x", "p": [{"c": "red", "n": 1}, {"c": "blue", "n": 2}]}, {"kind": "y", "p": [{"c": "red", "n": 5}]}, {"kind": "z"}], {"kind": {"type": "keyword"}, "p": {"type": "nested", "properties": {"c": {"type": "keyword"}, "n": {"type": "integer"}}}})
    found = t.aggs(name, p={"nested": {"path": "p"}, "aggs": {"c": {"terms": {"field": "p.c"}, "aggs": {"s": {"sum": {"field": "p.n"}}, "back": {"reverse_nested": {}, "aggs": {"k": {"terms": {"field": "kind"}}}}}}}})["p"]
    same(found["doc_count"], 3)
    same([(bucket["key"], bucket["doc_count"], bucket["s"]["value"]) for bucket in found["c"]["buckets"]], [("red", 2, 6.0), ("blue", 1, 2.0)])
    same(pairs(found["c"]["buckets"][0]["back"]["k"]), [("x", 1), ("y", 1)])
    fails(lambda: t.aggs(name, r={"reverse_nested": {}}), 400, "illegal_argument_exception", "Reverse nested aggregation [r] can not be used outside a [nested] aggregation")
    same(t.aggs(name, p={"nested": {"path": "nowhere"}})["p"]["doc_count"], 0)
