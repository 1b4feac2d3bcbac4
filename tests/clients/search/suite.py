"""What the tests of the search node share: how they say which part of the API they show, and how
they ask and compare."""

import itertools
import math

import elasticsearch

WORKS, PARTLY, REFUSED = "works", "partly", "refused"

# What the node says of everything that Elasticsearch has and it does not.
UNSUPPORTED = "unsupported_operation_exception"

# Tests in the order of their definition.
TESTS = []


def _row(test, call, what, state, note):
    if not hasattr(test, "rows"):
        test.rows = []
        TESTS.append(test)
    # Decorators are applied from the lowest up; the table is read from the top down.
    test.rows.insert(0, (call, what, state, note))
    return test


def works(call, what="", note=""):
    """The test shows that this works as in Elasticsearch."""
    return lambda test: _row(test, call, what, WORKS, note)


def partly(call, what, note):
    """The test shows what works of this, and `note` says what does not."""
    return lambda test: _row(test, call, what, PARTLY, note)


def refused(call, what, says=None, note="", status=400, kind=UNSUPPORTED):
    """What the test does must be refused with this status and type, and name `says`, which is
    the last word of `what` when it is not given."""
    says = says or what.split(":")[-1].split()[-1]

    def decorate(test):
        def proof(t):
            fails(lambda: test(t), status, kind, says)

        proof.__name__ = test.__name__
        return _row(proof, call, what, REFUSED, note)

    return decorate


def each_refused(call, cases, note=""):
    """One test for each of (what, function); the name that must be said is the last word of
    `what`."""
    for what, ask in cases:

        def test(t, ask=ask):
            ask(t)

        test.__name__ = f"{what} is refused"
        refused(call, what, note=note)(test)


def fails(ask, status, kind=None, says=None):
    """`ask` must end in an error of this status, or one of these, and of this type, and name
    `says`; returns it."""
    try:
        answer = ask()
    except elasticsearch.ApiError as error:
        found = error
    else:
        raise AssertionError(f"nothing was refused, the answer is {answer}")
    if found.status_code not in (status if isinstance(status, tuple) else (status,)):
        raise AssertionError(f"status {found.status_code}, wanted {status}: {found}")
    if kind is not None:
        same(kind_of(found), kind, found)
    if says is not None and says not in reason_of(found):
        raise AssertionError(f"[{says}] is not in: {reason_of(found)}")
    return found


def kind_of(error):
    """The type of an error: that of its cause, where shards failed."""
    return cause_of(error).get("type")


def reason_of(error):
    """The reason of an error, and those of its causes."""
    told, cause = [], cause_of(error)
    while cause:
        told.append(cause.get("reason") or "")
        cause = cause.get("caused_by")
    return "; ".join(told)


def cause_of(error):
    body = error.body if isinstance(error.body, dict) else {}
    whole = body.get("error")
    if not isinstance(whole, dict):
        return {}
    return whole["root_cause"][0] if whole.get("root_cause") else whole


def same(found, wanted, about=""):
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r} {about}")


def near(found, wanted, within=1e-4):
    if found is None or not math.isclose(found, wanted, rel_tol=within, abs_tol=within):
        raise AssertionError(f"found {found!r}, wanted about {wanted!r}")


def holds(condition, about):
    if not condition:
        raise AssertionError(f"this does not hold: {about}")


def has(found, wanted, at=""):
    """Every member of `wanted` is in `found` with that value; `found` may have more."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if key not in found:
                raise AssertionError(f"{at}.{key} is missing in {found!r}")
            has(found[key], value, f"{at}.{key}")
    elif found != wanted:
        raise AssertionError(f"{at}: found {found!r}, wanted {wanted!r}")


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def scores(answer):
    return [hit["_score"] for hit in answer["hits"]["hits"]]


def pairs(aggregation, key="key"):
    """Keys and counts of buckets."""
    return [(bucket[key], bucket["doc_count"]) for bucket in aggregation["buckets"]]


class T:
    """What a test works with: the client, and names that are its own."""

    numbers = itertools.count()

    def __init__(self, place):
        self.place = place
        self.es = place.client()
        self.stem = f"t{next(T.numbers)}"
        self.later = []

    def name(self, word="x"):
        return f"{self.stem}-{word}"

    def index(self, docs=(), mappings=None, word="x", **more):
        """A new index with these documents, searchable; ids are those in `docs`, or 1, 2, 3…"""
        name = self.name(word)
        properties = {"mappings": {"properties": mappings}} if mappings else {}
        self.es.indices.create(index=name, **properties, **more)
        self.fill(name, docs)
        return name

    def fill(self, name, docs):
        listed = docs.items() if isinstance(docs, dict) else enumerate(docs, 1)
        lines = []
        for id, doc in listed:
            lines += [{"index": {"_id": str(id)}}, doc]
        if lines:
            answer = self.es.bulk(index=name, operations=lines, refresh=True)
            same(answer["errors"], False, answer)

    def search(self, index, query=None, **more):
        if query is not None:
            more["query"] = query
        return self.es.search(index=index, **more)

    def found(self, index, query, **more):
        """Ids of the hits, the best first."""
        return ids(self.search(index, query, **more))

    def aggs(self, index, **aggs):
        return self.es.search(index=index, size=0, aggs=aggs)["aggregations"]

    def raw(self, method, path, body=None, **params):
        """A call that the client has no method for."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        return self.es.perform_request(method, path, params=params, headers=headers, body=body)

    def cleanup(self, work):
        self.later.append(work)

    def end(self):
        for work in reversed(self.later):
            try:
                work()
            except elasticsearch.ApiError:
                pass
        names = [n for n in self.es.indices.get(index=f"{self.stem}-*", expand_wildcards="all")]
        if names:
            self.es.indices.delete(index=names)
        self.es.close()
