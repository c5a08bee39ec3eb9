"""Every way to a server: URLs and clients, TLS, passwords, users who may do nothing else, Sentinel, cluster."""

from typing import Any
from urllib.parse import quote

import pytest
import redis
from kinds import Blocking
from servers import (
    CLUSTER_DISCOVERY,
    RATE_LIMIT_ONLY,
    Certificates,
    Cluster,
    Sentinels,
    Server,
    eventually,
)

from redis_ratelimit import ArgumentError, ConfigurationError, CrossSlotError, UnavailableError, key


def works(limiter: Any, key: str = "rl:works") -> bool:
    """Whether it decides, for all that a user with RATE_LIMIT_ONLY may do."""
    limiter.reset(key)
    assert limiter.check(key, "2/h").remaining == 1
    assert limiter.mcheck({key: "2/h"}).allowed
    assert not limiter.check(key, "2/h")
    assert limiter.peek(key).retry_after > 3500
    assert limiter.info(key).windows[0].used == 2
    assert limiter.refund(key).granted == 1
    assert limiter.gcra(key + "2", "2/h").limit == 2
    assert limiter.reset(key) == 1
    return True


# One server


def test_a_password_a_user_and_a_database_from_a_url(start: Any, limiters: Blocking) -> None:
    password = "p@ss/w:rd %41?#"
    server = start(Server, tcp=True, user=RATE_LIMIT_ONLY)
    server.admin.acl_setuser("other", enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"])
    for address in (f"127.0.0.1:{server.port}/3", f"{server.socket}?db=3"):
        scheme = "unix" if "?" in address else "redis"
        limiter = limiters.from_url(f"{scheme}://other:{quote(password, safe='')}@{address}")
        assert works(limiter)
        assert limiter.check("rl:in3", "5/m").allowed
    assert server.admin.info("keyspace")["db3"]["keys"] == 2
    assert works(limiters.from_url(f"redis://app:secret@127.0.0.1:{server.port}"))


def test_a_user_who_may_do_nothing_else(start: Any, limiters: Blocking) -> None:
    server = start(Server, password="admin", user=RATE_LIMIT_ONLY)
    for protocol in (2, 3, None):
        options = {} if protocol is None else {"protocol": protocol}
        assert works(limiters.from_url(server.user_url, **options))
    limiter = limiters.from_url(server.user_url)
    named = limiters.from_url(server.user_url, client_name="mine")
    for forbidden in (lambda: limiter.check("other", "5/m"), limiter.top, lambda: named.check("rl:a", "5/m")):
        with pytest.raises(UnavailableError, match="permission") as caught:
            forbidden()
        assert caught.value.reason == "NOPERM"


def test_tls(start: Any, limiters: Blocking, certificates: Certificates) -> None:
    server = start(Server, certificates=certificates, password="secret")
    assert works(limiters.from_url(server.tls_url))
    options = {"ssl": True, "ssl_ca_certs": certificates.authority, "password": "secret"}
    assert works(limiters.of_client(limiters.redis.Redis(port=server.tls_port, **options)))
    # Whose authority is not known is not talked to.
    with pytest.raises(UnavailableError, match="certificate") as caught:
        limiters.from_url(f"rediss://:secret@127.0.0.1:{server.tls_port}").check("rl:a", "5/m")
    assert caught.value.reason == "CONNECTION"


def test_a_limiter_takes_over_the_settings_of_a_client(start: Any, limiters: Blocking) -> None:
    server = start(Server, password="admin", user=f"{RATE_LIMIT_ONLY} +client|setname +select")
    client = limiters.redis.Redis(
        unix_socket_path=server.socket, username="app", password="secret", client_name="settings", db=2
    )
    limiter = limiters.of_client(client)
    assert works(limiter)
    line = next(line for line in server.run("CLIENT LIST").splitlines() if "name=settings" in line)
    assert " db=2 " in line
    assert " user=app " in line
    pool = limiters.redis.BlockingConnectionPool.from_url(server.user_url, max_connections=1, timeout=1)
    assert works(limiters.of_client(limiters.redis.Redis(connection_pool=pool)))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "begins with one of redis://"),
        ("localhost:6379", "begins with one of redis://"),
        ("http://localhost", "begins with one of redis://"),
        ("unix+cluster:///tmp/x", "begins with one of redis://"),
        ("redis+proxy://localhost", "begins with one of redis://"),
        ("redis://localhost?socket_timeout=soon", "socket_timeout"),
        ("redis://localhost:port", "bad Redis URL"),
        ("redis://[::1", "bad Redis URL"),
        ("redis+sentinel://localhost:26379", "names the service"),
        ("redis+sentinel:///mymaster", "one or more hosts"),
        ("redis+cluster://a:1,,b:2", "one or more hosts"),
        ("redis+cluster://localhost:99999", "bad Redis URL"),
        ("redis+cluster://localhost/1", "only database 0"),
        ("redis://localhost?colour=red", "colour"),
        ("redis+sentinel://localhost/mymaster?colour=red", "colour"),
        ("redis://user:hidden#1@localhost", "percent-encoded"),
        ("redis+cluster://user:hidden?1@localhost", "percent-encoded"),
    ],
)
def test_a_bad_url_says_what_is_wrong_and_not_the_password(limiters: Blocking, url: str, text: str) -> None:
    with pytest.raises(ArgumentError, match=text) as caught:
        limiters.from_url(url.replace("://l", "://:hidden@l"))
    assert "hidden" not in str(caught.value)


# Sentinel


def test_sentinel(start: Any, limiters: Blocking) -> None:
    group = start(Sentinels, password="admin", user=RATE_LIMIT_ONLY, sentinel_password="watch")
    limiter = limiters.from_url(group.url(user="app:secret"))
    assert works(limiter)

    manager = (redis.asyncio.sentinel if limiters.asynchronous else redis.sentinel).Sentinel(
        [("127.0.0.1", sentinel.port) for sentinel in group.sentinels], sentinel_kwargs={"password": "watch"}
    )
    of_client = limiters.of_client(manager.master_for("mymaster", username="app", password="secret"))
    assert works(of_client)

    limiter.check("rl:kept", "10/h", cost=4)
    group.replicate()
    group.fail_over()
    for one in (limiter, of_client):
        # The old primary may be asked until it has told its clients to go.
        assert eventually(lambda one=one: one.check("rl:kept", "10/h")).remaining in (4, 5)
        assert works(one)

    wrong = limiters.from_url(group.url(user="app:secret").replace("/mymaster/", "/yours/"))
    with pytest.raises(UnavailableError, match="yours"):
        wrong.check("rl:a", "5/m")


def test_sentinel_over_tls(start: Any, limiters: Blocking, certificates: Certificates) -> None:
    group = start(Sentinels, sentinels=1, replicas=0, certificates=certificates)
    assert works(limiters.from_url(group.url()))
    manager = (redis.asyncio.sentinel if limiters.asynchronous else redis.sentinel).Sentinel(
        [("127.0.0.1", group.sentinels[0].port)],
        sentinel_kwargs={"ssl": True, "ssl_ca_certs": certificates.authority},
        ssl=True,
        ssl_ca_certs=certificates.authority,
    )
    assert works(limiters.of_client(manager.master_for("mymaster")))


# Cluster


def test_a_cluster(cluster: Cluster, limiters: Blocking) -> None:
    first = cluster.nodes[0]
    made = [limiters.from_url(cluster.url()), limiters.from_url(f"redis+cluster://127.0.0.1:{first.port}")]
    client = limiters.redis.RedisCluster(host="127.0.0.1", port=first.port, decode_responses=True)
    made += [limiters.of_client(client), limiters.of_client(client, timeout=None)]
    for limiter in made:
        # Keys of all nodes.
        for index in range(12):
            assert works(limiter, f"rl:{index}")
    limiters.run(client.aclose() if limiters.asynchronous else client.close())


def test_several_keys_in_a_cluster_share_a_slot_or_it_is_an_error_that_says_so(
    cluster: Cluster, limiters: Blocking
) -> None:
    limiter = limiters.from_url(cluster.url(), policy="open")
    for tag in ("ann", "bob", "eve", "mallory"):
        both = {key("ip", "192.0.2.1", tag=tag): "5/m", key("mail", tag, tag=tag): "1/h"}
        assert limiter.mcheck(both).allowed
        assert limiter.mcheck(both).refused == (key("mail", tag, tag=tag),)
        assert limiter.reset(*both) == 2
    with pytest.raises(CrossSlotError, match="hash tag"):
        limiter.mcheck({"rl:a": "5/m", "rl:b": "5/m"})
    with pytest.raises(CrossSlotError, match="hash tag"):
        limiter.reset("rl:a", "rl:b")


def test_top_of_a_cluster_is_that_of_all_primaries(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, nodes=3)
    limiter = limiters.from_url(cluster.url())
    keys = [next(f"rl:{n}" for n in range(1000) if cluster.owner(f"rl:{n}") is node) for node in cluster.nodes]
    for times, name in enumerate(keys, start=1):
        for _ in range(times + 1):
            limiter.check(name, "1/h")
    assert [(entry.name, entry.denials) for entry in limiter.top()] == [(keys[2], 3), (keys[1], 2), (keys[0], 1)]
    assert len(limiter.top(2)) == 2


def test_a_cluster_with_a_user_who_may_do_nothing_else(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, password="admin", user=f"{RATE_LIMIT_ONLY} {CLUSTER_DISCOVERY}")
    assert works(limiters.from_url(cluster.url(user="app:secret")))


def test_a_cluster_over_tls(start: Any, limiters: Blocking, certificates: Certificates) -> None:
    cluster = start(Cluster, nodes=3, certificates=certificates)
    assert works(limiters.from_url(cluster.url()))
    node = cluster.nodes[0]
    client = limiters.redis.RedisCluster(
        host="127.0.0.1", port=node.tls_port, ssl=True, ssl_ca_certs=certificates.authority
    )
    assert works(limiters.of_client(client))
    limiters.run(client.aclose() if limiters.asynchronous else client.close())


def test_keys_that_move_are_followed(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, nodes=3)
    limiter = limiters.from_url(cluster.url())
    name = "rl:moving"
    limiter.check(name, "10/h")
    limiter.mcheck({name: "10/h"})
    slot = redis.crc.key_slot(name.encode())
    source = cluster.owner(name)
    target = next(node for node in cluster.nodes if node is not source)
    ids = {node: node.run("CLUSTER MYID") for node in cluster.nodes}
    target.run(f"CLUSTER SETSLOT {slot} IMPORTING {ids[source]}")
    source.run(f"CLUSTER SETSLOT {slot} MIGRATING {ids[target]}")
    source.run(f"MIGRATE 127.0.0.1 {target.port} {name} 0 20000")
    # ASK
    assert limiter.check(name, "10/h").remaining == 7
    assert limiter.mcheck({name: "10/h"})[name].remaining == 6
    for node in (target, source):
        node.run(f"CLUSTER SETSLOT {slot} NODE {ids[target]}")
    # MOVED
    assert limiter.mcheck({name: "10/h"})[name].remaining == 5
    assert limiter.check(name, "10/h").remaining == 4
    eventually(lambda: all(ids[target] in node.run("CLUSTER NODES") for node in cluster.nodes))


def test_a_client_for_one_server_on_a_cluster_and_the_reverse_say_what_to_use(
    cluster: Cluster, start: Any, limiters: Blocking
) -> None:
    node = cluster.nodes[0]
    elsewhere = next(f"rl:{n}" for n in range(100) if cluster.owner(f"rl:{n}") is not node)
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        limiters.from_url(node.tcp_url, policy="open").check(elsewhere, "5/m")
    server = start(Server, tcp=True)
    with pytest.raises(ConfigurationError, match="redis://"):
        limiters.from_url(f"redis+cluster://127.0.0.1:{server.port}", policy="open").check("rl:a", "5/m")
