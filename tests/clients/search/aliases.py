"""Aliases."""

from suite import fails, has, ids, partly, refused, same, works


@works("PUT /{index}/_alias/{name}")
@works("GET /_alias/{name}", "of all or named indices, patterns", "404 with what was found")
@works("HEAD /_alias/{name}")
@works("DELETE /{index}/_alias/{name}", "", "404 `aliases_not_found_exception`")
def an_alias_is_made_shown_and_deleted(t):
    index, alias = t.index([{"n": 1}]), t.name("alias")
    t.es.indices.put_alias(index=index, name=alias)
    same(t.es.indices.get_alias(name=alias).body, {index: {"aliases": {alias: {}}}})
    same(t.es.indices.get_alias(index=index, name="*").body, {index: {"aliases": {alias: {}}}})
    same(t.es.indices.get_alias(index=index).body, {index: {"aliases": {alias: {}}}})
    same(t.es.indices.exists_alias(name=alias).body, True)
    same(t.found(alias, {"match_all": {}}), ["1"])
    same(t.es.get(index=alias, id="1")["_index"], index)
    t.es.indices.delete_alias(index=index, name=alias)
    same(t.es.indices.exists_alias(name=alias).body, False)
    error = fails(lambda: t.es.indices.get_alias(name=alias), 404)
    same(error.body, {"error": f"alias [{alias}] missing", "status": 404})
    fails(lambda: t.es.indices.delete_alias(index=index, name=alias), 404, "aliases_not_found_exception", alias)


@works("POST /_aliases", "`add`, `remove`, `remove_index`", "all or nothing, in one step")
def an_alias_moves_in_one_step(t):
    old, new, alias = t.index([{"n": 1}], word="old"), t.index([{"n": 2}], word="new"), t.name("alias")
    t.es.indices.put_alias(index=old, name=alias)
    t.es.indices.update_aliases(actions=[{"remove": {"index": old, "alias": alias}}, {"add": {"index": new, "alias": alias}}])
    same(t.search(alias)["hits"]["hits"][0]["_source"], {"n": 2})
    fails(lambda: t.es.indices.update_aliases(actions=[{"add": {"index": old, "alias": alias}}, {"add": {"index": t.name("none"), "alias": alias}}]), 404)
    same(list(t.es.indices.get_alias(name=alias)), [new])
    t.es.indices.update_aliases(actions=[{"remove_index": {"index": old}}, {"add": {"index": new, "aliases": [t.name("b"), t.name("c")]}}])
    same(t.es.indices.exists(index=old).body, False)
    same(t.es.indices.exists_alias(name=t.name("c")).body, True)


@works("POST /_aliases", "`remove` with `must_exist`")
def removed_aliases_must_exist(t):
    index = t.index([{}])
    fails(lambda: t.es.indices.update_aliases(actions=[{"remove": {"index": index, "alias": t.name("no"), "must_exist": True}}]), 404, "aliases_not_found_exception")
    fails(lambda: t.es.indices.update_aliases(actions=[{"remove": {"index": index, "alias": t.name("no")}}]), 404, "aliases_not_found_exception")


@works("PUT /{index}/_alias/{name}", "`filter`", "holds for searches, counts and aggregations")
def a_filter_hides_documents(t):
    index, alias = t.index([{"kind": "a", "n": 1}, {"kind": "b", "n": 2}, {"kind": "a", "n": 3}], {"kind": {"type": "keyword"}, "n": {"type": "long"}}), t.name("alias")
    t.es.indices.put_alias(index=index, name=alias, filter={"term": {"kind": "a"}})
    same(ids(t.search(alias, sort=[{"n": "asc"}])), ["1", "3"])
    same(t.es.count(index=alias)["count"], 2)
    same(t.aggs(alias, s={"sum": {"field": "n"}})["s"]["value"], 4.0)
    same(t.es.indices.get_alias(name=alias)[index]["aliases"][alias], {"filter": {"term": {"kind": "a"}}})


@works("PUT /{index}/_alias/{name}", "`is_write_index`", "an alias of several indices without one takes no writes: 400")
def writes_go_to_the_write_index(t):
    one, two, alias = t.index(word="one"), t.index(word="two"), t.name("alias")
    t.es.indices.put_alias(index=[one, two], name=alias)
    fails(lambda: t.es.index(index=alias, document={}), 400, "illegal_argument_exception", "no write index is defined for alias")
    t.es.indices.put_alias(index=two, name=alias, is_write_index=True)
    same(t.es.index(index=alias, document={"n": 1})["_index"], two)
    has(t.es.indices.get_alias(name=alias).body, {one: {"aliases": {alias: {}}}, two: {"aliases": {alias: {"is_write_index": True}}}})


@works("PUT /{index}", "`aliases`")
def an_index_comes_with_aliases(t):
    index, alias = t.name(), t.name("alias")
    t.es.indices.create(index=index, aliases={alias: {"is_write_index": True, "filter": {"term": {"a": 1}}}})
    same(t.es.indices.get(index=alias)[index]["aliases"], {alias: {"is_write_index": True, "filter": {"term": {"a": 1}}}})


@works("POST /_aliases", "`is_hidden`", "patterns do not find it")
def hidden_aliases(t):
    index, alias = t.index([{}]), t.name("secret")
    t.es.indices.update_aliases(actions=[{"add": {"index": index, "alias": alias, "is_hidden": True}}])
    same(t.es.count(index=alias)["count"], 1)
    same(t.es.count(index=t.name("secr*"))["count"], 0)


@partly("PUT /{index}/_alias/{name}", "`routing`, `index_routing`, `search_routing`", "taken and without effect: there is one shard; not shown with the alias")
def alias_routing(t):
    index, alias = t.index([{"n": 1}]), t.name("a")
    t.es.indices.put_alias(index=index, name=alias, routing="1")
    same(t.es.get(index=alias, id="1")["_source"], {"n": 1})
    same(t.es.indices.get_alias(name=alias).body, {index: {"aliases": {alias: {}}}})


@works("PUT /{index}/_alias/{name}", "names that are taken", "400 `invalid_alias_name_exception`")
def an_alias_is_not_named_as_an_index(t):
    one, two = t.index(word="one"), t.index(word="two")
    fails(lambda: t.es.indices.put_alias(index=one, name=two), 400, "invalid_alias_name_exception", two)


@refused("DELETE /{index}", "by an alias", "matches an alias", kind="illegal_argument_exception", note="as in Elasticsearch")
def an_alias_does_not_delete_indices(t):
    t.es.indices.put_alias(index=t.index(), name=t.name("a"))
    t.es.indices.delete(index=t.name("a"))
