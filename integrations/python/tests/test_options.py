"""URLs and options of every kind: what cannot be used is refused when the limiter is made, and no secret is shown."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import redis
from kinds import Blocking
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.storage import storage_from_string
from servers import Certificates, Cluster, Sentinels, Server

import redis_ratelimit.limits
from redis_ratelimit import ArgumentError, ConfigurationError, OptionError, RateLimitError

SECRET = "hidden"
LOGIN = f"app:{SECRET}@"
# What stands between the scheme and the query.
ADDRESSES = {
    "redis": f"redis://{LOGIN}localhost:6379/0",
    "rediss": f"rediss://{LOGIN}localhost:6379/0",
    "unix": f"unix://{LOGIN}/run/redis.sock",
    "sentinel": f"redis+sentinel://{LOGIN}localhost:26379/mymaster/0",
    "tls sentinel": f"rediss+sentinel://{LOGIN}localhost:26379/mymaster/0",
    "cluster": f"redis+cluster://{LOGIN}localhost:6379",
    "tls cluster": f"rediss+cluster://{LOGIN}localhost:6379",
    "rl": f"rl://{LOGIN}localhost:6379/0",
}
# Refused everywhere.
WRONG = [
    ("socket_timeout=-1", "socket_timeout"),
    ("socket_timeout=0", "socket_timeout"),
    ("socket_timeout=nan", "socket_timeout"),
    ("socket_timeout=soon", "socket_timeout"),
    ("socket_connect_timeout=inf", "socket_connect_timeout"),
    ("socket_read_size=0", "socket_read_size"),
    ("health_check_interval=-1", "health_check_interval"),
    ("max_connections=0", "max_connections"),
    ("max_connections=many", "max_connections"),
    ("protocol=4", "protocol"),
    ("protocol=three", "protocol"),
    ("encoding=nonsense", "encoding"),
    ("encoding_errors=nonsense", "encoding_errors"),
    ("client_name=a%20b", "client_name"),
    ("client_name=", "client_name"),
    ("credential_provider=mine", "credential_provider"),
    ("retry=3", "retry"),
    ("retry_on_error=TimeoutError", "retry_on_error"),
    ("decode_responses=perhaps", "decode_responses"),
    ("colour=red", "colour"),
    ("protocol=3&protocol=2", "protocol"),
    ("host=elsewhere", "host"),
    ("port=1", "port"),
    ("Password=x", "percent-encoded"),
]
OF_TLS = [
    ("ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs"),
    ("ssl_ca_certs=/nowhere/ca.crt", "ssl_ca_certs"),
    ("ssl_certfile=/nowhere/app.crt&ssl_keyfile=/nowhere/app.key", "ssl_certfile"),
    ("ssl_check_hostname=perhaps", "ssl_check_hostname"),
]
OF_DATABASES = [("db=abc", "db"), ("db=-1", "db"), ("db=1.5", "db")]


def cases() -> list[Any]:
    found = []
    for kind, address in ADDRESSES.items():
        wrong = list(WRONG)
        wrong += OF_TLS if kind.startswith(("rediss", "tls")) else [("ssl_cert_reqs=none", "ssl|TLS")]
        wrong += OF_DATABASES if "cluster" not in kind else [("db=1", "database 0")]
        if "sentinel" in kind:
            wrong += [
                ("sentinel_socket_timeout=-1", "socket_timeout"),
                ("sentinel_colour=red", "colour"),
                ("sentinel_protocol=4", "protocol"),
                ("sentinel_ssl=perhaps", "ssl"),
                ("min_other_sentinels=few", "min_other_sentinels"),
            ]
        if "cluster" in kind:
            wrong += [("require_full_coverage=perhaps", "require_full_coverage"), ("address_remap=x", "address_remap")]
        found += [pytest.param(f"{address}?{query}", text, id=f"{kind}?{query}") for query, text in wrong]
    return found


ADDRESS_CASES = [
    ("redis://localhost/abc", "number of a database"),
    ("redis://localhost/1/2", "number of a database"),
    ("redis://localhost/-1", "number of a database"),
    ("redis://localhost/1?db=2", "two databases"),
    ("redis+sentinel://localhost/mymaster/abc", "number of a database"),
    ("redis+sentinel://localhost/mymaster/1/2", "number of a database"),
    ("redis+cluster://localhost/abc", "number of a database"),
    ("redis://localhost:0", "bad Redis URL"),
    ("redis://localhost:port", "bad Redis URL"),
    ("redis://localhost#x", "percent-encoded"),
    (f"redis://app:{SECRET}#1@localhost", "percent-encoded"),
    (f"redis://{SECRET}#1@localhost", "percent-encoded"),
    (f"redis://app:{SECRET}?1@localhost", "percent-encoded"),
    (f"redis://app?{SECRET}@localhost", "percent-encoded"),
    (f"redis://app:{SECRET}/1@localhost", "percent-encoded"),
    ("redis://one:1,two:2", "several hosts"),
    ("unix://run/redis.sock", "three slashes"),
    ("unix://", "three slashes"),
    ("localhost", "begins with one of"),
    ("rl+proxy://localhost", "begins with one of"),
    (None, "is a str"),
    (b"redis://localhost", "is a str"),
]


def all_of(error: BaseException) -> str:
    """All that is shown of an error, in whatever way, and of what it was made of."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


def refused(limiters: Blocking, url: Any, **options: Any) -> RateLimitError:
    with pytest.raises(ConfigurationError) as caught:
        limiters.from_url(url, **options)
    assert isinstance(caught.value, ArgumentError)
    # The lines of this file are shown, too; the secret stands in none of them that is shown.
    assert SECRET not in all_of(caught.value)
    return caught.value


@pytest.mark.parametrize(("url", "text"), cases())
def test_an_option_that_cannot_be_used_is_refused_by_its_name(limiters: Blocking, url: str, text: str) -> None:
    assert any(part in str(refused(limiters, url)) for part in text.split("|"))


@pytest.mark.parametrize(("url", "text"), ADDRESS_CASES)
def test_an_address_that_is_none_is_refused(limiters: Blocking, url: Any, text: str) -> None:
    assert text in str(refused(limiters, url))


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "options",
    [
        {"colour": "red"},
        {"socket_timeout": -1},
        {"protocol": 4},
        {"client_name": "a b"},
        {"encoding": 7},
    ],
    ids=str,
)
def test_so_are_options_that_are_keywords(limiters: Blocking, address: str, options: dict[str, Any]) -> None:
    [name] = options
    assert name in str(refused(limiters, ADDRESSES[address], **options))


def test_the_secret_is_not_shown_even_if_redis_py_names_it(limiters: Blocking) -> None:
    class Provider(redis.CredentialProvider):
        pass

    for url in (ADDRESSES["redis"], ADDRESSES["sentinel"], ADDRESSES["cluster"]):
        # With both, redis-py knows not what to take.
        assert refused(limiters, url, credential_provider=Provider())


@pytest.mark.parametrize("scheme", ["rl", "async+rl"])
def test_storages_refuse_them_as_limits_does(scheme: str) -> None:
    assert redis_ratelimit.limits
    for query in ("protocol=4", "socket_timeout=-1", "colour=red", "db=x"):
        with pytest.raises(LimitsConfigurationError, match=query.partition("=")[0]) as caught:
            storage_from_string(f"{scheme}://{LOGIN}localhost?{query}")
        shown = all_of(caught.value)
        assert SECRET not in shown


# What redis-py takes goes on working.

TAKEN = [
    "client_name=web",
    "socket_timeout=5",
    "socket_connect_timeout=0.5",
    "health_check_interval=30",
    "protocol=2",
    "protocol=3",
    "max_connections=7",
    "encoding=latin-1",
    "socket_keepalive=yes",
    "decode_responses=True",
    "socket_read_size=4096",
]


@pytest.mark.parametrize("query", TAKEN)
def test_what_redis_py_takes_is_taken(server: Server, limiters: Blocking, query: str) -> None:
    if query.startswith("socket_keepalive"):
        limiters.from_url(f"redis://localhost?{query}")
        return
    limiter = limiters.from_url(f"{server.url}?{query}")
    assert limiter.check("rl:a", "5/m").allowed


def test_options_of_sentinels_and_clusters_have_their_types(start: Any, limiters: Blocking) -> None:
    group = start(Sentinels, sentinels=1, replicas=0)
    query = "min_other_sentinels=0&client_name=web&sentinel_client_name=watch&sentinel_ssl=no&protocol=2"
    assert limiters.from_url(f"{group.url()}?{query}").check("rl:a", "5/m").allowed
    cluster = start(Cluster)
    query = "require_full_coverage=no&reinitialize_steps=3&client_name=web&protocol=2"
    limiter = limiters.from_url(f"{cluster.url()}?{query}")
    assert limiter.check("rl:a", "5/m").allowed
    assert "name=web" in cluster.nodes[0].run("CLIENT LIST")


def test_certificates_are_taken(start: Any, limiters: Blocking, certificates: Certificates) -> None:
    server = start(Server, certificates=certificates)
    for query in ("ssl_check_hostname=no", "ssl_cert_reqs=none", "ssl_cert_reqs=required"):
        assert limiters.from_url(f"{server.tls_url}&{query}").check("rl:a", "5/m").allowed


# One address for two readers


def test_addresses_of_storages_are_addresses_of_limiters(
    start: Any, limiters: Blocking, certificates: Certificates
) -> None:
    server = start(Server, tcp=True, certificates=certificates)
    group = start(Sentinels, sentinels=1, replicas=0)
    cluster = start(Cluster)
    urls = [
        server.url.replace("unix://", "rl+unix://"),
        server.tcp_url.replace("redis://", "rl://"),
        server.tcp_url.replace("redis://", "async+rl://"),
        server.tls_url.replace("rediss://", "rls://"),
        group.url().replace("redis+sentinel://", "rl+sentinel://"),
        cluster.url().replace("redis+cluster://", "rl+cluster://"),
    ]
    for url in urls:
        assert limiters.from_url(url).check("rl:a", "50/m").allowed


def test_the_error_has_a_class_of_its_own() -> None:
    assert issubclass(OptionError, ConfigurationError)
    assert issubclass(OptionError, ArgumentError)
