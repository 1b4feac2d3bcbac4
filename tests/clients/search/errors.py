"""Errors as the client sees them."""

import elasticsearch

from suite import UNSUPPORTED, cause_of, fails, same, works


@works("errors", "classes of the client", "`BadRequestError`, `NotFoundError`, `ConflictError`, `AuthenticationException`, `AuthorizationException`")
def classes(t):
    name = t.index([{"n": 1}])
    for ask, kind in ((lambda: t.search(name, {"nonsense": {}}), elasticsearch.BadRequestError), (lambda: t.es.get(index=t.name("none"), id="1"), elasticsearch.NotFoundError), (lambda: t.es.create(index=name, id="1", document={}), elasticsearch.ConflictError),
                      (lambda: t.place.client(basic_auth=("x", "y")).info(), elasticsearch.AuthenticationException), (lambda: t.place.client("guest").index(index=name, document={}), elasticsearch.AuthorizationException)):
        try:
            ask()
        except elasticsearch.ApiError as error:
            same(type(error), kind)
        else:
            raise AssertionError(f"no {kind.__name__}")


@works("errors", "`error.type`, `error.reason`, `error.root_cause`, `status`", "of every error")
def the_shape_of_an_error(t):
    missing = t.name("none")
    error = fails(lambda: t.search(missing), 404)
    cause = {"type": "index_not_found_exception", "reason": f"no such index [{missing}]", "resource.type": "index_or_alias", "resource.id": missing, "index_uuid": "_na_", "index": missing}
    same(error.body, {"error": {"root_cause": [cause], **cause}, "status": 404})
    same((error.error, error.message, error.status_code), ("index_not_found_exception", "index_not_found_exception", 404))


@works("errors", "a document that is not there", "404 with `found: false`")
def a_missing_document(t):
    name = t.index([{}])
    same(fails(lambda: t.es.get(index=name, id="9"), 404).body, {"_index": name, "_id": "9", "found": False})


@works("errors", "a conflict", "409 names the document, its version and the index")
def a_conflict(t):
    name = t.index([{}])
    cause = cause_of(fails(lambda: t.es.create(index=name, id="1", document={}), 409))
    same((cause["type"], cause["index"], cause["shard"]), ("version_conflict_engine_exception", name, "0"))
    same(cause["reason"], "[1]: version conflict, document already exists (current version [1])")


@works("errors", "bad JSON, bad bodies", "400 `parsing_exception`")
def bad_bodies(t):
    name = t.index([{}])
    send = lambda path, text: t.es.transport.perform_request("POST", path, headers={"content-type": "application/json", "authorization": t.es._headers["authorization"]}, body=text)
    for text in (b"{", b"[]", b'{"query": {}}', b'{"query": []}', b'{"nonsense": 1}', b'{"query": {"match_all": {}, "match_none": {}}}', b'{"query": {"term": {"a": 1, "b": 2}}}', b'{"query": {"match_all": {"x": 1}}}'):
        answer = send(f"/{name}/_search", text)
        same((answer.meta.status, answer.body["error"]["root_cause"][0]["type"]), (400, "parsing_exception"), text)


@works("errors", "bad values", "400 `illegal_argument_exception` or a more exact type")
def bad_values(t):
    name = t.index([{"n": 1, "d": "2024-01-01"}], {"n": {"type": "integer"}, "d": {"type": "date"}, "ip": {"type": "ip"}})
    for ask, kind in ((lambda: t.search(name, size=-1), "illegal_argument_exception"), (lambda: t.search(name, from_=-1), "illegal_argument_exception"), (lambda: t.search(name, {"term": {"n": "x"}}), "query_shard_exception"), (lambda: t.search(name, {"range": {"d": {"gte": "soon"}}}), None),
                      (lambda: t.search(name, {"term": {"ip": "x"}}), "query_shard_exception")):
        fails(ask, 400, kind)


@works("errors", "unknown parameters and paths", "400 `illegal_argument_exception` names them")
def unknown_parameters(t):
    name = t.index([{}])
    fails(lambda: t.raw("GET", f"/{name}/_search", nonsense=1), 400, "illegal_argument_exception", f"request [/{name}/_search] contains unrecognized parameter: [nonsense]")
    fails(lambda: t.raw("GET", "/_nonsense"), 400, "illegal_argument_exception", "no handler found for uri [/_nonsense] and method [GET]")


@works("errors", "ids", "400: longer than 512 bytes")
def long_ids(t):
    name = t.index()
    same(t.es.index(index=name, id="x" * 512, document={})["result"], "created")
    fails(lambda: t.es.index(index=name, id="x" * 513, document={}), 400, says="512")


@works("errors", "`Content-Type`", "406 for what is neither JSON nor NDJSON")
def media_types(t):
    answer = t.es.transport.perform_request("POST", f"/{t.index()}/_search", headers={"content-type": "application/yaml", "authorization": t.es._headers["authorization"]}, body=None)
    same(answer.meta.status, 406)


@works("errors", "bodies that are too long", "413 and nothing is written; 100 MiB, or as much as the node's `memory_bytes` where that is less, and not below 16 MiB")
def long_bodies(t):
    name = t.name()
    fails(lambda: t.es.index(index=name, id="1", document={"a": "x" * (101 << 20)}), 413)
    same(t.es.indices.exists(index=name).body, False)


@works("errors", "what Elasticsearch has and the node does not", "400 `unsupported_operation_exception` names it")
def unsupported(t):
    error = fails(lambda: t.search(t.index([{}]), {"function_score": {}}), 400, UNSUPPORTED)
    same(cause_of(error)["reason"], "query [function_score] is not supported by the lucid search node")
