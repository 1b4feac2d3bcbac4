"""Aggregations that come to figures."""

import math

from suite import each_refused, fails, holds, near, refused, same, works

SEARCH = "POST /{index}/_search"
VALUES = [1, 2, 2, 3, 10]


def _sales(t):
    docs = [{"n": n, "k": "ab"[n % 2], "day": f"2024-01-{n:02}", "text": "words"} for n in VALUES] + [{"k": "c"}]
    return t.index(docs, {"n": {"type": "integer"}, "k": {"type": "keyword"}, "day": {"type": "date"}, "text": {"type": "text"}, "f": {"type": "double"}})


@works(SEARCH, "aggregation: `min`, `max`, `sum`, `avg`, `value_count`", "`missing`; none for nothing; dates with `value_as_string`")
def simple_figures(t):
    name = _sales(t)
    figures = t.aggs(name, **{kind: {kind: {"field": "n"}} for kind in ("min", "max", "sum", "avg", "value_count")})
    same({kind: of["value"] for kind, of in figures.items()}, {"min": 1.0, "max": 10.0, "sum": 18.0, "avg": 3.6, "value_count": 5})
    same(t.aggs(name, a={"avg": {"field": "n", "missing": 0}})["a"]["value"], 3.0)
    nothing = t.search(name, {"match_none": {}}, size=0, aggs={kind: {kind: {"field": "n"}} for kind in ("min", "sum", "avg")})["aggregations"]
    same({kind: of["value"] for kind, of in nothing.items()}, {"min": None, "sum": 0.0, "avg": None})
    day = t.aggs(name, last={"max": {"field": "day"}})["last"]
    same(day, {"value": 1704844800000.0, "value_as_string": "2024-01-10T00:00:00.000Z"})
    same(t.aggs(name, n={"value_count": {"field": "k"}})["n"]["value"], 6)
    same(t.aggs(name, n={"max": {"field": "nowhere"}})["n"]["value"], None)


@works(SEARCH, "aggregation: `stats`, `extended_stats`", "`sigma`")
def several_figures(t):
    name = _sales(t)
    same(t.aggs(name, s={"stats": {"field": "n"}})["s"], {"count": 5, "min": 1.0, "max": 10.0, "avg": 3.6, "sum": 18.0})
    more = t.aggs(name, s={"extended_stats": {"field": "n", "sigma": 3}})["s"]
    mean, squares = 3.6, sum(n * n for n in VALUES)
    variance = squares / 5 - mean * mean
    for key, wanted in (("sum_of_squares", squares), ("variance", variance), ("variance_population", variance), ("variance_sampling", variance * 5 / 4), ("std_deviation", math.sqrt(variance)), ("std_deviation_sampling", math.sqrt(variance * 5 / 4))):
        near(more[key], wanted)
    near(more["std_deviation_bounds"]["upper"], mean + 3 * math.sqrt(variance))
    near(more["std_deviation_bounds"]["lower_sampling"], mean - 3 * math.sqrt(variance * 5 / 4))
    same(t.search(name, {"match_none": {}}, size=0, aggs={"s": {"stats": {"field": "n"}}})["aggregations"]["s"], {"count": 0, "min": None, "max": None, "avg": None, "sum": 0.0})


@works(SEARCH, "aggregation: `cardinality`", "exact below `precision_threshold` (3000, at most 40000), about 1 % off above")
def different_values(t):
    name = t.index([{"n": n % 700, "k": f"k{n}"} for n in range(5000)], {"n": {"type": "integer"}, "k": {"type": "keyword"}})
    found = t.aggs(name, n={"cardinality": {"field": "n"}}, k={"cardinality": {"field": "k", "precision_threshold": 100}})
    same(found["n"]["value"], 700)
    holds(abs(found["k"]["value"] - 5000) < 250, found["k"])


@works(SEARCH, "aggregation: `percentiles`", "`percents`, `keyed`, `tdigest.compression`, `missing`")
def percentiles(t):
    name = t.index([{"n": n} for n in range(1, 101)], {"n": {"type": "integer"}})
    found = t.aggs(name, p={"percentiles": {"field": "n"}})["p"]["values"]
    same(list(found), ["1.0", "5.0", "25.0", "50.0", "75.0", "95.0", "99.0"])
    near(found["50.0"], 50.5, 0.02)
    near(found["99.0"], 99.5, 0.02)
    listed = t.aggs(name, p={"percentiles": {"field": "n", "percents": [50], "keyed": False, "tdigest": {"compression": 200}}})["p"]["values"]
    other = t.index([{"n": 4}, {}], {"n": {"type": "integer"}}, word="other")
    same(t.aggs(other, p={"percentiles": {"field": "n", "percents": [100], "missing": 9}})["p"]["values"], {"100.0": 9.0})
    same(listed[0]["key"], 50.0)
    near(listed[0]["value"], 50.5, 0.02)


@works(SEARCH, "aggregation: `percentile_ranks`", "`values`, `keyed`")
def ranks(t):
    name = t.index([{"n": n} for n in range(1, 101)], {"n": {"type": "integer"}})
    found = t.aggs(name, p={"percentile_ranks": {"field": "n", "values": [25, 1000]}})["p"]["values"]
    near(found["25.0"], 25, 0.05)
    near(found["1000.0"], 100)
    same([one["key"] for one in t.aggs(name, p={"percentile_ranks": {"field": "n", "values": [25, 50], "keyed": False}})["p"]["values"]], [25.0, 50.0])


@refused(SEARCH, "aggregation: `percentiles`: `hdr`", "hdr")
def hdr(t):
    t.aggs(_sales(t), p={"percentiles": {"field": "n", "hdr": {}}})


@works(SEARCH, "aggregation: `top_hits`", "`from`, `size`, `sort`, `_source`, `track_scores`, `version`; from + size to 100")
def best_hits_of_buckets(t):
    name = _sales(t)
    found = t.aggs(name, k={"terms": {"field": "k", "order": {"_key": "asc"}}, "aggs": {"top": {"top_hits": {"size": 1, "sort": [{"n": "desc"}], "_source": ["n"]}}}})
    tops = [bucket["top"]["hits"] for bucket in found["k"]["buckets"]]
    same([top["total"]["value"] for top in tops], [3, 2, 1])
    same([top["hits"][0]["_source"] for top in tops], [{"n": 10}, {"n": 3}, {}])
    same(tops[0]["hits"][0]["sort"], [10])
    second = t.aggs(name, top={"top_hits": {"from": 1, "size": 1, "sort": [{"n": "asc"}], "track_scores": True, "version": True}})["top"]["hits"]
    same((second["hits"][0]["_source"]["n"], second["hits"][0]["_version"], second["hits"][0]["_score"]), (2, 1, 1.0))
    fails(lambda: t.aggs(name, top={"top_hits": {"size": 101}}), 400, says="100")


@refused(SEARCH, "aggregation: `top_hits`: `highlight`", "highlight", note="so too `explain`, `fields`, `script_fields`, `stored_fields`, `docvalue_fields`, and a `top_hits` in a `nested`")
def marked_top_hits(t):
    t.aggs(_sales(t), top={"top_hits": {"highlight": {"fields": {"text": {}}}}})


@works(SEARCH, "aggregation: figures of texts", "400: a text has no values to aggregate")
def texts_have_no_values(t):
    fails(lambda: t.aggs(_sales(t), a={"cardinality": {"field": "text"}}), 400, "illegal_argument_exception", "text")
    fails(lambda: t.aggs(t.name(), a={"avg": {"field": "k"}}), 400, "illegal_argument_exception", "[avg]")


@refused(SEARCH, "aggregation: `script`", "script")
def scripts(t):
    t.aggs(_sales(t), a={"avg": {"script": {"source": "1"}}})


def _of(kind):
    return lambda t: t.aggs(t.index([{}]), a={kind: {}})


each_refused(SEARCH, [(f"aggregation: {kind}", _of(kind)) for kind in (
    "boxplot", "geo_bounds", "geo_centroid", "geo_line", "matrix_stats", "median_absolute_deviation", "rate", "scripted_metric", "string_stats", "t_test", "top_metrics", "weighted_avg")])
