"""Who may ask, and what."""

import time

import elasticsearch

from suite import fails, has, holds, partly, refused, same, works


@works("basic authentication", "", "users of the node's configuration; 401 `security_exception`")
def passwords(t):
    same(t.place.client("guest").info()["tagline"], "You Know, for Search")
    for how in ({"basic_auth": (t.place.user, "wrong")}, {"basic_auth": ("nobody", t.place.password)}, {"headers": {}}):
        error = fails(lambda how=how: t.place.client(**how).search(), 401, "security_exception")
        same(type(error), elasticsearch.AuthenticationException)
    error = fails(lambda: t.place.client(headers={}).info(), 401, says="missing authentication credentials for REST request")
    holds("Basic" in error.meta.headers["www-authenticate"], error.meta.headers)


@partly("GET /_security/_authenticate", "", "name, role, realm `lucid`; `authentication_type` `realm` or `api_key`")
def who_asks(t):
    has(t.es.security.authenticate().body, {"username": t.place.user, "roles": ["admin"], "enabled": True, "authentication_type": "realm"})
    has(t.place.client("guest").security.authenticate().body, {"username": "guest", "roles": ["reader"]})


@works("roles", "`reader`", "searches, counts, gets, scrolls and points in time, cluster and cat; everything else is 403 `security_exception`")
def readers(t):
    name = t.index([{"n": 1}])
    guest = t.place.client("guest")
    same(guest.count(index=name)["count"], 1)
    same(guest.get(index=name, id="1")["_source"], {"n": 1})
    same(guest.cat.count(index=name, format="json")[0]["count"], "1")
    pit = guest.open_point_in_time(index=name, keep_alive="1m")["id"]
    same(guest.close_point_in_time(id=pit)["succeeded"], True)
    for ask in (lambda: guest.index(index=name, document={}), lambda: guest.delete(index=name, id="1"), lambda: guest.bulk(index=name, operations=[{"index": {}}, {}]), lambda: guest.indices.create(index=t.name("mine")),
                lambda: guest.indices.delete(index=name), lambda: guest.indices.refresh(index=name), lambda: guest.indices.put_settings(index=name, settings={"priority": 1})):
        same(type(fails(ask, 403, "security_exception", "is unauthorized for user [guest] with role [reader]")), elasticsearch.AuthorizationException)
    same(t.es.count(index=name)["count"], 1)


@works("roles", "`writer`", "documents, indices, templates, aliases; no snapshots, no keys of others")
def writers(t):
    scribe = t.place.client("scribe")
    name = t.name()
    scribe.indices.create(index=name)
    scribe.index(index=name, id="1", document={"n": 1}, refresh=True)
    same(scribe.count(index=name)["count"], 1)
    scribe.indices.put_alias(index=name, name=t.name("alias"))
    scribe.indices.put_index_template(name=t.name("template"), index_patterns=[t.name("zz*")])
    scribe.indices.delete_index_template(name=t.name("template"))
    fails(lambda: scribe.perform_request("PUT", "/_snapshot/r", headers={"accept": "application/json", "content-type": "application/json"}, body={"type": "fs"}), 403, "security_exception")
    fails(lambda: scribe.clear_scroll(scroll_id="_all"), 403, "security_exception")


@works("POST /_security/api_key", "`name`, `expiration`, `metadata`", "a key has no more than its owner may")
@works("API keys", "`api_key=(id, key)`, `api_key=encoded`", "401 when it is wrong, expired or invalidated")
@works("GET /_security/api_key", "`id`, `name`, `owner`", "never the key itself; of all users for administrators alone")
@works("DELETE /_security/api_key", "`ids`, `name`")
def keys(t):
    name = t.index([{"n": 1}])
    made = t.es.security.create_api_key(name=t.name("key"), expiration="1d", metadata={"for": "tests"})
    holds(made["expiration"] > 1.7e12, made)
    for key in ((made["id"], made["api_key"]), made["encoded"]):
        client = t.place.client(api_key=key)
        same(client.count(index=name)["count"], 1)
        has(client.security.authenticate().body, {"username": t.place.user, "authentication_type": "api_key"})
    same(client.index(index=name, document={})["result"], "created")
    shown = t.es.security.get_api_key(id=made["id"])["api_keys"]
    same(len(shown), 1)
    has(shown[0], {"id": made["id"], "name": t.name("key"), "username": t.place.user, "invalidated": False, "metadata": {"for": "tests"}})
    holds(made["api_key"] not in str(shown), "the key is shown")
    fails(lambda: client.security.create_api_key(name="more"), 400, "illegal_argument_exception", "derived")
    fails(lambda: t.place.client(api_key=(made["id"], "wrong")).info(), 401, "security_exception")
    same(t.es.security.invalidate_api_key(ids=[made["id"]]).body, {"invalidated_api_keys": [made["id"]], "previously_invalidated_api_keys": [], "error_count": 0})
    fails(lambda: client.info(), 401, "security_exception", "invalidated")
    short = t.es.security.create_api_key(name=t.name("short"), expiration="1ms")
    time.sleep(0.05)
    fails(lambda: t.place.client(api_key=short["encoded"]).info(), 401, "security_exception", "expired")
    several = [t.es.security.create_api_key(name=t.name("several"))["id"] for _ in range(3)]
    same(sorted(t.es.security.invalidate_api_key(name=t.name("several"))["invalidated_api_keys"]), sorted(several))


@works("API keys", "limits", "100 live ones a user: 400 beyond")
def keys_are_counted(t):
    guest = t.place.client("guest")
    made = [guest.security.create_api_key(name=t.name("many"))["id"] for _ in range(100)]
    t.cleanup(lambda: guest.security.invalidate_api_key(ids=made))
    fails(lambda: guest.security.create_api_key(name=t.name("many")), 400, "illegal_argument_exception", "[100]")


@works("API keys", "of a reader", "may read and no more; others' keys are neither shown nor invalidated")
def keys_of_readers(t):
    guest = t.place.client("guest")
    mine = t.es.security.create_api_key(name=t.name("mine"))
    t.cleanup(lambda: t.es.security.invalidate_api_key(ids=[mine["id"]]))
    made = guest.security.create_api_key(name=t.name("guest"))
    client = t.place.client(api_key=made["encoded"])
    same(client.info().meta.status, 200)
    fails(lambda: client.index(index=t.name(), document={}), 403, "security_exception")
    same(guest.security.get_api_key(id=mine["id"])["api_keys"], [])
    same(guest.security.invalidate_api_key(ids=[mine["id"]])["invalidated_api_keys"], [])
    same(guest.security.invalidate_api_key(ids=[made["id"]])["invalidated_api_keys"], [made["id"]])


@refused("POST /_security/api_key", "`role_descriptors`", "role_descriptors", note="a key has its owner's role")
def roles_of_keys(t):
    t.es.security.create_api_key(name=t.name("k"), role_descriptors={"r": {"cluster": ["all"]}})


def _raw(method, path):
    return lambda t: t.raw(method, path, {} if method != "GET" else None)


for method, path in (("PUT", "/_security/user/u"), ("GET", "/_security/user"), ("PUT", "/_security/role/r"), ("PUT", "/_security/role_mapping/m"), ("POST", "/_security/oauth2/token"), ("GET", "/_security/privilege"), ("POST", "/_security/api_key/grant"), ("PUT", "/_security/api_key/k")):
    refused(f"{method} {path}", "", path.split("/")[2], note="users and roles are those of the node's configuration" if "/user" in path or "/role" in path else "")(_raw(method, path))
