"""Index templates and component templates."""

from suite import fails, has, holds, refused, same, works


def _template(t, name, **more):
    t.es.indices.put_index_template(name=name, **more)
    t.cleanup(lambda: t.es.indices.delete_index_template(name=name))


def _component(t, name, template):
    t.es.cluster.put_component_template(name=name, template=template)
    t.cleanup(lambda: t.es.cluster.delete_component_template(name=name))


@works("PUT /_index_template/{name}", "patterns, settings, mappings, aliases", "for indices that are made, or come with a document")
def a_template_shapes_new_indices(t):
    _template(t, t.name("t"), index_patterns=[t.name("logs-*")], template={"settings": {"refresh_interval": "5s"}, "mappings": {"properties": {"host": {"type": "keyword"}}}, "aliases": {t.name("all"): {}}})
    t.es.index(index=t.name("logs-1"), id="1", document={"host": "a"}, refresh=True)
    made = t.es.indices.get(index=t.name("logs-1"))[t.name("logs-1")]
    same(made["mappings"]["properties"]["host"], {"type": "keyword"})
    same(made["settings"]["index"]["refresh_interval"], "5s")
    same(t.es.count(index=t.name("all"))["count"], 1)
    t.es.indices.create(index=t.name("logs-2"), mappings={"properties": {"n": {"type": "long"}}}, settings={"refresh_interval": "9s"})
    made = t.es.indices.get(index=t.name("logs-2"))[t.name("logs-2")]
    same(made["mappings"]["properties"], {"host": {"type": "keyword"}, "n": {"type": "long"}})
    same(made["settings"]["index"]["refresh_interval"], "9s")


@works("PUT /_index_template/{name}", "`composed_of`, `priority`", "later components win, the template wins over them")
@works("PUT /_component_template/{name}")
def templates_are_composed(t):
    _component(t, t.name("c1"), {"mappings": {"properties": {"a": {"type": "keyword"}, "b": {"type": "keyword"}}}, "settings": {"number_of_replicas": 0}})
    _component(t, t.name("c2"), {"mappings": {"properties": {"b": {"type": "long"}}}})
    _template(t, t.name("low"), index_patterns=[t.name("d*")], priority=1, template={"mappings": {"properties": {"low": {"type": "keyword"}}}})
    _template(t, t.name("high"), index_patterns=[t.name("d*")], priority=9, composed_of=[t.name("c1"), t.name("c2")], template={"mappings": {"properties": {"c": {"type": "date"}}}})
    t.es.indices.create(index=t.name("d1"))
    shown = t.es.indices.get(index=t.name("d1"))[t.name("d1")]
    same({key: of["type"] for key, of in shown["mappings"]["properties"].items()}, {"a": "keyword", "b": "long", "c": "date"})
    same(shown["settings"]["index"]["number_of_replicas"], "0")


@works("GET /_index_template/{name}", "all, one, patterns", "404 `resource_not_found_exception`")
@works("HEAD /_index_template/{name}")
@works("DELETE /_index_template/{name}")
def templates_are_shown_and_deleted(t):
    name = t.name("t")
    t.es.indices.put_index_template(name=name, index_patterns=[t.name("q*")], version=3, meta={"by": "me"})
    shown = t.es.indices.get_index_template(name=name)["index_templates"]
    same(len(shown), 1)
    has(shown[0], {"name": name, "index_template": {"index_patterns": [t.name("q*")], "version": 3, "_meta": {"by": "me"}}})
    same([one["name"] for one in t.es.indices.get_index_template(name=t.name("*"))["index_templates"]], [name])
    holds(name in [one["name"] for one in t.es.indices.get_index_template()["index_templates"]], "listed")
    same(t.es.indices.exists_index_template(name=name).body, True)
    t.es.indices.delete_index_template(name=name)
    same(t.es.indices.exists_index_template(name=name).body, False)
    fails(lambda: t.es.indices.get_index_template(name=name), 404, "resource_not_found_exception", name)
    fails(lambda: t.es.indices.delete_index_template(name=name), 404)


@works("GET /_component_template/{name}", "", "404 `resource_not_found_exception`")
@works("HEAD /_component_template/{name}")
@works("DELETE /_component_template/{name}", "", "400 while a template uses it")
def components_are_shown_and_deleted(t):
    name = t.name("c")
    _component(t, name, {"settings": {"index": {"refresh_interval": "7s"}}})
    shown = t.es.cluster.get_component_template(name=name)["component_templates"]
    has(shown[0], {"name": name, "component_template": {"template": {"settings": {"index": {"refresh_interval": "7s"}}}}})
    same(t.es.cluster.exists_component_template(name=name).body, True)
    _template(t, t.name("t"), index_patterns=[t.name("u*")], composed_of=[name])
    fails(lambda: t.es.cluster.delete_component_template(name=name), 400, "illegal_argument_exception", name)
    t.es.indices.delete_index_template(name=t.name("t"))
    t.es.cluster.delete_component_template(name=name)
    fails(lambda: t.es.cluster.get_component_template(name=name), 404, "resource_not_found_exception", name)


@works("PUT /_index_template/{name}", "what cannot be", "400: `create` of one that is there, the same pattern and priority twice, unknown components")
def impossible_templates(t):
    name = t.name("t")
    _template(t, name, index_patterns=[t.name("v*")], priority=5)
    fails(lambda: t.es.indices.put_index_template(name=name, index_patterns=["x*"], create=True), 400, "illegal_argument_exception", name)
    fails(lambda: t.es.indices.put_index_template(name=t.name("u"), index_patterns=[t.name("v*")], priority=5), 400, "illegal_argument_exception", name)
    fails(lambda: t.es.indices.put_index_template(name=t.name("u"), index_patterns=["x*"], composed_of=["nowhere"]), 400, says="nowhere")
    fails(lambda: t.es.indices.put_index_template(name=t.name("u"), index_patterns=["x*"], template={"mappings": {"properties": {"a": {"type": "nonsense"}}}}), 400, says="nonsense")


@works("POST /_index_template/_simulate_index/{name}")
def what_a_template_would_make(t):
    _template(t, t.name("t"), index_patterns=[t.name("w*")], priority=2, template={"settings": {"refresh_interval": "3s"}, "mappings": {"properties": {"a": {"type": "ip"}}}})
    _template(t, t.name("less"), index_patterns=[t.name("w*")], priority=1)
    shown = t.es.indices.simulate_index_template(name=t.name("w1"))
    has(shown["template"], {"settings": {"index": {"refresh_interval": "3s"}}, "mappings": {"properties": {"a": {"type": "ip"}}}, "aliases": {}})
    same(shown["overlapping"], [{"name": t.name("less"), "index_patterns": [t.name("w*")]}])
    same(t.es.indices.exists(index=t.name("w1")).body, False)


@refused("POST /_index_template/_simulate/{name}", "", "_simulate")
def simulated_templates(t):
    t.es.indices.simulate_template(name="x")


@refused("PUT /_index_template/{name}", "`data_stream`", "data_stream")
def data_streams(t):
    t.es.indices.put_index_template(name=t.name("t"), index_patterns=[t.name("x*")], data_stream={})


@refused("PUT /_template/{name}", "", "legacy templates")
def legacy(t):
    t.es.indices.put_template(name=t.name("t"), index_patterns=["x*"])
