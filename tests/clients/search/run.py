"""The official client of Elasticsearch against a search node, and the table of what the node can.

usage: run.py URL USER PASSWORD [--ca FILE] [--repository DIR] [--table FILE] [AREA...]

USER is an administrator; `guest`, a reader, and `scribe`, a writer, have the same password. AREAs
are names of the modules beside this file. --table puts the table, made from the tests that passed,
in FILE; --repository is a directory that the node's `path_repo` has.
"""

import argparse
import importlib
import sys
import traceback

import elasticsearch

import suite

# Module and title, in the order of the table.
AREAS = {
    "documents": "Documents",
    "bulk": "Bulk and helpers",
    "mappings": "Mappings",
    "templates": "Templates",
    "aliases": "Aliases",
    "queries": "Queries",
    "query_strings": "Queries in words",
    "sorting": "Sorting and paging",
    "highlight": "Highlighting",
    "msearch": "Several searches, counts, and what hits show",
    "metrics": "Aggregations: figures",
    "buckets": "Aggregations: buckets",
    "composite": "Aggregations: combinations and places",
    "suggest": "Suggestions",
    "by_query": "Changes by query, reindexing, tasks",
    "indices": "Indices",
    "operation": "Operation",
    "lifecycle": "Lifecycle and settings of the cluster",
    "snapshots": "Snapshots",
    "security": "Security",
    "tls": "TLS",
    "errors": "Errors",
}


class Place:
    """The node, and who may ask it."""

    def __init__(self, options):
        self.url = options.url
        self.user = options.user
        self.password = options.password
        self.ca = options.ca
        self.repository = options.repository

    def client(self, user=None, **how):
        """A client as anybody would make it."""
        if not how:
            how = {"basic_auth": (user or self.user, self.password)}
        return elasticsearch.Elasticsearch(self.url, request_timeout=60, **how)


def run(place, areas):
    """Runs the tests of `areas`; returns those that passed and the texts of those that failed."""
    passed, failed = [], []
    for area in areas:
        before = len(suite.TESTS)
        importlib.import_module(area)
        for test in suite.TESTS[before:]:
            t = suite.T(place)
            try:
                try:
                    test(t)
                finally:
                    t.end()
            except Exception:
                failed.append(test)
                print(f"FAILED {area}: {test.__name__}", file=sys.stderr)
                print(traceback.format_exc(), file=sys.stderr)
            else:
                passed.append((area, test))
    return passed, failed


def together(rows):
    """Rows of the table. What is refused is put together where rows differ in one name alone, as
    `each_refused` makes them, or in nothing but the call."""
    joined = {}
    for call, what, state, note in rows:
        kind, mark, name = what.partition(": ")
        if not mark and what.startswith("type "):
            kind, mark, name = "type", " ", what[5:]
        if state == suite.REFUSED and not what:
            key, calls, names = ("", "", state, note), [call], []
        elif state == suite.REFUSED and mark and "`" not in name:
            key, calls, names = (call, kind + mark, state, note), [call], [f"`{name}`"]
        else:
            key, calls, names = (call, what, state, note), [call], []
        found = joined.setdefault(key, ([], []))
        found[0].extend(call for call in calls if call not in found[0])
        found[1].extend(names)
    for (_, what, state, note), (calls, names) in joined.items():
        shown = ", ".join(f"`{call}`" if "/" in call else call for call in calls)
        cells = (shown, what + ", ".join(names), state, note)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(passed):
    """The table, a part for each area."""
    text, seen = [], {}
    for area, title in AREAS.items():
        rows = []
        for test in (test for of, test in passed if of == area):
            for call, what, state, note in test.rows:
                if (call, what) in seen:
                    if seen[call, what] != (state, note):
                        raise ValueError(f"two rows for {call} {what}")
                    continue
                seen[call, what] = (state, note)
                rows.append((call, what, state, note))
        if rows:
            text += ["", f"### {title}", "", "| call | what | state | note |", "|---|---|---|---|"]
            text += together(rows)
    return "\n".join(text) + "\n\n"


def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "user", "password"):
        parser.add_argument(name)
    for name in ("--ca", "--repository", "--table"):
        parser.add_argument(name)
    parser.add_argument("areas", nargs="*")
    options = parser.parse_args()
    areas = options.areas or list(AREAS)
    passed, failed = run(Place(options), areas)
    if options.table:
        with open(options.table, "w", encoding="utf-8") as file:
            file.write(table(passed))
    print(f"{len(passed)} passed, {len(failed)} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
