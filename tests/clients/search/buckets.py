"""Aggregations that put documents into buckets."""

from suite import each_refused, fails, has, pairs, refused, same, works

SEARCH = "POST /{index}/_search"


def _shop(t):
    return t.index([
        {"kind": "fruit", "tags": ["a", "b"], "price": 1, "day": "2024-01-01"}, {"kind": "fruit", "tags": ["a"], "price": 2, "day": "2024-01-20"}, {"kind": "cake", "tags": ["b", "c"], "price": 4, "day": "2024-03-05"},
        {"kind": "bread", "price": 3, "day": "2024-03-31T23:30:00Z", "ok": True}, {"price": 12, "ip": "10.0.0.1"}], {
        "kind": {"type": "keyword"}, "tags": {"type": "keyword"}, "price": {"type": "double"}, "day": {"type": "date"}, "ok": {"type": "boolean"}, "ip": {"type": "ip"}, "text": {"type": "text"}})


@works(SEARCH, "aggregation: `terms`", "keywords, numbers, dates, booleans, addresses; `size`, `sum_other_doc_count`")
def terms(t):
    name = _shop(t)
    kinds = t.aggs(name, k={"terms": {"field": "kind"}})["k"]
    same(pairs(kinds), [("fruit", 2), ("bread", 1), ("cake", 1)])
    same((kinds["doc_count_error_upper_bound"], kinds["sum_other_doc_count"]), (0, 0))
    few = t.aggs(name, k={"terms": {"field": "tags", "size": 1}})["k"]
    same((pairs(few), few["sum_other_doc_count"]), ([("a", 2)], 3))
    same(pairs(t.aggs(name, k={"terms": {"field": "price", "order": {"_key": "desc"}}})["k"])[0], (12.0, 1))
    same(t.aggs(name, k={"terms": {"field": "ok"}})["k"]["buckets"], [{"key": 1, "key_as_string": "true", "doc_count": 1}])
    same(pairs(t.aggs(name, k={"terms": {"field": "ip"}})["k"]), [("10.0.0.1", 1)])
    same(t.aggs(name, k={"terms": {"field": "day", "order": {"_key": "asc"}}})["k"]["buckets"][0], {"key": 1704067200000, "key_as_string": "2024-01-01T00:00:00.000Z", "doc_count": 1})
    same(pairs(t.aggs(name, k={"terms": {"field": "nowhere"}})["k"]), [])


@works(SEARCH, "aggregation: `terms`: `order`, `min_doc_count`, `missing`, `include`, `exclude`", "by count, key or a figure of sub-aggregations; lists and regular expressions")
def terms_in_order(t):
    name = _shop(t)
    of = lambda **more: pairs(t.aggs(name, k={"terms": {"field": "kind", **more}})["k"])
    same(of(order={"_key": "asc"}), [("bread", 1), ("cake", 1), ("fruit", 2)])
    same(of(order=[{"_count": "asc"}, {"_key": "desc"}]), [("cake", 1), ("bread", 1), ("fruit", 2)])
    same(of(min_doc_count=2), [("fruit", 2)])
    same(of(missing="none", order={"_key": "desc"})[0], ("none", 1))
    same(of(include="fr.*|cake", exclude=["cake"]), [("fruit", 2)])
    same(of(include=["cake", "bread"], order={"_key": "asc"}), [("bread", 1), ("cake", 1)])
    by_price = t.aggs(name, k={"terms": {"field": "kind", "order": {"top": "desc"}}, "aggs": {"top": {"max": {"field": "price"}}}})["k"]
    same([(bucket["key"], bucket["top"]["value"]) for bucket in by_price["buckets"]], [("cake", 4.0), ("bread", 3.0), ("fruit", 2.0)])
    by_stats = t.aggs(name, k={"terms": {"field": "kind", "order": {"s.avg": "asc"}}, "aggs": {"s": {"stats": {"field": "price"}}}})["k"]
    same([key for key, _ in pairs(by_stats)], ["fruit", "bread", "cake"])


@refused(SEARCH, "aggregation: `terms`: `include` by partitions", "partitions")
def terms_in_parts(t):
    t.aggs(_shop(t), k={"terms": {"field": "kind", "include": {"partition": 0, "num_partitions": 3}}})


@works(SEARCH, "aggregation: `terms`: `min_doc_count: 0`")
def terms_of_no_document(t):
    name = _shop(t)
    answer = t.search(name, {"term": {"kind": "cake"}}, size=0, aggs={"k": {"terms": {"field": "kind", "min_doc_count": 0, "order": {"_key": "asc"}}}})
    same(pairs(answer["aggregations"]["k"]), [("bread", 0), ("cake", 1), ("fruit", 0)])


@works(SEARCH, "aggregation: `date_histogram`: `calendar_interval`, `fixed_interval`", "`time_zone`, `offset`, `format`, `keyed`, `order`, `missing`")
def by_dates(t):
    name = _shop(t)
    months = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "month"}})["m"]
    same([(bucket["key_as_string"], bucket["doc_count"]) for bucket in months["buckets"]], [("2024-01-01T00:00:00.000Z", 2), ("2024-02-01T00:00:00.000Z", 0), ("2024-03-01T00:00:00.000Z", 2)])
    same(months["buckets"][0]["key"], 1704067200000)
    local = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "1M", "time_zone": "Europe/Berlin", "format": "yyyy-MM", "min_doc_count": 1}})["m"]
    same(pairs(local, "key_as_string"), [("2024-01", 2), ("2024-03", 1), ("2024-04", 1)])
    days = t.aggs(name, m={"date_histogram": {"field": "day", "fixed_interval": "30d", "min_doc_count": 1, "format": "yyyy-MM-dd", "keyed": True}})["m"]
    same({key: bucket["doc_count"] for key, bucket in days["buckets"].items()}, {"2023-12-19": 1, "2024-01-18": 1, "2024-02-17": 1, "2024-03-18": 1})
    filled = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "month", "min_doc_count": 1, "format": "yyyy-MM", "missing": "2020-02"}})["m"]
    same(pairs(filled, "key_as_string")[0], ("2020-02", 1))
    for interval, first in (("1h", "2024-01-01T00"), ("week", "2024-01-01T00"), ("quarter", "2024-01-01T00"), ("year", "2024-01-01T00"), ("minute", "2024-01-01T00")):
        same(t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": interval, "min_doc_count": 1}})["m"]["buckets"][0]["key_as_string"][:13], first)
    shifted = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "day", "offset": "+6h", "min_doc_count": 1, "order": {"_key": "desc"}}})["m"]
    same(shifted["buckets"][-1]["key_as_string"], "2023-12-31T06:00:00.000Z")


@works(SEARCH, "aggregation: `date_histogram`: `extended_bounds`, `hard_bounds`, `min_doc_count`")
def bounds_of_dates(t):
    name = _shop(t)
    wide = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "month", "format": "yyyy-MM", "extended_bounds": {"min": "2023-12", "max": "2024-04"}}})["m"]
    same(pairs(wide, "key_as_string"), [("2023-12", 0), ("2024-01", 2), ("2024-02", 0), ("2024-03", 2), ("2024-04", 0)])
    narrow = t.aggs(name, m={"date_histogram": {"field": "day", "calendar_interval": "month", "format": "yyyy-MM", "hard_bounds": {"min": "2024-02", "max": "2024-04"}}})["m"]
    same(pairs(narrow, "key_as_string"), [("2024-03", 2)])


@works(SEARCH, "aggregation: `histogram`", "`interval`, `offset`, `min_doc_count`, `extended_bounds`, `hard_bounds`, `keyed`, `order`, `missing`")
def by_numbers(t):
    name = _shop(t)
    of = lambda **more: pairs(t.aggs(name, h={"histogram": {"field": "price", "interval": 2, **more}})["h"])
    same(of(), [(0.0, 1), (2.0, 2), (4.0, 1), (6.0, 0), (8.0, 0), (10.0, 0), (12.0, 1)])
    same(of(min_doc_count=1, offset=1), [(1.0, 2), (3.0, 2), (11.0, 1)])
    same(of(min_doc_count=1, order={"_count": "desc"})[0], (2.0, 2))
    same(of(extended_bounds={"min": -2, "max": 14})[0], (-2.0, 0))
    same(of(hard_bounds={"min": 2, "max": 4}), [(2.0, 2), (4.0, 1)])
    bare = t.index([{"price": 1}, {}], {"price": {"type": "double"}}, word="bare")
    same(pairs(t.aggs(bare, h={"histogram": {"field": "price", "interval": 5, "missing": 7}})["h"]), [(0.0, 1), (5.0, 1)])
    keyed = t.aggs(name, h={"histogram": {"field": "price", "interval": 10, "keyed": True}})["h"]["buckets"]
    same({key: bucket["doc_count"] for key, bucket in keyed.items()}, {"0.0": 4, "10.0": 1})


@works(SEARCH, "aggregation: `range`, `date_range`", "`key`, `keyed`, date math, `format`, `time_zone`, `missing`")
def ranges(t):
    name = _shop(t)
    found = t.aggs(name, r={"range": {"field": "price", "ranges": [{"to": 2}, {"from": 2, "to": 4}, {"key": "dear", "from": 4}]}})["r"]["buckets"]
    same(found, [{"key": "*-2.0", "to": 2.0, "doc_count": 1}, {"key": "2.0-4.0", "from": 2.0, "to": 4.0, "doc_count": 2}, {"key": "dear", "from": 4.0, "doc_count": 2}])
    keyed = t.aggs(name, r={"range": {"field": "price", "keyed": True, "ranges": [{"to": 3}]}, "aggs": {"s": {"sum": {"field": "price"}}}})["r"]["buckets"]
    same(keyed, {"*-3.0": {"to": 3.0, "doc_count": 2, "s": {"value": 3.0}}})
    days = t.aggs(name, r={"date_range": {"field": "day", "format": "yyyy-MM", "ranges": [{"to": "2024-02"}, {"from": "2024-02", "to": "2024-03||+1M/M"}]}})["r"]["buckets"]
    same([(bucket["key"], bucket["doc_count"]) for bucket in days], [("*-2024-02", 2), ("2024-02-2024-04", 2)])
    has(days[0], {"to": 1706745600000.0, "to_as_string": "2024-02"})
    local = t.aggs(name, r={"date_range": {"field": "day", "time_zone": "+02:00", "missing": "2024-04-02", "ranges": [{"key": "april", "from": "2024-04-01"}]}})["r"]["buckets"]
    same((local[0]["key"], local[0]["doc_count"], local[0]["from_as_string"]), ("april", 2, "2024-04-01T00:00:00.000+02:00"))


@works(SEARCH, "aggregation: `filter`, `filters`, `missing`, `global`", "`filters` named or as a list, `other_bucket`, `other_bucket_key`")
def filters(t):
    name = _shop(t)
    cheap = {"range": {"price": {"lte": 2}}}
    same(t.aggs(name, f={"filter": cheap, "aggs": {"s": {"sum": {"field": "price"}}}})["f"], {"doc_count": 2, "s": {"value": 3.0}})
    named = t.aggs(name, f={"filters": {"filters": {"cheap": cheap, "cake": {"term": {"kind": "cake"}}}, "other_bucket_key": "rest"}})["f"]["buckets"]
    same({key: bucket["doc_count"] for key, bucket in named.items()}, {"cheap": 2, "cake": 1, "rest": 2})
    listed = t.aggs(name, f={"filters": {"filters": [cheap, {"match_all": {}}], "other_bucket": True}})["f"]["buckets"]
    same([bucket["doc_count"] for bucket in listed], [2, 5, 0])
    same(t.aggs(name, m={"missing": {"field": "kind"}})["m"], {"doc_count": 1})
    answer = t.search(name, {"term": {"kind": "cake"}}, size=0, aggs={"all": {"global": {}, "aggs": {"s": {"sum": {"field": "price"}}}}, "here": {"sum": {"field": "price"}}})["aggregations"]
    same((answer["all"]["doc_count"], answer["all"]["s"]["value"], answer["here"]["value"]), (5, 22.0, 4.0))


@works(SEARCH, "aggregations in aggregations, `meta`", "10 deep, 1000 in a search, 65536 buckets in all")
def aggregations_in_aggregations(t):
    name = _shop(t)
    found = t.es.search(index=name, size=0, aggs={"k": {"terms": {"field": "kind"}, "meta": {"by": "me"}, "aggs": {"m": {"date_histogram": {"field": "day", "calendar_interval": "year", "format": "yyyy"}, "aggs": {"p": {"avg": {"field": "price"}}}}}}})["aggregations"]["k"]
    same(found["meta"], {"by": "me"})
    same(found["buckets"][0]["m"]["buckets"], [{"key_as_string": "2024", "key": 1704067200000, "doc_count": 2, "p": {"value": 1.5}}])
    fails(lambda: t.aggs(name, h={"histogram": {"field": "price", "interval": 0.00001}}), 400, "too_many_buckets_exception", "65536")
    deep = {"avg": {"field": "price"}}
    for _ in range(10):
        deep = {"filter": {"match_all": {}}, "aggs": {"a": deep}}
    fails(lambda: t.aggs(name, a=deep), 400, says="[10]")
    fails(lambda: t.aggs(name, **{f"a{n}": {"avg": {"field": "price"}} for n in range(1001)}), 400, says="[1000]")


@works(SEARCH, "aggregations that cannot be", "400: unknown types, fields of the wrong type, sub-aggregations of figures")
def impossible_aggregations(t):
    name = _shop(t)
    fails(lambda: t.aggs(name, a={"nonsense": {}}), 400, "parsing_exception", "nonsense")
    fails(lambda: t.aggs(name, a={"terms": {"field": "text"}}), 400, "illegal_argument_exception", "text")
    fails(lambda: t.aggs(name, a={"histogram": {"field": "kind", "interval": 1}}), 400, "illegal_argument_exception", "kind")
    fails(lambda: t.aggs(name, a={"avg": {"field": "price"}, "aggs": {"b": {"avg": {"field": "price"}}}}), 400, "aggregation_initialization_exception", "sub-aggregations")
    fails(lambda: t.aggs(name, a={"terms": {"field": "kind", "size": 0}}), 400, "illegal_argument_exception", "[size]")
    fails(lambda: t.aggs(name, a={"terms": {"field": "kind", "order": {"nowhere": "asc"}}}), 400, says="nowhere")


def _of(kind):
    return lambda t: t.aggs(t.index([{}]), a={kind: {}})


each_refused(SEARCH, [(f"aggregation: {kind}", _of(kind)) for kind in (
    "adjacency_matrix", "auto_date_histogram", "categorize_text", "children", "diversified_sampler", "frequent_item_sets", "geo_distance", "geohash_grid", "geohex_grid", "geotile_grid",
    "ip_prefix", "ip_range", "multi_terms", "parent", "random_sampler", "rare_terms", "sampler", "significant_terms", "significant_text", "time_series", "variable_width_histogram")])

each_refused(SEARCH, [(f"aggregation: {kind}", _of(kind)) for kind in (
    "avg_bucket", "bucket_correlation", "bucket_count_ks_test", "bucket_script", "bucket_selector", "bucket_sort", "change_point", "cumulative_cardinality", "cumulative_sum", "derivative",
    "extended_stats_bucket", "inference", "max_bucket", "min_bucket", "moving_fn", "moving_percentiles", "normalize", "percentiles_bucket", "serial_diff", "stats_bucket", "sum_bucket")], note="pipelines")
