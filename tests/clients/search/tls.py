"""Encryption. The node must have a certificate: run with --ca, and a URL that begins with https."""

import elasticsearch

from suite import holds, same, works


def _unreachable(url, **how):
    client = elasticsearch.Elasticsearch(url, max_retries=0, **how)
    try:
        client.info()
    except elasticsearch.ConnectionError as error:
        return str(error)
    finally:
        client.close()
    raise AssertionError(f"{url} answers")


@works("TLS", "`ca_certs`", "passwords and API keys; a certificate that nobody vouches for is not taken by the client")
def encrypted(t):
    holds(t.place.ca and t.place.url.startswith("https://"), "the node has a certificate, and --ca names who vouches for it")
    same(t.es.info()["tagline"], "You Know, for Search")
    made = t.es.security.create_api_key(name=t.name("key"))
    t.cleanup(lambda: t.es.security.invalidate_api_key(ids=[made["id"]]))
    same(t.place.client(api_key=made["encoded"]).info().meta.status, 200)
    said = _unreachable(t.place.url, basic_auth=(t.place.user, t.place.password))
    holds("certificate" in said.lower(), said)


@works("TLS", "no plain HTTP", "on the same port")
def nothing_goes_in_the_clear(t):
    _unreachable(t.place.url.replace("https://", "http://"), basic_auth=(t.place.user, t.place.password))
