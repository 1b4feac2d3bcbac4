"""Passages of documents with what was found marked."""

from suite import holds, partly, refused, same, works

SEARCH = "POST /{index}/_search"
LONG = "The first sentence speaks of apples. " + "Filler words go on and on here. " * 6 + "A later sentence has one more apple in it. " + "The end is near. " * 5 + "And apples again."


def _texts(t):
    if t.es.indices.exists(index=t.name()):
        return t.name()
    return t.index([{"title": "Red apples and <green> apples", "body": LONG, "tag": "apples"}], {
        "title": {"type": "text", "analyzer": "english"}, "body": {"type": "text", "analyzer": "english", "fields": {"plain": {"type": "text"}}}, "tag": {"type": "keyword"}})


def _marked(t, query, **highlight):
    return t.search(_texts(t), query, highlight=highlight)["hits"]["hits"][0].get("highlight")


@works(SEARCH, "`highlight`: `fields`, `pre_tags`, `post_tags`", "patterns of names; nothing where nothing was found")
def words_are_marked(t):
    query = {"match": {"title": "apple"}}
    same(_marked(t, query, fields={"title": {}}), {"title": ["Red <em>apples</em> and <green> <em>apples</em>"]})
    same(_marked(t, query, fields={"title": {"pre_tags": ["["], "post_tags": ["]"]}}), {"title": ["Red [apples] and <green> [apples]"]})
    same(_marked(t, query, pre_tags="*", post_tags="*", fields={"ti*": {}}), {"title": ["Red *apples* and <green> *apples*"]})
    same(_marked(t, query, fields={"body": {}}), None)


@works(SEARCH, "`highlight`: `require_field_match: false`, `number_of_fragments: 0`, `no_match_size`")
def whole_fields(t):
    query = {"match": {"title": "apple"}}
    whole = _marked(t, query, require_field_match=False, fields={"body": {"number_of_fragments": 0}})["body"]
    same(len(whole), 1)
    same(whole[0].replace("<em>", "").replace("</em>", ""), LONG)
    same(whole[0].count("<em>"), 3)
    same(_marked(t, query, fields={"body": {"no_match_size": 9}})["body"], ["The first"])


@partly(SEARCH, "`highlight`: `fragment_size`, `number_of_fragments`, `order`", "passages begin and end elsewhere than Lucene's; what is marked is the same. `type`, `boundary_*`, `fragmenter` change nothing")
def passages(t):
    found = _marked(t, {"match": {"body": "apple"}}, fields={"body": {"fragment_size": 40, "number_of_fragments": 2}})["body"]
    same(len(found), 2)
    for passage in found:
        holds("<em>apple" in passage, passage)
        holds(passage.replace("<em>", "").replace("</em>", "") in LONG, passage)
    most = _marked(t, {"match": {"body": "apple first"}}, order="score", fields={"body": {"fragment_size": 60}})["body"]
    same(most[0].count("<em>"), 2)
    same(len(_marked(t, {"match": {"body": "apple"}}, type="plain", order="score", fields={"body": {"fragment_size": 40}})["body"]), 3)


@works(SEARCH, "`highlight` of phrases, prefixes, wildcards, fuzzy terms, keywords, `query_string`")
def all_kinds_of_queries(t):
    title = {"fields": {"title": {}}}
    same(_marked(t, {"prefix": {"title": "appl"}}, **title)["title"][0].count("<em>"), 2)
    same(_marked(t, {"wildcard": {"title": "gr*n"}}, **title), {"title": ["Red apples and <<em>green</em>> apples"]})
    same(_marked(t, {"fuzzy": {"title": "grene"}}, **title), {"title": ["Red apples and <<em>green</em>> apples"]})
    same(_marked(t, {"term": {"tag": "apples"}}, fields={"tag": {}}), {"tag": ["<em>apples</em>"]})
    same(_marked(t, {"query_string": {"query": "title:green"}}, **title), {"title": ["Red apples and <<em>green</em>> apples"]})
    same(_marked(t, {"bool": {"must": [{"match": {"title": "red"}}], "filter": [{"match": {"title": "green"}}], "must_not": [{"match": {"title": "blue"}}]}}, **title), {"title": ["<em>Red</em> apples and <<em>green</em>> apples"]})


def _highlight(**highlight):
    return lambda t: _marked(t, {"match": {"title": "apple"}}, **highlight)


for what, said, how in (("`encoder: html`", "encoder: html", {"encoder": "html", "fields": {"title": {}}}), ("`highlight_query`, `matched_fields`", "highlight_query", {"fields": {"title": {"highlight_query": {"match_all": {}}}}})):
    refused(SEARCH, f"`highlight`: {what}", said)(_highlight(**how))
