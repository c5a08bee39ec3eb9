"""Every answer that is no decision, made by a real server: what each policy does with it, the log, and recovery."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from kinds import Blocking
from redis.backoff import NoBackoff
from redis.retry import Retry
from servers import Cluster, Sentinels, Server, eventually

from redis_ratelimit import Decision, UnavailableError, outage

KEY = "rl:a"


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first success ends an outage. `a_failure_now_and_then_is_one_outage` is about the time in between."""
    monkeypatch.setattr(outage, "SETTLED_AFTER", 0.0)


class Failure:
    """A server, the URL to ask it by, and the way to make it fail."""

    def __init__(
        self,
        reason: str,
        breaks: Callable[[Server], AbstractContextManager[None]],
        *lines: str,
        timeout: float = 20,
        call: str = "check",
        url: Callable[[Server], str] = lambda server: server.url,
        or_else: str = "",
        **options: Any,
    ) -> None:
        self.reason = reason
        self.breaks = breaks
        self.lines = lines
        self.timeout = timeout
        self.call = call
        self.url = url
        # By chance, a client may see the end of the connection instead.
        self.reasons = {reason, or_else or reason}
        self.options = options


def configured(name: str, bad: Any, good: Any) -> Callable[[Server], AbstractContextManager[None]]:
    """Fails with one value of a configuration, and works with another."""

    @contextmanager
    def breaks(server: Server) -> Iterator[None]:
        server.admin.config_set(name, bad)
        yield
        server.admin.config_set(name, good)

    return breaks


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    with server.paused():
        yield


@contextmanager
def loading(server: Server) -> Iterator[None]:
    with server.admin.pipeline(transaction=False) as pipeline:
        for number in range(4000):
            pipeline.set(f"filler:{number}", "x" * 2000)
        pipeline.execute()
    server.admin.save()
    server.lines += ["key-load-delay 5000", "loading-process-events-interval-bytes 1024"]
    server.restart()
    yield
    server.admin.config_set("key-load-delay", 0)
    eventually(lambda: server.admin.info("persistence")["loading"] == 0)


@contextmanager
def without_primary(server: Server) -> Iterator[None]:
    """A replica that serves nothing old; what it is asked it may even write."""
    server.admin.config_set("replica-serve-stale-data", "no")
    server.admin.config_set("replica-read-only", "no")
    server.run("REPLICAOF 127.0.0.1 1")
    yield
    server.run("REPLICAOF NO ONE")


@contextmanager
def demoted(server: Server) -> Iterator[None]:
    server.run("REPLICAOF 127.0.0.1 1")
    yield
    server.run("REPLICAOF NO ONE")


@contextmanager
def failed_snapshot(server: Server) -> Iterator[None]:
    gone = server.directory / "gone"
    gone.mkdir()
    server.admin.config_set("dir", str(gone))
    gone.rmdir()
    server.admin.config_set("save", "3600 1")
    server.admin.bgsave()
    eventually(lambda: server.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield
    server.admin.config_set("dir", str(server.directory))
    server.admin.bgsave()
    eventually(lambda: server.admin.info("persistence")["rdb_last_bgsave_status"] == "ok")


@contextmanager
def long_script(server: Server) -> Iterator[None]:
    server.admin.config_set("busy-reply-threshold", 1)
    other = redis.Redis(unix_socket_path=server.socket, socket_timeout=60, retry=Retry(NoBackoff(), 0))

    def run() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            other.eval("while true do end", 0)

    script = threading.Thread(target=run)
    script.start()

    def busy() -> bool:
        try:
            server.admin.get("x")
        except redis.ResponseError as error:
            return "BUSY" in str(error)
        return False

    eventually(busy)
    yield
    server.admin.script_kill()
    script.join()
    other.close()


@contextmanager
def password_wanted(server: Server) -> Iterator[None]:
    server.admin.config_set("requirepass", "secret")
    # Who is connected stays so.
    server.admin.client_kill_filter(skipme=True)
    yield
    server.admin.config_set("requirepass", "")


@contextmanager
def password_changed(server: Server) -> Iterator[None]:
    server.run("ACL SETUSER app resetpass >other")
    server.admin.client_kill_filter(skipme=True)
    yield
    server.run("ACL SETUSER app resetpass >secret")


@contextmanager
def user_disabled(server: Server) -> Iterator[None]:
    server.run("ACL SETUSER app off")
    server.admin.client_kill_filter(skipme=True)
    yield
    server.run("ACL SETUSER app on")


@contextmanager
def command_forbidden(server: Server) -> Iterator[None]:
    server.run("ACL SETUSER app -rl.check")
    yield
    server.run("ACL SETUSER app +rl.check")


@contextmanager
def key_forbidden(server: Server) -> Iterator[None]:
    server.run("ACL SETUSER app resetkeys ~other:*")
    yield
    server.run("ACL SETUSER app ~rl:*")


@contextmanager
def too_many_clients(server: Server) -> Iterator[None]:
    server.admin.client_kill_filter(skipme=True)
    server.admin.config_set("maxclients", 1)
    yield
    server.admin.config_set("maxclients", 100)


@contextmanager
def slot_lost(server: Server) -> Iterator[None]:
    server.run(f"CLUSTER DELSLOTS {_slot('another key')}")
    eventually(lambda: "cluster_state:fail" in server.run("CLUSTER INFO"))
    yield
    server.run(f"CLUSTER ADDSLOTS {_slot('another key')}")
    eventually(lambda: "cluster_state:ok" in server.run("CLUSTER INFO"))


def _slot(key: str) -> int:
    return redis.crc.key_slot(key.encode())


USER = {"user": "~rl:* -@all +rl.check +rl.peek", "url": lambda server: server.user_url}
FAILURES = {
    "killed": Failure("CONNECTION", killed),
    "killed, over TCP": Failure("CONNECTION", killed, tcp=True, url=lambda server: server.tcp_url),
    "hanging": Failure("TIMEOUT", paused, timeout=0.3),
    "loading": Failure("LOADING", loading, "save 3600 1000000"),
    "replica without its primary": Failure("MASTERDOWN", without_primary),
    "replica without its primary, looking": Failure("MASTERDOWN", without_primary, call="peek"),
    "demoted": Failure("READONLY", demoted),
    "full": Failure("OOM", configured("maxmemory", "1", "0")),
    "failed snapshot": Failure("MISCONF", failed_snapshot),
    "no replicas": Failure("NOREPLICAS", configured("min-replicas-to-write", 1, 0)),
    "busy": Failure("BUSY", long_script),
    "password wanted": Failure("NOAUTH", password_wanted),
    "password wanted, RESP2": Failure("NOAUTH", password_wanted, url=lambda server: f"{server.url}?protocol=2"),
    "password changed": Failure("WRONGPASS", password_changed, **USER),
    "user disabled": Failure("WRONGPASS", user_disabled, **USER),
    "command forbidden": Failure("NOPERM", command_forbidden, **USER),
    "key forbidden": Failure("NOPERM", key_forbidden, **USER),
    "too many clients": Failure("MAXCLIENTS", too_many_clients, or_else="CONNECTION"),
    "cluster without a slot": Failure(
        "CLUSTERDOWN", slot_lost, "cluster-enabled yes", tcp=True, url=lambda server: server.tcp_url
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_no_decision_is_left_to_the_policy_and_recovers_by_itself(
    failure: Failure, start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server, *failure.lines, **failure.options)
    if "cluster-enabled yes" in failure.lines:
        server.run("CLUSTER ADDSLOTSRANGE 0 16383")
        eventually(lambda: "cluster_state:ok" in server.run("CLUSTER INFO"))
    raising = limiters.from_url(failure.url(server), timeout=failure.timeout)
    opened, closed = raising.with_policy("open"), raising.with_policy("closed")
    assert raising.check(KEY, "1000/h").remaining == 999

    def ask(limiter: Any) -> Any:
        return limiter.peek(KEY) if failure.call == "peek" else limiter.check(KEY, "1000/h", cost=3)

    with failure.breaks(server):
        # The first, and then connections that are there already, or are not.
        for _ in range(2):
            with pytest.raises(UnavailableError, match="no rate limit decision") as caught:
                ask(raising)
            assert caught.value.reason in failure.reasons
            assert isinstance(caught.value.__cause__, Exception)
        cost, limit = (1, 0) if failure.call == "peek" else (3, 1000)
        for policy, expected in (
            (opened, Decision(cost, limit, max(limit - cost, 0), 0, 0)),
            (closed, Decision(0, limit, 0, 1000, 1000)),
        ):
            answer = ask(policy)
            assert answer.degraded in failure.reasons
            assert replace(answer, degraded=None) == expected
        assert raising.outage == opened.outage == closed.outage
        assert raising.outage in failure.reasons
        # Once for each policy that applied.
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
        for record, policy in zip(caplog.records, ("raise", "open", "closed"), strict=True):
            assert f"policy {policy!r} applies: " in record.message
        assert f"applies: {raising.outage}: " in caplog.records[0].message

    after = eventually(lambda: ask(opened))
    assert after.degraded is None
    assert raising.outage is None
    # Nothing that failed was charged, but what a server that hung may have found when it woke up.
    left = raising.peek(KEY).remaining
    assert left in (996, 999) or failure.reason in ("CONNECTION", "LOADING", "TIMEOUT")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert "works again" in caplog.records[3].message


@pytest.mark.parametrize("call", ["check", "gcra", "mcheck", "peek", "info", "refund", "reset", "top"])
def test_the_policy_answers_only_what_is_a_decision(
    call: str, start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server)
    raising = limiters.from_url(server.url)
    server.kill()
    calls: dict[str, Callable[[Any], Any]] = {
        "check": lambda limiter: limiter.check(KEY, "5/m;3/s"),
        "gcra": lambda limiter: limiter.gcra(KEY, "5/m", burst=3),
        "mcheck": lambda limiter: limiter.mcheck({KEY: "3/m", b"rl:b": "3/h"}),
        "peek": lambda limiter: limiter.peek(KEY),
        "info": lambda limiter: limiter.info(KEY),
        "refund": lambda limiter: limiter.refund(KEY),
        "reset": lambda limiter: limiter.reset(KEY),
        "top": lambda limiter: limiter.top(),
    }
    for policy in ("closed", "open", "raise"):
        limiter = raising.with_policy(policy)
        if policy == "raise" or call in ("info", "refund", "reset", "top"):
            with pytest.raises(UnavailableError):
                calls[call](limiter)
            # The log names what happens, not what would happen to a decision.
            assert "policy 'raise' applies: CONNECTION" in caplog.records[-1].message
            assert len(caplog.records) == (3 if call in ("check", "gcra", "mcheck", "peek") else 1)
            continue
        answer = calls[call](limiter)
        assert answer.degraded == "CONNECTION"
        assert bool(answer) == answer.allowed == (policy == "open")
        if call == "mcheck":
            assert list(answer) == [KEY, b"rl:b"]
            # Nobody knows whether they had room.
            assert answer.refused == ()
            answer = answer.binding
        assert answer.limit == (0 if call == "peek" else 3)


def test_a_failure_now_and_then_is_one_outage(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster in which some keys have no node."""
    settled_after, now = 1.0, 1_000.0
    monkeypatch.setattr(outage, "SETTLED_AFTER", settled_after)
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: now))
    server = start(Server, user="~rl:* -@all +rl.check")
    limiter = limiters.from_url(server.user_url, policy="open")
    for _ in range(5):
        assert limiter.check("other", "5/m").degraded == "NOPERM"
        now += settled_after - 0.1
        assert limiter.check(KEY, "100/m").degraded is None
    assert len(caplog.records) == 1
    now += 0.2
    assert limiter.check(KEY, "100/m").degraded is None
    assert limiter.outage is None
    assert "after 5 failures in 4.7 s" in caplog.records[1].message
    assert len(caplog.records) == 2


@pytest.mark.parametrize("policy", ["raise", "open"])
def test_a_request_whose_answer_was_lost_is_charged_once(policy: Any, start: Any, limiters: Blocking) -> None:
    server = start(Server)
    patient = limiters.from_url(server.url)
    client = limiters.redis.Redis(unix_socket_path=server.socket)
    for limiter in (
        limiters.from_url(server.url, timeout=0.2, policy=policy),
        limiters.of_client(client, timeout=0.2, policy=policy),
    ):
        # Connected, and known to be.
        assert eventually(lambda limiter=limiter: not limiter.with_policy("open").check(KEY, "100/h").degraded)
        patient.reset(KEY)
        patient.check(KEY, "100/h")
        with server.paused():
            if policy == "open":
                assert limiter.check(KEY, "100/h", cost=10).degraded == "TIMEOUT"
            else:
                with pytest.raises(UnavailableError, match="TIMEOUT"):
                    limiter.check(KEY, "100/h", cost=10)
        # The server finds the request in its socket, and carries it out before anything that is sent now.
        assert eventually(lambda: patient.peek(KEY).remaining <= 89)
        assert patient.peek(KEY).remaining == 89


def test_a_client_that_is_used_as_it_is_repeats_as_it_does(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    retry = (redis.asyncio.retry.Retry if limiters.asynchronous else Retry)(NoBackoff(), 2)
    # Without a greeting, which a server that hangs would not answer either.
    plain: dict[str, Any] = {"protocol": 2}
    # What else older releases of redis-py say first is called something else.
    plain |= {"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}
    client = limiters.redis.Redis(unix_socket_path=server.socket, socket_timeout=0.2, retry=retry, **plain)
    limiter = limiters.of_client(client, timeout=None)
    limiter.check(KEY, "100/h")
    with server.paused(), pytest.raises(UnavailableError):
        limiter.check(KEY, "100/h", cost=10)
    assert eventually(lambda: limiters.from_url(server.url).peek(KEY).remaining == 69)


@pytest.mark.parametrize("how", ["hanging", "nobody there"])
def test_giving_up_takes_no_longer_than_the_timeout(how: str, start: Any, limiters: Blocking) -> None:
    server = start(Server, tcp=True)
    limiter = limiters.from_url(server.tcp_url, timeout=0.25, policy="open")
    if how == "nobody there":
        server.kill()
        began = time.monotonic()
        assert limiter.check(KEY, "5/m").degraded == "CONNECTION"
    else:
        with server.paused():
            began = time.monotonic()
            assert limiter.check(KEY, "5/m").degraded == "TIMEOUT"
    # One timeout, and whatever a busy machine needs. By itself redis-py takes ten times five seconds.
    assert time.monotonic() - began < 10


def test_a_demoted_server_is_asked_no_more_when_another_can_be_reached(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection to the old primary stays, a new one leads to the new primary: as with a name that has moved."""
    old, new = start(Server, tcp=True), start(Server, tcp=True)
    address = old.directory / "address"
    address.symlink_to(old.socket)
    limiter = limiters.from_url(f"unix://{address}")
    assert limiter.check(KEY, "10/h").remaining == 9
    old.run(f"REPLICAOF 127.0.0.1 {new.port}")
    address.unlink()
    address.symlink_to(new.socket)
    decision = limiter.check(KEY, "10/h")
    assert (decision.remaining, decision.degraded) == (9, None)
    assert caplog.records == []


def test_a_primary_that_was_demoted_behind_sentinel_costs_no_request(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    group = start(Sentinels, sentinels=1)
    old = group.primary
    limiter = limiters.from_url(group.url())
    assert limiter.check(KEY, "10/h").remaining == 9
    group.replicate()
    group.fail_over()
    # By hand: Sentinel, which does it later, also closes the connections of clients.
    old.run(f"REPLICAOF 127.0.0.1 {group.primary.port}")
    decision = limiter.check(KEY, "10/h")
    assert (decision.remaining, decision.degraded) == (8, None)
    assert caplog.records == []


def test_sentinel_with_its_primary_killed(start: Any, limiters: Blocking) -> None:
    group = start(Sentinels)
    limiter = limiters.from_url(group.url(), policy="open", timeout=2)
    limiter.check(KEY, "1000/h", cost=500)
    before = group.primary
    group.replicate()
    before.kill()
    assert limiter.check(KEY, "1000/h").degraded == "CONNECTION"
    group.wait_for_another(before)
    decision = eventually(lambda: limiter.check(KEY, "1000/h") if not limiter.check(KEY, "1000/h").degraded else None)
    assert 490 <= decision.remaining <= 498
    for sentinel in group.sentinels:
        sentinel.close()
    # Those who are connected need no Sentinel.
    assert limiter.check(KEY, "1000/h").degraded is None
    late = limiters.from_url(group.url(), policy="closed", timeout=2)
    assert late.check(KEY, "1000/h").degraded == "CONNECTION"


def test_a_cluster_that_is_gone_and_comes_back(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster)
    [node] = cluster.nodes
    early = limiters.from_url(cluster.url(), policy="open")
    node.kill()
    # A limiter that has never been connected, and one that has.
    late = limiters.from_url(cluster.url(), policy="open")
    for _ in range(2):
        assert early.check(KEY, "5/m").degraded == "CONNECTION"
        assert late.check(KEY, "5/m").degraded == "CONNECTION"
    node.start()
    eventually(cluster.is_ready)
    for limiter in (early, late):
        assert eventually(lambda limiter=limiter: not limiter.check(KEY, "50/m").degraded)
    node.kill()
    assert late.check(KEY, "5/m").degraded == "CONNECTION"
    node.start()
    eventually(cluster.is_ready)
    assert eventually(lambda: not late.check(KEY, "50/m").degraded)


def test_a_cluster_that_hangs(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster)
    limiter = limiters.from_url(cluster.url(), policy="open", timeout=0.3)
    patient = limiters.from_url(cluster.url())
    limiter.check(KEY, "100/h")
    with cluster.nodes[0].paused():
        assert limiter.check(KEY, "100/h", cost=10).degraded == "TIMEOUT"
    assert eventually(lambda: patient.peek(KEY).remaining <= 89)
    assert patient.peek(KEY).remaining == 89
    assert eventually(lambda: not limiter.check(KEY, "100/h").degraded)


def test_a_cluster_without_a_slot(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster)
    [node] = cluster.nodes
    connected = limiters.from_url(cluster.url(), policy="open")
    connected.check(KEY, "50/m")
    with slot_lost(node):
        fresh = limiters.from_url(cluster.url(), policy="open")
        for limiter in (connected, fresh):
            assert limiter.check(KEY, "50/m").degraded == "CLUSTERDOWN"
    for limiter in (connected, fresh):
        assert eventually(lambda limiter=limiter: not limiter.check(KEY, "50/m").degraded)


def test_a_cluster_that_may_lack_slots_serves_the_others(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, "cluster-require-full-coverage no")
    [node] = cluster.nodes
    node.run(f"CLUSTER DELSLOTS {_slot(KEY)}")
    limiter = limiters.from_url(cluster.url(), policy="open", require_full_coverage=False)
    assert limiter.check("rl:other", "5/m").degraded is None
    assert limiter.check(KEY, "5/m").degraded == "CLUSTERDOWN"
    node.run(f"CLUSTER ADDSLOTS {_slot(KEY)}")
    assert eventually(lambda: not limiter.check(KEY, "50/m").degraded)


def test_keys_of_one_call_that_are_on_their_way_to_another_node(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, nodes=3)
    both = {"{ann}:a": "5/m", "{ann}:b": "5/m"}
    source = cluster.owner("{ann}:a")
    target = next(node for node in cluster.nodes if node is not source)
    limiter = limiters.from_url(cluster.url(), policy="open")
    assert limiter.mcheck(both).degraded is None
    ids = {node: node.run("CLUSTER MYID") for node in cluster.nodes}
    target.run(f"CLUSTER SETSLOT {_slot('{ann}')} IMPORTING {ids[source]}")
    source.run(f"CLUSTER SETSLOT {_slot('{ann}')} MIGRATING {ids[target]}")
    source.run(f"MIGRATE 127.0.0.1 {target.port} {{ann}}:a 0 20000")
    assert limiter.mcheck(both).degraded == "TRYAGAIN"
    source.run(f"MIGRATE 127.0.0.1 {target.port} {{ann}}:b 0 20000")
    for node in (target, source):
        node.run(f"CLUSTER SETSLOT {_slot('{ann}')} NODE {ids[target]}")
    decisions = eventually(lambda: limiter.mcheck(both) if limiter.mcheck(both).degraded is None else None)
    assert decisions["{ann}:a"].remaining <= 3


def test_a_connection_that_the_server_has_closed_meanwhile_costs_no_request(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the server's `timeout`, or a restart between two requests."""
    server = start(Server, tcp=True)
    for url in (server.url, server.tcp_url):
        limiter = limiters.from_url(url)
        limiter.check(KEY, "5/m")
        server.admin.client_kill_filter(skipme=True)
        limiters.hear()
        assert limiter.check(KEY, "5/m").degraded is None
        server.restart()
        assert limiter.check(KEY, "5/m").remaining == 4
    assert caplog.records == []
