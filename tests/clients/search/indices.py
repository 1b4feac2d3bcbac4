"""Indices as a whole: making, showing, settings, maintenance, analysis."""

import time

from suite import UNSUPPORTED, fails, has, holds, ids, partly, refused, same, works


@works("PUT /{index}", "`settings`, `mappings`, `aliases`", "400 `resource_already_exists_exception`")
@works("HEAD /{index}")
@works("DELETE /{index}", "", "lists; patterns and `_all` are refused with 400, as with `action.destructive_requires_name`")
def an_index_is_made_and_deleted(t):
    name = t.name()
    same(t.es.indices.create(index=name, settings={"number_of_shards": 1, "index.refresh_interval": "2s"}).body, {"acknowledged": True, "shards_acknowledged": True, "index": name})
    same(t.es.indices.exists(index=name).body, True)
    fails(lambda: t.es.indices.create(index=name), 400, "resource_already_exists_exception", name)
    for everything in ("_all", "*", t.stem + "*"):
        fails(lambda: t.es.indices.delete(index=everything), 400, "illegal_argument_exception")
    same(t.es.indices.delete(index=name).body, {"acknowledged": True})
    same(t.es.indices.exists(index=name).body, False)
    fails(lambda: t.es.indices.delete(index=name), 404, "index_not_found_exception", name)
    same(t.es.indices.delete(index=name, ignore_unavailable=True).body, {"acknowledged": True})


@works("PUT /{index}", "names that cannot be", "400 `invalid_index_name_exception`")
def names(t):
    for name in ("Upper", "_x", "-x", "+x", "a b", "a,b", "a#b", "x" * 256):
        fails(lambda name=name: t.es.indices.create(index=name), 400, "invalid_index_name_exception", name[:20])


@works("GET /{index}", "", "lists and patterns")
def an_index_is_shown(t):
    name = t.index(mappings={"a": {"type": "long"}})
    shown = t.es.indices.get(index=name).body
    same(set(shown[name]), {"aliases", "mappings", "settings"})
    settings = shown[name]["settings"]["index"]
    has(settings, {"provided_name": name, "number_of_shards": "1"})
    holds(len(settings["uuid"]) == 22 and int(settings["creation_date"]) > 1.7e12, settings)
    same(list(t.es.indices.get(index=t.name("*")).body), [name])


@works("GET /{index}/_settings/{name}", "`flat_settings`")
@works("PUT /{index}/_settings", "`refresh_interval`, `number_of_replicas`, `max_result_window`, `blocks.*`, `hidden`, …; `null`, `preserve_existing`", "an unknown one, or one that is fixed, changes nothing: 400")
def settings_change(t):
    name = t.index()
    t.es.indices.put_settings(index=name, settings={"index": {"refresh_interval": "30s", "number_of_replicas": 1}})
    same(t.es.indices.get_settings(index=name, name="index.refresh_interval", flat_settings=True).body, {name: {"settings": {"index.refresh_interval": "30s"}}})
    t.es.indices.put_settings(index=name, settings={"refresh_interval": "1s"}, preserve_existing=True)
    same(t.es.indices.get_settings(index=name)[name]["settings"]["index"]["refresh_interval"], "30s")
    t.es.indices.put_settings(index=name, settings={"refresh_interval": None})
    holds("refresh_interval" not in t.es.indices.get_settings(index=name)[name]["settings"]["index"], "the default again")
    fails(lambda: t.es.indices.put_settings(index=name, settings={"number_of_shards": 2}), 400, "illegal_argument_exception", "number_of_shards")
    fails(lambda: t.es.indices.put_settings(index=name, settings={"number_of_replicas": 0, "nonsense": 1}), 400, "illegal_argument_exception", "nonsense")
    same(t.es.indices.get_settings(index=name)[name]["settings"]["index"]["number_of_replicas"], "1")


@partly("PUT /{index}", "`number_of_shards`, `number_of_replicas`", "one shard: more are refused; replicas may be asked for, are nowhere, and make the index yellow")
def shards(t):
    fails(lambda: t.es.indices.create(index=t.name(), settings={"number_of_shards": 3}), 400, says="shard")
    name = t.index(settings={"number_of_replicas": 1})
    has(t.es.cluster.health(index=name).body, {"status": "yellow", "unassigned_shards": 1})


@works("PUT /{index}/_settings", "`index.refresh_interval: -1`", "searches see writes after `_refresh`")
@works("POST /{index}/_refresh")
def refreshes(t):
    name = t.index(settings={"refresh_interval": "-1"})
    t.es.index(index=name, document={})
    same(t.es.count(index=name)["count"], 0)
    same(t.es.indices.refresh(index=name)["_shards"]["failed"], 0)
    same(t.es.count(index=name)["count"], 1)
    t.es.indices.put_settings(index=name, settings={"refresh_interval": "100ms"})
    t.es.index(index=name, document={})
    end = time.monotonic() + 5
    while t.es.count(index=name)["count"] < 2:
        holds(time.monotonic() < end, "no refresh within 5 s")
        time.sleep(0.05)


@works("POST /{index}/_flush")
@works("POST /{index}/_forcemerge", "`max_num_segments`, `only_expunge_deletes`")
def maintenance(t):
    name = t.index([{"n": n} for n in range(20)])
    for n in range(10):
        t.es.index(index=name, id=str(n + 1), document={"n": -1}, refresh=True)
    same(t.es.indices.flush(index=name)["_shards"]["failed"], 0)
    same(t.es.indices.forcemerge(index=name, max_num_segments=1)["_shards"]["failed"], 0)
    stats = t.es.indices.stats(index=name)["indices"][name]["primaries"]
    same((stats["segments"]["count"], stats["docs"]["count"], stats["docs"]["deleted"]), (1, 20, 0))
    same(t.es.count(index=name, query={"term": {"n": -1}})["count"], 10)
    t.es.delete(index=name, id="1", refresh=True)
    t.es.indices.forcemerge(index=name, only_expunge_deletes=True)
    same(t.es.indices.stats(index=name)["indices"][name]["primaries"]["docs"], {"count": 19, "deleted": 0})


@refused("POST /{index}/_forcemerge", "`wait_for_completion=false`", "wait_for_completion")
def merges_behind(t):
    t.es.indices.forcemerge(index=t.index([{}]), wait_for_completion=False)


@partly("GET /{index}/_stats", "", "documents, store, indexing, searches, merges, refreshes, flushes, segments; metrics in the path; `level=shards` and other metrics are refused")
def figures(t):
    name = t.index([{"n": 1}, {"n": 2}])
    t.search(name)
    figures = t.es.indices.stats(index=name)
    same(figures["_shards"], {"total": 1, "successful": 1, "failed": 0})
    has(figures["_all"]["primaries"]["docs"], {"count": 2, "deleted": 0})
    primaries = figures["indices"][name]["primaries"]
    holds(primaries["store"]["size_in_bytes"] > 0, primaries)
    same(primaries["indexing"]["index_total"], 2)
    same(primaries["search"]["query_total"], 1)
    same(set(t.es.indices.stats(index=name, metric="docs,merge")["indices"][name]["total"]), {"docs", "merges"})
    fails(lambda: t.es.indices.stats(index=name, metric="completion"), 400, UNSUPPORTED, "completion")


@works("POST /{index}/_close", "", "400 `index_closed_exception` for searches and writes")
@works("POST /{index}/_open")
def closed_indices(t):
    name = t.index([{"n": 1}])
    same(t.es.indices.close(index=name).body, {"acknowledged": True, "shards_acknowledged": True, "indices": {name: {"closed": True}}})
    fails(lambda: t.search(name), 400, "index_closed_exception", "closed")
    fails(lambda: t.es.index(index=name, document={}), 400, "index_closed_exception")
    same(ids(t.search(t.name("*"))), [])
    same(t.es.indices.open(index=name).body, {"acknowledged": True, "shards_acknowledged": True})
    same(ids(t.search(name)), ["1"])


@works("PUT /{index}/_block/{block}", "`write`, `read`, `read_only`, `metadata`", "403 `cluster_block_exception`")
def blocks(t):
    name = t.index([{"n": 1}])
    same(t.es.indices.add_block(index=name, block="write").body, {"acknowledged": True, "shards_acknowledged": True, "indices": [{"name": name, "blocked": True}]})
    fails(lambda: t.es.index(index=name, document={}), 403, "cluster_block_exception", f"index [{name}] blocked by: [FORBIDDEN/8/index write (api)];")
    same(ids(t.search(name)), ["1"])
    t.es.indices.put_settings(index=name, settings={"blocks.write": False, "blocks.read": True})
    fails(lambda: t.search(name), 403, "cluster_block_exception", "FORBIDDEN/7/index read (api)")
    t.es.index(index=name, document={})
    t.es.indices.put_settings(index=name, settings={"blocks.read": None})
    fails(lambda: t.es.indices.add_block(index=name, block="nonsense"), 400, "illegal_argument_exception", "nonsense")


@works("PUT /{index}", "`index.hidden`", "patterns do not find it; `expand_wildcards=hidden`")
def hidden(t):
    name = t.index([{}], settings={"hidden": True})
    same(t.es.count(index=t.name("*"))["count"], 0)
    same(t.es.count(index=t.name("*"), expand_wildcards="open,hidden")["count"], 1)
    same(t.es.count(index=name)["count"], 1)


@partly("GET /{index}/_analyze", "`analyzer`, `field`, a list of texts", "offsets count as Java's strings do, at most 10000 tokens; `standard` leaves emoji out")
def analysis(t):
    name = t.index(mappings={"e": {"type": "text", "analyzer": "english"}, "k": {"type": "keyword"}})
    tokens = t.es.indices.analyze(analyzer="standard", text="The 2 QUICK Brown-Foxes 😀 don't")["tokens"]
    same([token["token"] for token in tokens], ["the", "2", "quick", "brown", "foxes", "don't"])
    same(tokens[2], {"token": "quick", "start_offset": 6, "end_offset": 11, "type": "<ALPHANUM>", "position": 2})
    same(tokens[1]["type"], "<NUM>")
    same((tokens[5]["start_offset"], tokens[5]["end_offset"]), (27, 32))
    of = lambda **more: [token["token"] for token in t.es.indices.analyze(index=name, **more)["tokens"]]
    same(of(field="e", text="The running foxes' dens"), ["run", "fox", "den"])
    same(of(field="k", text="As It Is"), ["As It Is"])
    same(of(analyzer="whitespace", text=["A b", "C"]), ["A", "b", "C"])
    same(of(analyzer="simple", text="it's 4U"), ["it", "s", "u"])
    positions = [token["position"] for token in t.es.indices.analyze(analyzer="standard", text=["a b", "c"])["tokens"]]
    same(positions, [0, 1, 102])
    fails(lambda: t.es.indices.analyze(analyzer="standard", text="a " * 10001), 400, says="[10000]")


for what, more in (("`tokenizer`, `filter`, `char_filter`", {"tokenizer": "standard"}), ("`explain`", {"analyzer": "standard", "explain": True}), ("`normalizer`", {"normalizer": "lowercase"}), ("`attributes`", {"analyzer": "standard", "attributes": ["x"]})):
    said = what.split("`")[1]
    refused("GET /{index}/_analyze", what, said)(lambda t, more=more: t.es.indices.analyze(text="x", **more))


for call, ask in {
    "POST /{index}/_shrink/{target}": lambda t: t.es.indices.shrink(index=t.index(), target=t.name("s")), "POST /{index}/_split/{target}": lambda t: t.es.indices.split(index=t.index(), target=t.name("s")), "POST /{index}/_clone/{target}": lambda t: t.es.indices.clone(index=t.index(), target=t.name("s")),
    "GET /{index}/_segments": lambda t: t.es.indices.segments(index=t.index()), "GET /{index}/_recovery": lambda t: t.es.indices.recovery(index=t.index()), "GET /{index}/_shard_stores": lambda t: t.es.indices.shard_stores(index=t.index()),
    "POST /{index}/_cache/clear": lambda t: t.es.indices.clear_cache(index=t.index()), "POST /{index}/_disk_usage": lambda t: t.es.indices.disk_usage(index=t.index(), run_expensive_tasks=True), "GET /{index}/_field_usage_stats": lambda t: t.es.indices.field_usage_stats(index=t.index()),
    "GET /_resolve/index/{name}": lambda t: t.es.indices.resolve_index(name="*"), "PUT /_data_stream/{name}": lambda t: t.es.indices.create_data_stream(name=t.name("d"))}.items():
    refused(call, "", [part for part in call.split("/") if part.startswith("_")][0])(ask)


@works("GET /_data_stream/{name}", "", "there are none: an empty list for patterns, 404 for names")
def no_data_streams(t):
    same(t.es.indices.get_data_stream(name="*").body, {"data_streams": []})
    fails(lambda: t.es.indices.get_data_stream(name=t.index()), 404, "index_not_found_exception")
