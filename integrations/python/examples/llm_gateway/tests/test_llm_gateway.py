"""The gateway under uvicorn with several workers, before an upstream of ours, over HTTP."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from servers import Cluster, Server, eventually
from serving import PATIENT, AsyncSite, at_once, in_thread, loaded, unmet_requirements

import redis_ratelimit

FOLDER = Path(__file__).parent.parent
# The answer has to come; the machine is busy.
PATIENCE = "?socket_timeout=20&socket_connect_timeout=20"
# Two users in one team, of whom one has two keys, and one in another team.
CALLERS = ["red/ann/laptop", "red/ann/server", "red/bob/bob", "blue/eve/eve"]
# No window ends while the tests run.
WIDE = "1000000/h"
SETTINGS = {
    f"{level}_{kind}": wide
    for level in ("KEY", "USER", "TEAM")
    for kind, wide in (("REQUESTS", WIDE), ("TOKENS", WIDE), ("IN_FLIGHT", "1000"))
}


upstream = loaded(FOLDER / "upstream.py")


@dataclass
class Gateway:
    """A gateway, its upstream and its Redis."""

    client: httpx.Client
    upstream: Any
    limiter: redis_ratelimit.RateLimiter

    def ask(self, caller: str = CALLERS[0], **fields: Any) -> httpx.Response:
        return self.client.post("/v1/chat/completions", json=body(caller, **fields), headers=key_of(caller))

    @contextmanager
    def stream(self, caller: str = CALLERS[0], **fields: Any) -> Iterator[httpx.Response]:
        found = body(caller, **{"stream": True, **fields})
        with self.client.stream("POST", "/v1/chat/completions", json=found, headers=key_of(caller)) as response:
            yield response

    def used(self, kind: str) -> dict[str, int]:
        """What is in use, by ``team/user/key`` and what that is part of."""
        found: dict[str, int] = {}
        for caller in CALLERS:
            team, user, key = caller.split("/")
            for level, name, whose in (("team", team, team), ("user", user, f"{team}/{user}"), ("key", key, caller)):
                info = self.limiter.info(redis_ratelimit.key("llm", level, name, kind, tag=team))
                if info is not None and info.windows[0].used:
                    found[whose] = info.windows[0].used
        return found


def key_of(caller: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{caller}"}


def body(caller: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Say some words."}]
    return {"model": "answers", "messages": messages, "max_tokens": 20, "user": caller, **fields}


def reserved(request: dict[str, Any]) -> int:
    """What the gateway reserves: the bytes of the request, as httpx writes it, and the longest answer."""
    most: int = request["max_tokens"] * request.get("n", 1)
    return len(httpx.Request("POST", "http://upstream", json=request).content) + most


def events(text: str) -> list[Any]:
    found = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [data if data == "[DONE]" else json.loads(data) for data in found]


@contextmanager
def gateway(redis_url: str, tmp_path: Path, *, workers: int = 1, admin: str = "", **settings: str) -> Iterator[Gateway]:
    """Start one. `admin` is the URL of a user who may look at what is in use, if that one may not."""
    keys = tmp_path / "keys.json"
    rows = [dict(zip(("team", "user", "name"), caller.split("/"), strict=True)) for caller in CALLERS]
    keys.write_text(json.dumps([{"key": f"sk-{caller}", **row} for caller, row in zip(CALLERS, rows, strict=True)]))
    found = upstream.Upstream()
    with in_thread(upstream.create_app(found)) as url:
        environment = {
            **SETTINGS,
            "REDIS_URL": redis_url + PATIENCE,
            "UPSTREAM_URL": f"{url}/v1",
            "UPSTREAM_KEY": "sk-upstream",
            "KEYS": str(keys),
            **settings,
        }
        site = AsyncSite(FOLDER, "gateway:create_app", environment, "--factory", ready="/health/", workers=workers)
        try:
            with (
                site,
                site.client() as client,
                redis_ratelimit.RateLimiter.from_url(admin or redis_url, timeout=20) as limiter,
            ):
                yield Gateway(client, found, limiter)
        finally:
            found.go_on.set()


@pytest.fixture(scope="module")
def shared_gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(shared_server.url, tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
def wide(server: Server, shared_gateway: Gateway) -> Gateway:
    """A gateway whose limits nobody reaches."""
    shared_gateway.upstream.begin_anew()
    return shared_gateway


def test_what_is_used_is_charged_and_the_rest_given_back(wide: Gateway) -> None:
    response = wide.ask(seed=6)
    assert response.status_code == 200
    usage = response.json()["usage"]
    assert usage == {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22}
    everybody = ["red", "red/ann", "red/ann/laptop"]
    assert wide.used("tokens") == dict.fromkeys(everybody, 22)
    assert wide.used("requests") == dict.fromkeys(everybody, 1)
    assert wide.used("in-flight") == {}

    # As much as was reserved is refused by nobody, and one token more is charged to nobody.
    assert response.headers["x-ratelimit-limit-tokens"] == response.headers["x-ratelimit-limit-requests"] == "1000000"
    assert response.headers["x-ratelimit-remaining-requests"] == "999999"
    assert int(response.headers["x-ratelimit-remaining-tokens"]) == 1_000_000 - reserved(body(CALLERS[0], seed=6))
    assert response.headers["x-ratelimit-reset-tokens"] == "1h0m0s"


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_is_settled_from_its_usage(include_usage: bool, wide: Gateway) -> None:
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    with wide.stream(seed=2, **options) as response:
        found = events(response.read().decode())
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-ratelimit-remaining-requests"] == "999999"
    words = [event for event in found[:-1] if event["choices"]]
    assert len(words) == 3
    assert found[-1] == "[DONE]"
    # Of the upstream the gateway asks for it in any case.
    assert [event["usage"]["total_tokens"] for event in found[:-1] if event.get("usage")] == [18] * include_usage
    # Settled before the client has seen the end.
    assert set(wide.used("tokens").values()) == {18}
    assert wide.used("in-flight") == {}


def test_who_leaves_in_mid_stream_is_charged_what_was_used(wide: Gateway) -> None:
    with wide.stream(model="waits", seed=4) as response:
        next(response.iter_bytes())
        assert set(wide.used("in-flight").values()) == {1}
    # The client is away; the upstream works on.
    assert set(wide.used("in-flight").values()) == {1}
    wide.upstream.go_on.set()
    eventually(lambda: wide.used("in-flight") == {}, seconds=PATIENT)
    assert set(wide.used("tokens").values()) == {20}
    assert wide.upstream.tokens["red"] == 20


def test_what_goes_on_when_the_gateway_ends_leaves_nothing_in_flight(server: Server, tmp_path: Path) -> None:
    with gateway(server.url, tmp_path) as found, found.stream(model="waits") as response:
        next(response.iter_bytes())
        assert set(found.used("in-flight").values()) == {1}
    # The gateway has ended before the upstream has.
    assert found.used("in-flight") == {}
    assert set(found.used("tokens").values()) == {reserved(body(CALLERS[0], model="waits", stream=True))}


@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_that_refuses_has_used_no_tokens(stream: bool, wide: Gateway) -> None:
    response = wide.ask(model="fails", stream=stream)
    assert (response.status_code, response.json()["error"]["message"]) == (503, "overloaded")
    assert response.headers["retry-after"] == "3"
    assert set(wide.used("requests").values()) == {1}
    assert wide.used("tokens") == wide.used("in-flight") == {}


@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_that_breaks_off_may_have_used_everything(stream: bool, wide: Gateway) -> None:
    response = wide.ask(model="breaks", stream=stream)
    if stream:
        [word, error] = events(response.text)
        assert word["choices"]
        assert error["error"]["message"] == "the upstream has failed"
    else:
        assert (response.status_code, response.json()["error"]["type"]) == (502, "server_error")
    assert set(wide.used("tokens").values()) == {reserved(body(CALLERS[0], model="breaks", stream=stream))}
    assert wide.used("in-flight") == {}


def test_an_upstream_that_is_not_there_costs_nothing(server: Server, tmp_path: Path) -> None:
    with gateway(server.url, tmp_path, UPSTREAM_URL="http://127.0.0.1:1/v1") as found:
        response = found.ask()
        assert (response.status_code, response.json()["error"]["message"]) == (502, "the upstream cannot be reached")
        assert found.used("requests") == found.used("tokens") == found.used("in-flight") == {}


def test_an_upstream_that_takes_too_long_may_have_used_everything(server: Server, tmp_path: Path) -> None:
    with gateway(server.url, tmp_path, UPSTREAM_TIMEOUT="0.2") as found:
        response = found.ask(model="waits")
        assert (response.status_code, response.json()["error"]["message"]) == (504, "the upstream takes too long")
        assert set(found.used("tokens").values()) == {reserved(body(CALLERS[0], model="waits"))}
        assert found.used("in-flight") == {}


def test_who_is_refused_is_told_by_which_limit_and_how_long(server: Server, tmp_path: Path) -> None:
    with gateway(server.url, tmp_path, KEY_REQUESTS="2/h", USER_TOKENS="500/h") as found:
        for _ in range(2):
            assert found.ask(seed=0).status_code == 200
        response = found.ask()
        assert response.status_code == 429
        error = response.json()["error"]
        told = r"Rate limit reached for key laptop on requests: Limit 2/1h, requested 1\. Please try again in \S+s\."
        assert re.fullmatch(told, error.pop("message"))
        assert error == {"type": "requests", "param": None, "code": "rate_limit_exceeded"}
        milliseconds = int(response.headers["retry-after-ms"])
        assert 3_400_000 < milliseconds <= 3_600_000
        assert int(response.headers["retry-after"]) == math.ceil(milliseconds / 1000)
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        # Two have used 16 tokens each.
        assert response.headers["x-ratelimit-remaining-tokens"] == "468"

        # The user's other key may still ask, and is told about tokens.
        response = found.ask(CALLERS[1], max_tokens=400)
        assert (response.status_code, response.json()["error"]["type"]) == (429, "tokens")
        assert "for user ann on tokens: Limit 500/1h, requested 5" in response.json()["error"]["message"]

        # What is more than the limit is never granted.
        response = found.ask(CALLERS[1], max_tokens=500)
        assert response.status_code == 429
        assert response.json()["error"]["message"].startswith("Request too large for user ann on tokens: Limit 500/1h")
        # OpenAI's clients would repeat it else.
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers
        # Nothing was charged for what was refused.
        assert found.used("requests") == {"red": 2, "red/ann": 2, "red/ann/laptop": 2}
        assert found.upstream.requests["red"] == 2


def test_as_many_as_may_are_in_flight(server: Server, tmp_path: Path) -> None:
    with (
        gateway(server.url, tmp_path, workers=2, USER_IN_FLIGHT="3", TEAM_IN_FLIGHT="4") as found,
        ThreadPoolExecutor(5) as threads,
    ):
        first = [threads.submit(found.ask, caller, model="waits") for caller in [*CALLERS[:2], CALLERS[0]]]
        eventually(lambda: found.upstream.in_flight["red/ann"] == 3, seconds=PATIENT)
        response = found.ask(CALLERS[1])
        assert response.status_code == 429
        assert response.json()["error"]["message"].startswith("Rate limit reached for user ann on in flight: Limit 3/")
        # The lease lasts for ten minutes, but a place is free as soon as one of the requests ends.
        assert response.headers["retry-after"] == "1"
        first.append(threads.submit(found.ask, CALLERS[2], model="waits"))
        eventually(lambda: found.upstream.in_flight["red"] == 4, seconds=PATIENT)
        assert "team red on in flight" in found.ask(CALLERS[2]).json()["error"]["message"]
        # Another team is not in the way.
        assert found.ask(CALLERS[3]).status_code == 200
        assert found.used("in-flight")["red"] == 4
        found.upstream.go_on.set()
        assert {future.result().status_code for future in first} == {200}
        assert found.used("in-flight") == {}
        assert found.ask(CALLERS[1]).status_code == 200


def test_a_request_that_takes_longer_than_the_lease_renews_it(server: Server, tmp_path: Path) -> None:
    with gateway(server.url, tmp_path, LEASE="3s") as found, ThreadPoolExecutor(1) as threads:
        long = threads.submit(found.ask, model="waits")
        eventually(lambda: found.upstream.in_flight["red"] == 1, seconds=PATIENT)
        left = [time_left(found)]

        def renewed() -> bool:
            left.append(time_left(found))
            return left[-1] > left[-2]

        eventually(renewed, seconds=PATIENT)
        found.upstream.go_on.set()
        assert long.result().status_code == 200
        assert found.used("in-flight") == {}


def time_left(found: Gateway) -> int:
    decision = found.limiter.peek(redis_ratelimit.key("llm", "key", "laptop", "in-flight", tag="red"))
    return 0 if decision is None else decision.reset_after_ms


REQUESTS, TOKENS, IN_FLIGHT = 30, 2500, 5


def test_no_limit_is_exceeded_and_nothing_leaks(start: Callable[..., Any], tmp_path: Path) -> None:
    """Many clients at once, of whom some leave, before an upstream that fails at times. As a user with few rights."""
    rights = "~rl:* -@all +ping +select +client|setname +rl.mcheck +rl.check +rl.refund"
    assert f">secret {rights}\n" in (FOLDER / "README.md").read_text()
    server = start(Server, user=rights)
    limits = {"KEY_REQUESTS": f"{REQUESTS}/h", "USER_TOKENS": f"{TOKENS}/h", "TEAM_IN_FLIGHT": str(IN_FLIGHT)}
    seed = Random().randrange(1 << 32)
    print("SEED", seed)
    refused: Counter[str] = Counter()
    # What was charged though it was not used, for nobody knew what was.
    kept: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(found: Gateway, caller: str, kind: str, fields: dict[str, Any]) -> str | None:
        """Return what refused it."""
        if kind == "asks":
            response = found.ask(caller, **fields)
        else:
            with found.stream(caller, **fields) as response:
                if kind == "leaves" and response.status_code == 200:
                    next(response.iter_bytes())
                else:
                    response.read()
        with lock:
            if response.status_code == 429:
                by = str(re.search(r" on ([a-z ]+): Limit", response.text)[1])  # type: ignore[index]
                refused[by] += 1
                return by
            if fields["model"] == "breaks":
                request = body(caller, **fields, **({} if kind == "asks" else {"stream": True}))
                used = 15 + 1 + fields["seed"] % fields["max_tokens"]
                kept.update(dict.fromkeys(parts(caller), reserved(request) - used))
        return None

    def client(found: Gateway, number: int) -> None:
        random = Random(seed + number)
        caller = CALLERS[number % len(CALLERS)]
        # Those of one user are so wasteful that tokens end first, those of the others that requests do.
        models = ["answers", "answers", "fails", "breaks"] if "ann" in caller else ["answers", "answers", "fails"]
        # All at once, and none ends before all have asked: of one team more than may be in flight.
        ask(found, caller, "asks", {"model": "waits", "max_tokens": 5, "seed": 0})
        assert found.upstream.go_on.wait(PATIENT)
        patience = 3
        while patience:
            kind = random.choice(["asks", "streams", "leaves"])
            max_tokens = random.choice([5, 30, 60])
            fields = {"model": random.choice(models), "max_tokens": max_tokens, "seed": random.randrange(60)}
            by = ask(found, caller, kind, fields)
            if by == "in flight":
                time.sleep(0.01)
            elif by is not None:
                patience -= 1

    with (
        gateway(server.user_url, tmp_path, workers=2, admin=server.url, **limits) as found,
        ThreadPoolExecutor(1) as threads,
    ):
        made = found.upstream
        all_clients = threads.submit(at_once, 16, lambda number: client(found, number))
        eventually(
            lambda: (made.in_flight["red"], made.in_flight["blue"], refused.total()) == (5, 4, 7), seconds=PATIENT
        )
        made.go_on.set()
        all_clients.result()
        eventually(lambda: found.used("in-flight") == {}, seconds=PATIENT)
        print(f"refused {dict(refused)}, requests {dict(made.requests)}, tokens {dict(made.tokens)}")

        # All limits were reached, and none was exceeded: the upstream has seen it all.
        assert set(refused) == {"requests", "tokens", "in flight"}
        for caller in CALLERS:
            team, user, _ = parts(caller)
            assert made.requests[caller] <= REQUESTS
            assert made.tokens[user] <= TOKENS
            assert made.most_in_flight[team] <= IN_FLIGHT
        assert made.requests["blue/eve/eve"] == REQUESTS
        assert made.most_in_flight["red"] == IN_FLIGHT
        # What is charged is what was used, to the token, and what broke off as it was reserved.
        assert Counter(found.used("requests")) == made.requests
        assert Counter(found.used("tokens")) == made.tokens + kept
        assert made.in_flight.total() == 0


def parts(caller: str) -> list[str]:
    parts = caller.split("/")
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages": [{"role": "user", "content": NaN}]}',
        b'{"messages": ["text"]}',
        b'{"messages": [], "max_tokens": 0}',
        b'{"messages": [], "max_tokens": "9"}',
        b'{"messages": [], "n": true}',
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}',
        b'{"messages": [], "web_search_options": {}}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_estimated_is_refused(wrong: bytes, wide: Gateway) -> None:
    response = wide.client.post("/v1/chat/completions", content=wrong, headers=key_of(CALLERS[0]))
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert wide.used("requests") == {}


def test_words_are_counted_in_bytes(wide: Gateway) -> None:
    """What takes few letters may take many tokens."""
    messages = [{"role": "user", "content": "\u4e16" * 100}]
    assert wide.ask(messages=messages, seed=0).json()["usage"]["prompt_tokens"] == 300
    response = wide.ask(messages=messages, seed=0)
    left = 1_000_000 - 301 - reserved(body(CALLERS[0], messages=messages, seed=0))
    assert response.headers["x-ratelimit-remaining-tokens"] == str(left)


def test_who_does_not_say_how_long_an_answer_may_be_gets_a_default(wide: Gateway) -> None:
    request = {"model": "answers", "messages": [], "user": CALLERS[0]}
    response = wide.client.post("/v1/chat/completions", json=request, headers=key_of(CALLERS[0]))
    # The upstream was told it, or nothing would keep it to that.
    assert response.json()["usage"]["total_tokens"] == 1024


@pytest.mark.parametrize("key", [None, "Bearer sk-invented", "Basic sk-red/ann/laptop"])
def test_only_who_has_a_key_may_ask(key: str | None, wide: Gateway) -> None:
    headers = {} if key is None else {"Authorization": key}
    response = wide.client.post("/v1/chat/completions", json=body(CALLERS[0]), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(("policy", "meanwhile"), [("closed", 503), ("open", 200)])
def test_while_redis_is_away(policy: str, meanwhile: int, start: Callable[..., Any], tmp_path: Path) -> None:
    server = start(Server)
    with gateway(server.url, tmp_path, RATELIMIT_POLICY=policy) as found:
        assert found.ask(seed=0).status_code == 200
        server.kill()
        response = found.ask(seed=0)
        assert response.status_code == meanwhile
        assert "x-ratelimit-remaining-tokens" not in response.headers
        if meanwhile == 503:
            assert response.json()["error"]["type"] == "server_error"
            assert response.headers["retry-after"] == "1"
        server.start()
        assert found.ask(seed=0).status_code == 200
        assert found.used("requests")["red"] == 1
        assert found.used("tokens")["red"] == 16
        assert found.used("in-flight") == {}


def test_all_keys_of_a_request_lie_in_one_slot_of_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    with gateway(cluster.url(), tmp_path) as found:
        for caller in CALLERS:
            assert found.ask(caller, seed=1).status_code == 200
        assert found.used("tokens")["red"] == 3 * 17
        assert found.used("tokens")["blue/eve/eve"] == 17
        assert found.used("in-flight") == {}


def test_the_requirements_are_met_by_what_is_tested() -> None:
    assert unmet_requirements(FOLDER) == []
