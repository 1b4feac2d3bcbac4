"""Suggestions: terms that were meant, and completions of what is typed."""

from suite import fails, has, holds, near, refused, same, works

SEARCH = "POST /{index}/_search"


def _words(t):
    texts = ["trying out elasticsearch", "trying hard", "the house", "a mouse in the house", "horse and house"]
    return t.index([{"text": text, "tag": "News"} for text in texts], {"text": {"type": "text"}, "tag": {"type": "keyword"}})


def _options(t, name, text, **term):
    answer = t.es.search(index=name, size=0, suggest={"s": {"text": text, "term": {"field": "text", **term}}})
    return answer["suggest"]["s"]


@works(SEARCH, "suggester: `term`", "each word with its place; options with score and frequency, the best first")
def terms_that_were_meant(t):
    name = _words(t)
    found = _options(t, name, "tring out elasticserch")
    same([(part["text"], part["offset"], part["length"]) for part in found], [("tring", 0, 5), ("out", 6, 3), ("elasticserch", 10, 12)])
    same([(option["text"], option["freq"]) for option in found[0]["options"]], [("trying", 2)])
    near(found[0]["options"][0]["score"], 0.8)
    same(found[1]["options"], [])
    same([option["text"] for option in found[2]["options"]], ["elasticsearch"])
    near(found[2]["options"][0]["score"], 1 - 1 / 12)


@works(SEARCH, "suggester: `term`: `suggest_mode`, `sort`, `size`, `max_edits`, `prefix_length`, `min_word_length`, `min_doc_freq`, `max_term_freq`, `string_distance`")
def how_terms_are_suggested(t):
    name = _words(t)
    texts = lambda text, **term: [option["text"] for option in _options(t, name, text, **term)[0]["options"]]
    same(texts("house"), [])
    same(texts("horse", suggest_mode="popular"), ["house"])
    same(texts("house", suggest_mode="popular"), [])
    same(texts("house", suggest_mode="always"), [])
    same(texts("house", suggest_mode="always", max_term_freq=10), ["horse"])
    same(texts("house", suggest_mode="always", max_term_freq=10, prefix_length=0, sort="frequency"), ["horse", "mouse"])
    same(texts("hous"), ["house", "horse"])
    same(texts("hous", size=1), ["house"])
    same(texts("hous", max_edits=1), ["house"])
    same(texts("hous", min_doc_freq=2), ["house"])
    same(texts("hous", min_word_length=5), [])
    for distance in ("damerau_levenshtein", "levenshtein", "jaro_winkler", "ngram"):
        holds("house" in texts("hosue", string_distance=distance, accuracy=0.3), distance)


@works(SEARCH, "suggester: a text for several suggestions", "beside hits and aggregations; names of one's own")
def one_text_for_all(t):
    name = _words(t)
    answer = t.search(name, {"match_all": {}}, size=1, suggest={"text": "hosue", "a": {"term": {"field": "text"}}, "b": {"term": {"field": "text", "size": 1}}})
    same(len(answer["hits"]["hits"]), 1)
    same(set(answer["suggest"]), {"a", "b"})
    same(answer["suggest"]["b"][0]["options"][0]["text"], "house")


@works(SEARCH, "suggester: fields that cannot be", "400")
def impossible_suggestions(t):
    name = _words(t)
    fails(lambda: _options(t, name, "x", field="nowhere"), 400, "illegal_argument_exception", "nowhere")
    fails(lambda: _options(t, name, "x", max_edits=3), 400, says="max")
    fails(lambda: t.es.search(index=name, suggest={"s": {"text": "x", "nonsense": {"field": "text"}}}), 400, says="nonsense")
    fails(lambda: t.es.search(index=name, suggest={"s": {"prefix": "x", "completion": {"field": "text"}}}), 400, says="text")


def _songs(t):
    return t.index([{"s": {"input": ["Nevermind", "Nirvana"], "weight": 34}, "by": "n"}, {"s": {"input": "Never ever", "weight": 10}}, {"s": ["Never again", "Again"]}, {"s": [{"input": "Neverland", "weight": 50}, {"input": "Peter", "weight": 1}]}, {"s": {"input": "Nevermind", "weight": 5}}, {}], {"s": {"type": "completion"}, "by": {"type": "keyword"}})


def _completed(t, name, prefix, **completion):
    return t.es.search(index=name, suggest={"c": {"prefix": prefix, "completion": {"field": "s", **completion}}})["suggest"]["c"][0]


@works(SEARCH, "suggester: `completion`", "by weight; each document once, with its source; ignores case")
@works("type `completion`", "inputs, weights, lists of both; what cannot be is refused with the document")
def completions(t):
    name = _songs(t)
    found = _completed(t, name, "nev")
    same((found["text"], found["offset"], found["length"]), ("nev", 0, 3))
    same([(option["text"], option["_score"]) for option in found["options"]], [("Neverland", 50.0), ("Nevermind", 34.0), ("Never ever", 10.0), ("Nevermind", 5.0), ("Never again", 1.0)])
    same(found["options"][1]["_source"], {"s": {"input": ["Nevermind", "Nirvana"], "weight": 34}, "by": "n"})
    has(found["options"][0], {"_index": name, "_id": "4"})
    same([option["text"] for option in _completed(t, name, "NIR")["options"]], ["Nirvana"])
    same([option["text"] for option in _completed(t, name, "pet")["options"]], ["Peter"])
    same(_completed(t, name, "zzz")["options"], [])
    for bad in ({"input": "a", "weight": -1}, {"input": "a", "weight": "x"}, 7):
        fails(lambda bad=bad: t.es.index(index=name, document={"s": bad}), 400)


@works(SEARCH, "suggester: `completion`: `size`, `skip_duplicates`, `fuzzy`")
def how_completions_are_found(t):
    name = _songs(t)
    texts = lambda prefix, **completion: [option["text"] for option in _completed(t, name, prefix, **completion)["options"]]
    same(texts("nev", size=2), ["Neverland", "Nevermind"])
    same(texts("neverm", skip_duplicates=True), ["Nevermind"])
    same(texts("nvermi"), [])
    same(set(texts("nvermi", fuzzy={"fuzziness": 1})), {"Nevermind"})
    same(texts("nvermi", fuzzy={"fuzziness": 0}), [])
    same(texts("xevermi", fuzzy={"fuzziness": 1, "prefix_length": 1}), [])


@works(SEARCH, "suggester: `completion`: deleted documents, `_source`")
def completions_of_documents_that_are_there(t):
    name = _songs(t)
    t.es.delete(index=name, id="4", refresh=True)
    answer = t.es.search(index=name, source=["by"], suggest={"c": {"prefix": "never", "completion": {"field": "s"}}})["suggest"]["c"][0]["options"]
    same([option["_id"] for option in answer], ["1", "2", "5", "3"])
    same(answer[0]["_source"], {"by": "n"})


def _suggest(**suggestion):
    return lambda t: t.es.search(index=_songs(t), suggest={"s": suggestion})


for what, said, how in (("`phrase`", "phrase", {"text": "x", "phrase": {"field": "by"}}), ("`completion`: `regex`", "regex", {"regex": "n.*", "completion": {"field": "s"}}), ("`completion`: `contexts`", "contexts", {"prefix": "n", "completion": {"field": "s", "contexts": {"c": "x"}}})):
    refused(SEARCH, f"suggester: {what}", said)(_suggest(**how))


@refused("type `completion`", "`contexts`", "contexts")
def contexts(t):
    t.es.indices.create(index=t.name(), mappings={"properties": {"s": {"type": "completion", "contexts": [{"name": "c", "type": "category"}]}}})
