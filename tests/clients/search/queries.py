"""Queries: what they find, and how the hits are scored."""

import math

from suite import each_refused, fails, ids, near, refused, same, scores, works

SEARCH = "POST /{index}/_search"
TEXTS = ["the quick brown fox", "the quick brown dog jumps", "lazy dog", "a brown bear and a brown cub", "nothing of it"]


def _texts(t):
    return t.index([{"text": text} for text in TEXTS], {"text": {"type": "text", "fields": {"raw": {"type": "keyword"}}}})


def bm25(tf, length, average, docs, found):
    """The score of a term, as Elasticsearch computes it with k1 = 1.2 and b = 0.75."""
    idf = math.log(1 + (docs - found + 0.5) / (found + 0.5))
    return 2.2 * idf * tf / (tf + 1.2 * (0.25 + 0.75 * length / average))


@works(SEARCH, "query: `match_all`, `match_none`", "`boost`")
def all_and_none(t):
    name = _texts(t)
    answer = t.search(name, {"match_all": {"boost": 2.5}})
    same(answer["hits"]["total"], {"value": 5, "relation": "eq"})
    same(scores(answer), [2.5] * 5)
    same(t.search(name)["hits"]["max_score"], 1.0)
    same(t.found(name, {"match_none": {}}), [])


@works(SEARCH, "query: `match`", "`operator`, `minimum_should_match`, `analyzer`, `boost`, `lenient`, `zero_terms_query`")
def matching(t):
    name = _texts(t)
    same(set(t.found(name, {"match": {"text": "brown dog"}})), {"1", "2", "3", "4"})
    same(t.found(name, {"match": {"text": {"query": "BROWN dog", "operator": "and"}}}), ["2"])
    same(set(t.found(name, {"match": {"text": {"query": "quick brown dog", "minimum_should_match": 2}}})), {"1", "2"})
    same(set(t.found(name, {"match": {"text": {"query": "quick brown lazy dog", "minimum_should_match": "75%"}}})), {"2"})
    same(t.found(name, {"match": {"text": {"query": "lazy dog", "analyzer": "keyword"}}}), [])
    same(t.found(name, {"match": {"text": {"query": "!!"}}}), [])
    same(len(t.found(name, {"match": {"text": {"query": "!!", "zero_terms_query": "all"}}})), 5)
    numbers = t.index([{"n": 1}], {"n": {"type": "integer"}}, word="numbers")
    same(t.found(numbers, {"match": {"n": "1"}}), ["1"])
    same(t.found(numbers, {"match": {"n": {"query": "one", "lenient": True}}}), [])
    fails(lambda: t.found(numbers, {"match": {"n": "one"}}), 400, "query_shard_exception", "one")


@works(SEARCH, "query: `match`: scores are BM25", "as Elasticsearch has them, to the fourth digit, for an index without deletes")
def scores_are_bm25(t):
    name = _texts(t)
    lengths = [4, 5, 2, 7, 3]
    average = sum(lengths) / 5
    answer = t.search(name, {"match": {"text": "brown"}})
    same(ids(answer), ["1", "2", "4"] if bm25(2, 7, average, 5, 3) < bm25(1, 5, average, 5, 3) else ["4", "1", "2"])
    found = dict(zip(ids(answer), scores(answer)))
    near(found["1"], bm25(1, 4, average, 5, 3))
    near(found["2"], bm25(1, 5, average, 5, 3))
    near(found["4"], bm25(2, 7, average, 5, 3))
    near(answer["hits"]["max_score"], max(scores(answer)))
    both = t.search(name, {"match": {"text": {"query": "lazy dog", "boost": 3}}})
    same(ids(both)[0], "3")
    near(scores(both)[0], 3 * (bm25(1, 2, average, 5, 1) + bm25(1, 2, average, 5, 2)))


@works(SEARCH, "query: `match`: `fuzziness`, `prefix_length`, `fuzzy_transpositions`, `max_expansions`", "the exact word scores higher than near ones, as Lucene has it")
def matching_with_slips(t):
    name = _texts(t)
    same(t.found(name, {"match": {"text": {"query": "lzay", "fuzziness": "AUTO"}}}), ["3"])
    same(t.found(name, {"match": {"text": {"query": "lzay", "fuzziness": 0}}}), [])
    same(t.found(name, {"match": {"text": {"query": "azy", "fuzziness": 1, "prefix_length": 1}}}), [])
    same(t.found(name, {"match": {"text": {"query": "lzay", "fuzziness": 1, "fuzzy_transpositions": False}}}), [])
    # A rare slip is not worth more than the word.
    name = t.index([{"text": "keyboard"}] * 9 + [{"text": "keybaord"}, {"text": "other"}], {"text": {"type": "text"}}, word="slips")
    found = t.search(name, {"match": {"text": {"query": "keyboard", "fuzziness": "AUTO"}}})
    same((len(ids(found)), ids(found)[-1]), (10, "10"))
    near(scores(found)[-1], scores(found)[0] * (1 - 1 / 8))


@works(SEARCH, "query: `match_phrase`", "`slop`, `analyzer`")
def phrases(t):
    name = _texts(t)
    same(set(t.found(name, {"match_phrase": {"text": "quick brown"}})), {"1", "2"})
    same(t.found(name, {"match_phrase": {"text": "brown quick"}}), [])
    same(set(t.found(name, {"match_phrase": {"text": {"query": "brown quick", "slop": 2}}})), {"1", "2"})
    same(t.found(name, {"match_phrase": {"text": {"query": "quick fox", "slop": 1}}}), ["1"])
    same(t.found(name, {"match_phrase": {"text": {"query": "QUICK brown", "analyzer": "whitespace"}}}), [])
    same(t.found(name, {"match_phrase": {"text": {"query": "it"}}}), ["5"])


@works(SEARCH, "query: `match_phrase_prefix`, `match_bool_prefix`", "`max_expansions`, `slop`")
def beginnings(t):
    name = _texts(t)
    same(t.found(name, {"match_phrase_prefix": {"text": "quick brown f"}}), ["1"])
    same(set(t.found(name, {"match_phrase_prefix": {"text": "quick br"}})), {"1", "2"})
    same(t.found(name, {"match_phrase_prefix": {"text": {"query": "quick fo", "slop": 1}}}), ["1"])
    words = t.index([{"text": f"see a{n}"} for n in range(8)], {"text": {"type": "text"}}, word="words")
    same(len(t.found(words, {"match_phrase_prefix": {"text": {"query": "see a", "max_expansions": 3}}})), 3)
    same(set(t.found(name, {"match_bool_prefix": {"text": "lazy fo"}})), {"1", "3"})
    same(t.found(name, {"match_bool_prefix": {"text": {"query": "dog la", "operator": "and"}}}), ["3"])


@works(SEARCH, "query: `multi_match`", "`best_fields`, `most_fields`, `phrase`, `phrase_prefix`, `bool_prefix`; patterns and `^boost` of fields, `tie_breaker`")
def several_fields(t):
    name = t.index([{"a": "red car", "b": "blue bike"}, {"a": "blue car", "b": "red"}, {"a": "x", "b": "car car car"}], {"a": {"type": "text"}, "b": {"type": "text"}})
    same(set(t.found(name, {"multi_match": {"query": "car", "fields": ["a", "b"]}})), {"1", "2", "3"})
    same(t.found(name, {"multi_match": {"query": "car", "fields": ["b"]}}), ["3"])
    same(t.found(name, {"multi_match": {"query": "blue car", "fields": ["*"], "operator": "and"}}), ["2"])
    same(t.found(name, {"multi_match": {"query": "red car", "fields": ["a", "b"], "type": "phrase"}}), ["1"])
    same(t.found(name, {"multi_match": {"query": "blue b", "fields": ["a", "b"], "type": "phrase_prefix"}}), ["1"])
    same(t.found(name, {"multi_match": {"query": "bike bl", "fields": ["a", "b"], "type": "bool_prefix", "operator": "and"}}), ["1"])
    tied = t.index([{"a": "car", "b": "car"}], {"a": {"type": "text"}, "b": {"type": "text"}}, word="tied")
    single = scores(t.search(tied, {"match": {"a": "car"}}))[0]
    for tie, times in ((0.0, 1), (0.5, 1.5), (1.0, 2)):
        near(scores(t.search(tied, {"multi_match": {"query": "car", "fields": ["a", "b"], "tie_breaker": tie}}))[0], times * single)
    boosted = t.search(name, {"multi_match": {"query": "red", "fields": ["a^10", "b"]}})
    same(ids(boosted), ["1", "2"])
    alone = t.search(name, {"match": {"a": "red"}})
    near(scores(boosted)[0], 10 * scores(alone)[0])
    one = dict(zip(["a", "b"], (scores(t.search(name, {"bool": {"must": {"match": {f: "car"}}, "filter": {"ids": {"values": [i]}}}})) for f, i in (("a", "1"), ("b", "3")))))
    most = t.search(name, {"multi_match": {"query": "car", "fields": ["a", "b"], "type": "most_fields"}})
    near(dict(zip(ids(most), scores(most)))["1"], one["a"][0])


@refused(SEARCH, "query: `multi_match`: `cross_fields`", "cross_fields")
def across_fields(t):
    t.search(_texts(t), {"multi_match": {"query": "blue car", "fields": ["a", "b"], "type": "cross_fields"}})


@works(SEARCH, "query: `term`, `terms`", "`boost`, `case_insensitive`; a `terms` scores 1")
def exact_terms(t):
    name = _texts(t)
    same(t.found(name, {"term": {"text.raw": "lazy dog"}}), ["3"])
    same(t.found(name, {"term": {"text.raw": {"value": "LAZY dog", "case_insensitive": True}}}), ["3"])
    answer = t.search(name, {"terms": {"text": ["fox", "lazy", "nowhere"]}})
    same((set(ids(answer)), scores(answer)), ({"1", "3"}, [1.0, 1.0]))
    same(t.found(name, {"term": {"nowhere": "x"}}), [])
    average = 21 / 5
    near(scores(t.search(name, {"term": {"text": {"value": "lazy", "boost": 2}}}))[0], 2 * bm25(1, 2, average, 5, 1))


@refused(SEARCH, "query: `terms` of another document (lookup)", "terms")
def looked_up_terms(t):
    name = _texts(t)
    t.search(name, {"terms": {"text": {"index": name, "id": "1", "path": "text"}}})


@works(SEARCH, "query: `range`", "numbers, dates with math, `format`, `time_zone`, keywords")
def ranges(t):
    name = t.index([{"n": 1, "day": "2024-01-31", "k": "a"}, {"n": 2, "day": "2024-02-15T23:30:00Z", "k": "b"}, {"n": 3, "day": "2024-03-01", "k": "c"}], {"n": {"type": "integer"}, "day": {"type": "date"}, "k": {"type": "keyword"}})
    found = lambda **of: set(t.found(name, {"range": of}))
    same(found(n={"gt": 1, "lte": 3}), {"2", "3"})
    same(found(n={"gte": 1.5}), {"2", "3"})
    same(found(day={"gte": "2024-02-01", "lt": "2024-03-01"}), {"2"})
    same(found(day={"gte": "2024-01-31||/M", "lte": "2024-01-01||/M"}), {"1"})
    same(found(day={"gte": "15.02.2024", "format": "dd.MM.yyyy"}), {"2", "3"})
    same(found(day={"gte": "2024-02-16", "lte": "2024-02-16", "time_zone": "+01:00"}), {"2"})
    same(found(day={"lt": "now-1d/d"}), {"1", "2", "3"})
    same(found(k={"gte": "b"}), {"2", "3"})
    same(found(n={"from": 1, "to": 3, "include_lower": False}), {"2", "3"})
    same(scores(t.search(name, {"range": {"n": {"gte": 2, "boost": 3}}})), [3.0, 3.0])


@works(SEARCH, "query: `exists`, `ids`")
def existing_fields_and_ids(t):
    name = t.index({"a": {"x": 1, "o": {"p": "t"}}, "b": {"x": None, "e": []}, "c": {"o": {}}})
    same(t.found(name, {"exists": {"field": "x"}}), ["a"])
    same(t.found(name, {"exists": {"field": "o"}}), ["a"])
    same(t.found(name, {"exists": {"field": "e"}}), [])
    same(set(t.found(name, {"ids": {"values": ["a", "c", "z"]}})), {"a", "c"})


@works(SEARCH, "query: `prefix`, `wildcard`, `regexp`", "`case_insensitive`, `flags`; they score 1")
def patterns(t):
    name = t.index([{"k": "apple"}, {"k": "Apricot"}, {"k": "banana"}, {"k": "a*b"}], {"k": {"type": "keyword"}})
    found = lambda kind, **of: set(t.found(name, {kind: of}))
    same(found("prefix", k="ap"), {"1"})
    same(found("prefix", k={"value": "AP", "case_insensitive": True}), {"1", "2"})
    same(found("wildcard", k="?p*"), {"1", "2"})
    same(found("wildcard", k={"value": "*AN*", "case_insensitive": True}), {"3"})
    same(found("wildcard", k="a\\*b"), {"4"})
    same(found("regexp", k="[ab].*a(na)+"), {"3"})
    same(found("regexp", k={"value": "a[^z]+e", "flags": "NONE"}), {"1"})
    same(found("regexp", k={"value": "APPLE", "case_insensitive": True}), {"1"})
    same(scores(t.search(name, {"wildcard": {"k": {"value": "*a*", "boost": 2}}}))[0], 2.0)


@works(SEARCH, "query: `fuzzy`: `fuzziness`, `prefix_length`, `transpositions`, `max_expansions`", "`rewrite` may be `constant_score` alone")
def near_terms(t):
    name = t.index([{"k": "house"}, {"k": "mouse"}, {"k": "horse"}], {"k": {"type": "keyword"}})
    same(set(t.found(name, {"fuzzy": {"k": "house"}})), {"1", "2", "3"})
    same(t.found(name, {"fuzzy": {"k": "house"}})[0], "1")
    same(set(t.found(name, {"fuzzy": {"k": {"value": "hosue", "fuzziness": 1}}})), {"1"})
    same(t.found(name, {"fuzzy": {"k": {"value": "hosue", "fuzziness": 1, "transpositions": False}}}), [])
    same(set(t.found(name, {"fuzzy": {"k": {"value": "house", "prefix_length": 1}}})), {"1", "3"})
    same(t.found(name, {"fuzzy": {"k": {"value": "house", "max_expansions": 1}}}), ["1"])
    found = t.search(name, {"fuzzy": {"k": {"value": "house"}}})
    near(scores(found)[1], scores(found)[0] * (1 - 1 / 5))
    same(scores(t.search(name, {"fuzzy": {"k": {"value": "house", "rewrite": "constant_score", "boost": 2}}})), [2.0] * 3)


@works(SEARCH, "query: `bool`", "`must`, `should`, `must_not`, `filter`, `minimum_should_match`, `boost`")
def combined(t):
    name = _texts(t)
    fox, dog, brown = ({"match": {"text": word}} for word in ("fox", "dog", "brown"))
    same(t.found(name, {"bool": {"must": [brown], "must_not": [fox, dog]}}), ["4"])
    same(t.found(name, {"bool": {"must": [brown], "should": [fox]}})[0], "1")
    same(len(t.found(name, {"bool": {"must": [brown], "should": [fox]}})), 3)
    same(set(t.found(name, {"bool": {"should": [fox, dog]}})), {"1", "2", "3"})
    same(set(t.found(name, {"bool": {"should": [fox, dog, brown], "minimum_should_match": 2}})), {"1", "2"})
    same(scores(t.search(name, {"bool": {"filter": [fox]}})), [0.0])
    same(set(t.found(name, {"bool": {"filter": brown, "should": [dog], "minimum_should_match": 1}})), {"2"})
    same(len(t.found(name, {"bool": {}})), 5)
    sum_of = scores(t.search(name, fox))[0] + scores(t.search(name, {"bool": {"must": brown, "filter": {"ids": {"values": ["1"]}}}}))[0]
    near(scores(t.search(name, {"bool": {"must": [fox, brown], "boost": 2}}))[0], 2 * sum_of)


@works(SEARCH, "query: `constant_score`, `dis_max`", "`boost`, `tie_breaker`")
def constants_and_the_best(t):
    name = _texts(t)
    same(scores(t.search(name, {"constant_score": {"filter": {"match": {"text": "dog"}}, "boost": 1.5}})), [1.5, 1.5])
    one = {"constant_score": {"filter": {"match": {"text": "quick"}}, "boost": 4}}
    two = {"constant_score": {"filter": {"match": {"text": "fox"}}, "boost": 2}}
    answer = t.search(name, {"dis_max": {"queries": [one, two], "tie_breaker": 0.5}})
    same(list(zip(ids(answer), scores(answer))), [("1", 5.0), ("2", 4.0)])


@works(SEARCH, "query: `nested`", "`score_mode`, `ignore_unmapped`, nested in nested")
def nested(t):
    name = t.index([{"p": [{"k": "a", "n": 1}, {"k": "b", "n": 2}]}, {"p": [{"k": "a", "n": 2, "q": [{"z": 1}]}]}, {"p": []}], {"p": {"type": "nested", "properties": {"k": {"type": "keyword"}, "n": {"type": "integer"}, "q": {"type": "nested", "properties": {"z": {"type": "integer"}}}}}})
    both = {"bool": {"must": [{"term": {"p.k": "a"}}, {"term": {"p.n": 2}}]}}
    same(t.found(name, {"nested": {"path": "p", "query": both}}), ["2"])
    same(t.found(name, {"nested": {"path": "p.q", "query": {"term": {"p.q.z": 1}}}}), ["2"])
    same(t.found(name, {"nested": {"path": "p", "query": {"nested": {"path": "p.q", "query": {"match_all": {}}}}}}), ["2"])
    several = {"nested": {"path": "p", "query": {"constant_score": {"filter": {"exists": {"field": "p.k"}}, "boost": 3}}}}
    for mode, first in (("sum", 6.0), ("avg", 3.0), ("max", 3.0), ("min", 3.0), ("none", 0.0)):
        several["nested"]["score_mode"] = mode
        answer = t.search(name, several)
        same(dict(zip(ids(answer), scores(answer)))["1"], first, mode)
    fails(lambda: t.search(name, {"nested": {"path": "no", "query": {"match_all": {}}}}), 400, says="no")
    same(t.found(name, {"nested": {"path": "no", "query": {"match_all": {}}, "ignore_unmapped": True}}), [])


@refused(SEARCH, "query: `nested`: `inner_hits`", "inner_hits")
def inner_hits(t):
    name = t.index(mappings={"p": {"type": "nested"}})
    t.search(name, {"nested": {"path": "p", "query": {"match_all": {}}, "inner_hits": {}}})


@refused(SEARCH, "query: `_name`", "_name")
def named_queries(t):
    t.search(_texts(t), {"match": {"text": {"query": "a", "_name": "x"}}})


@works(SEARCH, "`min_score`, `post_filter`")
def what_is_filtered_later(t):
    name = _texts(t)
    every = t.search(name, {"match": {"text": "dog"}})
    same(t.found(name, {"match": {"text": "dog"}}, min_score=scores(every)[0] - 1e-4), ids(every)[:1])
    answer = t.search(name, {"match": {"text": "dog"}}, post_filter={"term": {"text": "lazy"}}, aggs={"n": {"value_count": {"field": "text.raw"}}})
    same((ids(answer), answer["aggregations"]["n"]["value"]), (["3"], 2))


@works(SEARCH, "limits of queries", "1024 clauses of a `bool`, 30 deep, 65536 terms")
def limits_of_queries(t):
    name = _texts(t)
    fails(lambda: t.search(name, {"bool": {"should": [{"term": {"text": str(n)}} for n in range(1025)]}}), 400, says="1024")
    deep = {"match_all": {}}
    for _ in range(31):
        deep = {"bool": {"must": deep}}
    fails(lambda: t.search(name, deep), 400, says="30")
    fails(lambda: t.search(name, {"terms": {"text": [str(n) for n in range(65537)]}}), 400, says="65536")


def _query(name):
    return lambda t: t.search(t.index([{}]), {name: {}})


each_refused(SEARCH, [(f"query: {name}", _query(name)) for name in (
    "boosting", "combined_fields", "distance_feature", "function_score", "geo_bounding_box", "geo_distance", "geo_polygon", "geo_shape", "has_child", "has_parent",
    "intervals", "knn", "more_like_this", "parent_id", "percolate", "pinned", "rank_feature", "script", "script_score", "shape", "span_containing", "span_field_masking",
    "span_first", "span_multi", "span_near", "span_not", "span_or", "span_term", "span_within", "terms_set", "text_expansion", "wrapper")])

each_refused(SEARCH, [(f"search: {name}", lambda t, name=name, value=value: t.raw("POST", f"/{t.index([{}])}/_search", {name: value})) for name, value in {
    "collapse": {"field": "a"}, "docvalue_fields": ["a"], "explain": True, "fields": ["a"], "indices_boost": [{"x": 2}], "knn": {}, "profile": True, "rank": {}, "rescore": {},
    "runtime_mappings": {}, "script_fields": {}, "slice": {"id": 0, "max": 2}, "stored_fields": ["a"], "terminate_after": 5}.items()])
