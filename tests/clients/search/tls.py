"""Encryption, on the port that programs of the board reach without: run with --ca."""

import elasticsearch

from suite import holds, same, works


@works("TLS", "`ca_certs`", "passwords and API keys; whoever comes over the network must use it, programs on the board may leave it out")
def encrypted(t):
    holds(t.place.ca, "--ca names the certificate of the node")
    url = t.place.url.replace("http://127.0.0.1", "https://localhost")
    holds(url.startswith("https://"), url)
    login = {"basic_auth": (t.place.user, t.place.password)}
    es = elasticsearch.Elasticsearch(url, ca_certs=t.place.ca, **login)
    t.cleanup(es.close)
    same(es.info()["tagline"], "You Know, for Search")
    made = t.es.security.create_api_key(name=t.name("key"))
    t.cleanup(lambda: t.es.security.invalidate_api_key(ids=[made["id"]]))
    by_key = elasticsearch.Elasticsearch(url, ca_certs=t.place.ca, api_key=made["encoded"])
    t.cleanup(by_key.close)
    same(by_key.info().meta.status, 200)
    strange = elasticsearch.Elasticsearch(url, max_retries=0, **login)
    t.cleanup(strange.close)
    try:
        strange.info()
    except elasticsearch.SSLError:
        return
    raise AssertionError("the client takes a certificate that nobody vouches for")
