"""Queries that people type."""

from suite import fails, ids, same, works

SEARCH = "POST /{index}/_search"


def _shop(t):
    return t.index([{"title": "red apple pie", "kind": "cake", "price": 4}, {"title": "green apple", "kind": "fruit", "price": 1}, {"title": "pear", "kind": "fruit", "price": 2, "note": "apple tree"}], {
        "title": {"type": "text"}, "kind": {"type": "keyword"}, "price": {"type": "double"}, "note": {"type": "text"}})


def _found(t, name, query, kind="query_string", **more):
    return set(t.found(name, {kind: {"query": query, **more}}))


@works(SEARCH, "query: `query_string`: operators", "`AND`, `OR`, `NOT`, `&&`, `||`, `!`, `+`, `-`, parentheses, `default_operator`")
def operators(t):
    name = _shop(t)
    same(_found(t, name, "title:apple AND NOT title:pie"), {"2"})
    same(_found(t, name, "title:(apple && pie)"), {"1"})
    same(_found(t, name, "title:(+apple -pie)"), {"2"})
    same(_found(t, name, "title:pear || kind:cake"), {"1", "3"})
    same(_found(t, name, "title:(red apple)"), {"1", "2"})
    same(_found(t, name, "red apple", default_field="title", default_operator="AND"), {"1"})


@works(SEARCH, "query: `query_string`: fields", "`field:`, `default_field`, `fields` with patterns and boosts, all fields by default, `_exists_:`")
def fields(t):
    name = _shop(t)
    same(_found(t, name, "apple"), {"1", "2", "3"})
    same(_found(t, name, "apple", fields=["title^2", "no*"]), {"1", "2", "3"})
    same(_found(t, name, "apple", fields=["note"]), {"3"})
    same(_found(t, name, "_exists_:note"), {"3"})
    same(_found(t, name, "kind:fruit"), {"2", "3"})


@works(SEARCH, "query: `query_string`: values", "phrases with `~slop`, `*` and `?`, `/regexp/`, `~` fuzzy, ranges `[a TO b}`, `>=`, `^boost`, escapes")
def values(t):
    name = _shop(t)
    same(_found(t, name, 'title:"apple pie"'), {"1"})
    same(_found(t, name, 'title:"red pie"~1'), {"1"})
    same(_found(t, name, "title:p?a* AND title:*r"), {"3"})
    same(_found(t, name, "title:/gr.+n/"), {"2"})
    same(_found(t, name, "title:aple~1"), {"1", "2"})
    same(_found(t, name, "price:[1 TO 2]"), {"2", "3"})
    same(_found(t, name, "price:{1 TO *}"), {"1", "3"})
    same(_found(t, name, "price:>=2"), {"1", "3"})
    same(t.found(name, {"query_string": {"query": "title:green^10 title:red"}})[0], "2")
    same(_found(t, name, "kind:frui\\t"), {"2", "3"})


@works(SEARCH, "query: `query_string`: malformed", "400 `query_shard_exception`; `lenient`")
def malformed(t):
    name = _shop(t)
    fails(lambda: _found(t, name, "title:(apple"), 400, "query_shard_exception", "Failed to parse query [title:(apple]")
    fails(lambda: _found(t, name, "price:cheap", default_field="title"), 400)
    same(_found(t, name, "price:cheap"), set())
    same(_found(t, name, "price:cheap", default_field="title", lenient=True), set())


@works(SEARCH, "query: `simple_query_string`", "`+`, `|`, `-`, phrases, `*`, `~`, parentheses, `flags`, `default_operator`; never an error of syntax")
def simple(t):
    name = _shop(t)
    simple = lambda query, **more: _found(t, name, query, "simple_query_string", **{"fields": ["title"], **more})
    same(simple("apple + -pie"), {"2"})
    same(simple("pear | pie"), {"1", "3"})
    same(simple('"apple pie" pear'), {"1", "3"})
    same(simple("gre*"), {"2"})
    same(simple("aple~1"), {"1", "2"})
    same(simple("apple pie", default_operator="and"), {"1"})
    same(simple("gre*", flags="AND"), set())
    same(simple("((apple"), {"1", "2"})


@works("GET /{index}/_search", "`q`, `df`, `default_operator`, `analyzer`, `lenient`, `sort`, `from`, `size`, `_source`")
def a_search_in_the_address(t):
    name = _shop(t)
    answer = t.es.search(index=name, q="red apple", df="title", default_operator="AND")
    same(ids(answer), ["1"])
    answer = t.es.search(index=name, q="kind:fruit", sort="price:desc", size=1, from_=1, source_includes="title")
    same(answer["hits"]["hits"][0]["_source"], {"title": "green apple"})
    same(t.es.count(index=name, q="title:apple")["count"], 2)
