"""Mappings: types of fields, and what documents make of them."""

from suite import each_refused, fails, has, holds, ids, partly, refused, same, works

PUT = "PUT /{index}"
MAPPING = "PUT /{index}/_mapping"


@works(PUT, "mapping: properties of objects, multi-fields", "shown as they were put")
@works("GET /{index}/_mapping")
def a_mapping_is_shown_as_it_was_put(t):
    wanted = {"name": {"type": "text", "fields": {"raw": {"type": "keyword", "ignore_above": 64}}}, "user": {"properties": {"id": {"type": "keyword"}}}, "day": {"type": "date", "format": "yyyy-MM-dd"}}
    name = t.index(mappings=wanted)
    same(t.es.indices.get_mapping(index=name).body, {name: {"mappings": {"properties": wanted}}})


@works(MAPPING, "adds fields", "a type cannot be changed: 400")
def fields_are_added_and_not_changed(t):
    name = t.index(mappings={"a": {"type": "keyword"}})
    t.es.indices.put_mapping(index=name, properties={"b": {"type": "long"}})
    has(t.es.indices.get_mapping(index=name)[name]["mappings"], {"properties": {"a": {"type": "keyword"}, "b": {"type": "long"}}})
    fails(lambda: t.es.indices.put_mapping(index=name, properties={"a": {"type": "long"}}), 400, "illegal_argument_exception", "mapper [a] cannot be changed from type [keyword] to [long]")


@works("GET /{index}/_mapping/field/{fields}", "patterns")
def mappings_of_fields_are_shown(t):
    name = t.index(mappings={"user": {"properties": {"id": {"type": "keyword"}, "age": {"type": "long"}}}})
    shown = t.es.indices.get_field_mapping(index=name, fields="user.i*").body
    same(shown, {name: {"mappings": {"user.id": {"full_name": "user.id", "mapping": {"id": {"type": "keyword"}}}}}})


@works(PUT, "dynamic: fields of new documents", "texts with `keyword`, longs, floats, booleans, dates, objects")
def documents_make_fields(t):
    name = t.index([{"text": "words", "int": 7, "part": 1.5, "yes": True, "day": "2024-05-01T10:00:00Z", "in": {"side": "x"}, "none": None}])
    properties = t.es.indices.get_mapping(index=name)[name]["mappings"]["properties"]
    words = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
    same(properties, {"text": words, "int": {"type": "long"}, "part": {"type": "float"}, "yes": {"type": "boolean"}, "day": {"type": "date"}, "in": {"properties": {"side": words}}})


@works(PUT, "`dynamic`: `false`, `strict`", "also of inner objects")
def dynamic_may_be_off(t):
    name = t.name()
    t.es.indices.create(index=name, mappings={"dynamic": False, "properties": {"a": {"type": "long"}}})
    t.fill(name, [{"a": 1, "b": 2}])
    same(t.found(name, {"term": {"b": 2}}), [])
    same(t.es.get(index=name, id="1")["_source"], {"a": 1, "b": 2})
    strict = t.name("strict")
    t.es.indices.create(index=strict, mappings={"dynamic": "strict", "properties": {"a": {"type": "long"}, "o": {"type": "object", "dynamic": True}}})
    fails(lambda: t.es.index(index=strict, document={"b": 2}), 400, "strict_dynamic_mapping_exception", "[b]")
    t.es.index(index=strict, document={"o": {"free": 1}})


@refused(PUT, "mapping: `dynamic: runtime`", "runtime")
def runtime(t):
    t.es.indices.create(index=t.name(), mappings={"dynamic": "runtime"})


@refused(PUT, "mapping: `dynamic_templates`", "dynamic_templates")
def templates_of_new_fields(t):
    rules = [{"ids": {"match": "*_id", "mapping": {"type": "keyword"}}}]
    t.es.indices.create(index=t.name(), mappings={"dynamic_templates": rules})


@works("type `keyword`", "`ignore_above`, `null_value`, normalizer `lowercase`")
def keywords(t):
    name = t.index([{"a": "Ab", "b": "toolong", "c": None}, {"a": "aB", "b": "fits"}], {"a": {"type": "keyword", "normalizer": "lowercase"}, "b": {"type": "keyword", "ignore_above": 4}, "c": {"type": "keyword", "null_value": "NONE"}})
    same(sorted(t.found(name, {"term": {"a": "AB"}})), ["1", "2"])
    same(t.found(name, {"exists": {"field": "b"}}), ["2"])
    same(t.found(name, {"term": {"c": "NONE"}}), ["1"])


@works("type `text`", "analyzers `standard`, `simple`, `whitespace`, `keyword`, `english`; `search_analyzer`, `norms`, `copy_to`")
def texts(t):
    name = t.index([{"e": "The running foxes", "w": "Big-Deal now", "s": "R2-D2 rocks"}], {
        "e": {"type": "text", "analyzer": "english", "copy_to": "all"}, "w": {"type": "text", "analyzer": "whitespace", "copy_to": "all"},
        "s": {"type": "text", "analyzer": "simple"}, "all": {"type": "text", "norms": False}})
    same(t.found(name, {"match": {"e": "run fox"}}), ["1"])
    same(t.found(name, {"match": {"e": "the"}}), [])
    same(t.found(name, {"match": {"w": "big-deal"}}), [])
    same(t.found(name, {"match": {"w": "Big-Deal"}}), ["1"])
    same(t.found(name, {"match": {"s": "R"}}), ["1"])
    same(t.found(name, {"match": {"all": "deal"}}), ["1"])


@works("types `long`, `integer`, `short`, `byte`, `double`, `float`, `half_float`, `scaled_float`", "bounds, `coerce`, `ignore_malformed`, `null_value`")
def numbers(t):
    name = t.index([{"b": 127, "i": "12", "s": 1.234, "m": "x", "n": None, "d": 0.1}], {
        "b": {"type": "byte"}, "i": {"type": "integer"}, "s": {"type": "scaled_float", "scaling_factor": 100},
        "m": {"type": "short", "ignore_malformed": True}, "n": {"type": "long", "null_value": -1}, "d": {"type": "double"},
        "c": {"type": "integer", "coerce": False}, "h": {"type": "half_float"}, "f": {"type": "float"}})
    for query in ({"term": {"b": 127}}, {"term": {"i": 12}}, {"term": {"s": 1.23}}, {"term": {"n": -1}}, {"term": {"d": 0.1}}):
        same(t.found(name, query), ["1"])
    same(t.found(name, {"exists": {"field": "m"}}), [])
    for bad in ({"b": 128}, {"c": "1"}, {"i": "x"}, {"i": 1 << 31}, {"h": 1e6}):
        fails(lambda bad=bad: t.es.index(index=name, document=bad), 400, "document_parsing_exception")


@works("type `boolean`", "texts `\"true\"`, `\"false\"`, `\"\"`")
def booleans(t):
    name = t.index([{"a": True}, {"a": "false"}, {"a": ""}], {"a": {"type": "boolean"}})
    same(t.found(name, {"term": {"a": True}}), ["1"])
    same(sorted(t.found(name, {"term": {"a": "false"}})), ["2", "3"])
    fails(lambda: t.es.index(index=name, document={"a": 1}), 400, "document_parsing_exception")


@works("type `date`", "`format` (named, patterns, several), milliseconds, `ignore_malformed`")
def dates(t):
    name = t.index([{"a": "2024-05-01T10:00:00+02:00", "b": "01/05/2024"}, {"a": 1714550400000, "b": "2024-05-03"}], {"a": {"type": "date"}, "b": {"type": "date", "format": "dd/MM/yyyy||yyyy-MM-dd"}})
    same(ids(t.search(name, sort=[{"a": "asc"}])), ["2", "1"][::-1])
    same(t.search(name, sort=[{"a": "asc"}])["hits"]["hits"][0]["sort"], [1714550400000])
    same(t.found(name, {"range": {"b": {"gt": "01/05/2024"}}}), ["2"])
    fails(lambda: t.es.index(index=name, document={"b": "May 1"}), 400, "document_parsing_exception", "[b]")
    loose = t.index([{"a": "whenever", "n": 1}], {"a": {"type": "date", "ignore_malformed": True}}, word="loose")
    same((t.found(loose, {"exists": {"field": "a"}}), t.found(loose, {"term": {"n": 1}})), ([], ["1"]))


@works("type `ip`", "IPv4 and IPv6, networks in `term`, ranges")
def addresses(t):
    name = t.index([{"a": "192.168.1.7"}, {"a": "10.0.0.1"}, {"a": "2001:db8::1"}], {"a": {"type": "ip"}})
    same(t.found(name, {"term": {"a": "192.168.0.0/16"}}), ["1"])
    same(t.found(name, {"term": {"a": "2001:db8::/32"}}), ["3"])
    same(t.found(name, {"range": {"a": {"gte": "10.0.0.0", "lt": "11.0.0.0"}}}), ["2"])
    fails(lambda: t.es.index(index=name, document={"a": "300.1.1.1"}), 400, "document_parsing_exception")


@works("types `object`, `nested`", "`enabled: false`")
def objects(t):
    name = t.index([{"o": {"a": 1}, "n": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]}], {"o": {"type": "object", "enabled": False}, "n": {"type": "nested", "properties": {"k": {"type": "keyword"}, "v": {"type": "long"}}}})
    same(t.found(name, {"term": {"o.a": 1}}), [])
    same(t.es.get(index=name, id="1")["_source"]["o"], {"a": 1})
    same(t.found(name, {"term": {"n.k": "x"}}), [])
    holds("o" in t.es.indices.get_mapping(index=name)[name]["mappings"]["properties"], "o is mapped")


@works(PUT, "mapping: `_meta`, `date_detection: false`")
def detection(t):
    name = t.name()
    t.es.indices.create(index=name, mappings={"_meta": {"by": "me"}, "date_detection": False})
    t.fill(name, [{"day": "2024-05-01", "n": 7}])
    shown = t.es.indices.get_mapping(index=name)[name]["mappings"]
    same(shown["_meta"], {"by": "me"})
    same((shown["properties"]["day"]["type"], shown["properties"]["n"]["type"]), ("text", "long"))


@refused(PUT, "mapping: `numeric_detection: true`", "numeric_detection")
def numbers_in_texts(t):
    t.es.indices.create(index=t.name(), mappings={"numeric_detection": True})


@refused(PUT, "mapping: analyzers `stop`, `pattern`, `fingerprint`, of languages but English", "analyzer [german]")
def other_analyzers(t):
    t.es.indices.create(index=t.name(), mappings={"properties": {"f": {"type": "text", "analyzer": "german"}}})


@refused(PUT, "settings: `analysis`", "analysis")
def custom_analyzers(t):
    t.es.indices.create(index=t.name(), settings={"analysis": {"analyzer": {"mine": {"type": "custom", "tokenizer": "standard"}}}})


def _typed(kind, **more):
    return lambda t: t.es.indices.create(index=t.name(), mappings={"properties": {"f": {"type": kind, **more}}})


each_refused(PUT, [(f"type {kind}", _typed(kind, **more)) for kind, more in {
    "alias": {"path": "a"}, "binary": {}, "constant_keyword": {}, "date_nanos": {}, "date_range": {}, "dense_vector": {"dims": 3}, "flattened": {},
    "geo_point": {}, "geo_shape": {}, "integer_range": {}, "ip_range": {}, "join": {"relations": {"a": "b"}}, "match_only_text": {}, "percolator": {}, "rank_feature": {},
    "search_as_you_type": {}, "token_count": {"analyzer": "standard"}, "unsigned_long": {}, "version": {}, "wildcard": {}}.items()])


@partly(PUT, "mapping: `_source`, `_routing`", "only with their defaults; others are refused")
def source_is_kept(t):
    fails(lambda: t.es.indices.create(index=t.name("a"), mappings={"_source": {"enabled": False}}), 400, says="_source")
    fails(lambda: t.es.indices.create(index=t.name("b"), mappings={"_routing": {"required": True}}), 400, says="_routing")
    t.es.indices.create(index=t.name("c"), mappings={"_source": {"enabled": True}})


@refused(PUT, "mapping: `runtime`", "runtime")
def runtime_fields(t):
    t.es.indices.create(index=t.name(), mappings={"runtime": {"a": {"type": "long"}}})


@works(PUT, "mappings that cannot be", "400 `mapper_parsing_exception` names the field")
def impossible_mappings(t):
    for properties, said in (({"f": {"type": "nonsense"}}, "nonsense"), ({"f": {"type": "long", "analyzer": "x"}}, "analyzer"), ({"f": {"type": "scaled_float"}}, "scaling_factor")):
        fails(lambda p=properties: t.es.indices.create(index=t.name(), mappings={"properties": p}), 400, "mapper_parsing_exception", said)
    same(t.es.indices.exists(index=t.name()).body, False)


@works("GET /{index}/_mapping", "limits", "1000 fields (`index.mapping.total_fields.limit`), 20 deep")
def limits_of_mappings(t):
    many = {f"f{n}": {"type": "long"} for n in range(1001)}
    fails(lambda: t.es.indices.create(index=t.name(), mappings={"properties": many}), 400, says="1000")
    deep = {"type": "long"}
    for _ in range(21):
        deep = {"properties": {"a": deep}}
    fails(lambda: t.es.indices.create(index=t.name(), mappings={"properties": {"a": deep}}), 400, says="20")
