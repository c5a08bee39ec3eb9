"""The hook in LiteLLM's own proxy, which has an environment of its own: the variable LITELLM is its directory."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from kinds import PATIENCE
from servers import Server, eventually, free_ports
from serving import at_once, in_thread, loaded

import redis_ratelimit

PACKAGE = Path(__file__).parent.parent
upstream = loaded(PACKAGE / "examples/llm_gateway/upstream.py")
LITELLM = os.environ.get("LITELLM", "")
# Seconds in which a busy machine answers. The proxy alone takes many to start.
PATIENT = 300.0

CONFIG = """
model_list:
  - {model_name: answers, litellm_params: {model: openai/x, api_key: none, mock_response: Some words.}}
  - {model_name: refuses, litellm_params: {model: openai/x, api_key: none, mock_response: litellm.RateLimitError}}
  - {model_name: falls, litellm_params: {model: openai/x, api_key: none, mock_response: litellm.InternalServerError}}
  - {model_name: waits, litellm_params: {model: openai/waits, api_key: none, api_base: UPSTREAM}}
  - {model_name: breaks, litellm_params: {model: openai/breaks, api_key: none, api_base: UPSTREAM}}
router_settings: {num_retries: 1, fallbacks: [{falls: [answers]}]}
litellm_settings: {callbacks: [limits.limits, limits.refuses]}
general_settings: {custom_auth: limits.who}
"""

HOOKS = """
import json, os
import litellm
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth
from redis_ratelimit.litellm import ProxyLimits

# No window ends while the test runs.
limits = ProxyLimits.from_url(os.environ["REDIS_URL"], window="1h")

async def who(request, api_key):
    # Instead of a database: the key says what there would be in it.
    return UserAPIKeyAuth(api_key=api_key, **json.loads(bytes.fromhex(api_key.removeprefix("sk-"))))

class Refuses(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        if data.get("user") == "refused":
            raise HTTPException(403, "refused")
        if data.get("user") == "callbacks":
            raise HTTPException(403, " ".join(type(one).__name__ for one in litellm.callbacks))

refuses = Refuses()
"""


class Proxy:
    """The proxy, what it asks, and what decides."""

    def __init__(self, client: httpx.Client, limiter: redis_ratelimit.RateLimiter, model: Any) -> None:
        self._client = client
        self._limiter = limiter
        self.model = model

    def ask(
        self, who: Who, path: str = "chat/completions", *, timeout: float = PATIENT, **fields: Any
    ) -> httpx.Response:
        return self._client.post(f"/v1/{path}", json=body(**fields), headers=who.headers, timeout=timeout)

    @contextmanager
    def stream(self, who: Who, **fields: Any) -> Iterator[httpx.Response]:
        found = body(stream=True, **fields)
        with self._client.stream("POST", "/v1/chat/completions", json=found, headers=who.headers) as response:
            yield response

    def used(self, level: str, kind: str, *ids: str) -> int:
        """Return what is in use."""
        found = self._limiter.info(redis_ratelimit.key("litellm", level, *ids, kind))
        return 0 if found is None else found.windows[0].used

    def of_team(self, who: Who) -> tuple[int, int]:
        """Return the requests and the tokens of a team that are in use."""
        return self.used("team", "requests", who.team), self.used("team", "tokens", who.team)

    def in_flight(self, who: Who) -> int:
        return self.used("key", "in-flight", who.key)


class Who:
    """A new key, in a team of its own, with these limits."""

    def __init__(self, **limits: Any) -> None:
        self.team = f"team-{secrets.token_hex(4)}"
        fields = {
            "team_id": self.team,
            "team_rpm_limit": 1000,
            "team_tpm_limit": 1_000_000,
            "max_parallel_requests": 10,
        }
        api_key = f"sk-{json.dumps({**fields, **limits}).encode().hex()}"
        self.headers = {"Authorization": f"Bearer {api_key}"}
        # What the proxy makes of it.
        self.key = hashlib.sha256(api_key.encode()).hexdigest()


def body(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Say some words."}]
    found = {"model": "answers", "messages": messages, "max_tokens": 50, **fields}
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture
def proxy(start: Callable[..., Server], tmp_path: Path) -> Iterator[tuple[Proxy, Server]]:
    server = start(Server)
    model = upstream.Upstream()
    (tmp_path / "limits.py").write_text(HOOKS)
    [port] = free_ports(1)
    with in_thread(upstream.create_app(model)) as url, open(tmp_path / "log", "w") as log:
        (tmp_path / "config.yaml").write_text(CONFIG.replace("UPSTREAM", f"{url}/v1"))
        environment = {
            **os.environ,
            "PYTHONPATH": str(PACKAGE / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "REDIS_URL": f"{server.url}?{PATIENCE}",
            "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
            # It would ask other machines.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        process = subprocess.Popen(
            [f"{LITELLM}/bin/litellm", "--config=config.yaml", "--host=127.0.0.1", f"--port={port}"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            with (
                httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENT) as client,
                redis_ratelimit.RateLimiter.from_url(server.url, timeout=20) as limiter,
            ):

                def answers() -> bool:
                    if process.poll() is not None:
                        raise RuntimeError("the proxy has ended")
                    try:
                        return client.get("/health/liveliness").status_code == 200
                    except httpx.TransportError:
                        return False

                eventually(answers, seconds=PATIENT, what="the proxy answers")
                yield Proxy(client, limiter, model), server
        finally:
            model.go_on.set()
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print((tmp_path / "log").read_text()[-20_000:])


# One test, for the proxy takes long to start.
@pytest.mark.skipif(not LITELLM, reason="LiteLLM is not installed: scripts/python litellm")
@pytest.mark.timeout(900)
def test_the_hook_in_the_real_proxy(proxy: tuple[Proxy, Server], subtests: pytest.Subtests) -> None:
    found, server = proxy
    for check in (
        the_limiter_of_the_proxy_is_gone,
        what_is_used_is_charged_and_the_rest_given_back,
        a_stream_is_settled_when_it_ends,
        no_limit_is_exceeded_and_nothing_leaks,
        as_many_as_may_are_in_flight,
        retries_and_a_fallback_end_nothing,
        what_the_provider_refuses_has_used_no_answer,
        what_breaks_off_stays_charged,
        what_another_hook_refuses_is_given_back,
        who_leaves_in_mid_stream_keeps_nothing_in_flight,
        who_leaves_before_the_answer_keeps_nothing_in_flight,
        every_level_has_its_limits,
        what_is_too_large_is_told_so,
        an_answer_has_a_longest,
    ):
        with subtests.test(check.__name__):
            found.model.begin_anew()
            check(found)
    with subtests.test("while Redis is away"):
        server.kill()
        response = found.ask(Who())
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        server.start()
        who = Who()
        assert found.ask(who).status_code == 200
        assert found.of_team(who) == (1, 30)


def the_limiter_of_the_proxy_is_gone(proxy: Proxy) -> None:
    response = proxy.ask(Who(), user="callbacks")
    callbacks = response.json()["error"]["message"]
    assert "ProxyLimits" in callbacks
    assert "MaxParallelRequests" not in callbacks


def what_is_used_is_charged_and_the_rest_given_back(proxy: Proxy) -> None:
    who = Who()
    response = proxy.ask(who)
    assert response.status_code == 200
    # Already when the client has its answer.
    assert proxy.of_team(who) == (1, response.json()["usage"]["total_tokens"]) == (1, 30)
    assert proxy.in_flight(who) == 0
    assert response.headers["x-ratelimit-limit-requests"] == "1000"
    assert response.headers["x-ratelimit-remaining-requests"] == "999"
    # As much as was reserved: a byte is a token at most.
    sent = [body()["messages"]]
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1_000_000 - len(json.dumps(sent)) - 50)
    assert proxy.ask(who, "completions", messages=None, prompt="Hello.").status_code == 200
    assert proxy.of_team(who)[0] == 2


def a_stream_is_settled_when_it_ends(proxy: Proxy) -> None:
    who = Who()
    with proxy.stream(who, stream_options={"include_usage": True}) as response:
        text = response.read().decode()
    assert response.headers["x-ratelimit-remaining-requests"] == "999"
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    [total] = [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")]
    eventually(lambda: proxy.in_flight(who) == 0, seconds=PATIENT)
    assert proxy.of_team(who) == (1, total)


def no_limit_is_exceeded_and_nothing_leaks(proxy: Proxy) -> None:
    who = Who(team_rpm_limit=12, team_tpm_limit=600, max_parallel_requests=3)
    granted: Counter[int] = Counter()

    def ask(number: int) -> None:
        while True:
            response = proxy.ask(who, model=["answers", "falls"][number % 2])
            if response.status_code == 200:
                granted[number] += 1
                continue
            assert response.status_code == 429
            if " on requests: limit 12/1h" in response.json()["error"]["message"]:
                return
            # There is room again when one of the others ends.
            time.sleep(0.05)

    at_once(8, ask)
    assert granted.total() == 12
    assert proxy.of_team(who) == (12, 360)
    assert proxy.in_flight(who) == 0


def as_many_as_may_are_in_flight(proxy: Proxy) -> None:
    who = Who(max_parallel_requests=3)
    with ThreadPoolExecutor(3) as threads:
        first = [threads.submit(proxy.ask, who, model="waits", seed=1) for _ in range(3)]
        eventually(lambda: proxy.model.in_flight[""] == 3, seconds=PATIENT)
        response = proxy.ask(who)
        assert response.status_code == 429
        assert "this key on in-flight: limit 3/10m" in response.json()["error"]["message"]
        # The lease lasts for ten minutes, but a place is free as soon as one of the requests ends.
        assert response.headers["retry-after"] == "1"
        proxy.model.go_on.set()
        assert {future.result().status_code for future in first} == {200}
    assert proxy.in_flight(who) == 0
    assert proxy.ask(who).status_code == 200


def retries_and_a_fallback_end_nothing(proxy: Proxy) -> None:
    who = Who()
    response = proxy.ask(who, model="falls")
    assert response.status_code == 200
    assert proxy.of_team(who) == (1, 30)


def what_the_provider_refuses_has_used_no_answer(proxy: Proxy) -> None:
    who = Who()
    assert proxy.ask(who, model="refuses").status_code == 429
    requests, tokens = proxy.of_team(who)
    # The proxy may count the prompt.
    assert requests == 1
    assert tokens < 20
    assert proxy.in_flight(who) == 0


def what_breaks_off_stays_charged(proxy: Proxy) -> None:
    who = Who()
    response = proxy.ask(who, model="breaks", max_tokens=500)
    assert response.status_code >= 500
    assert proxy.of_team(who) == (1, len(json.dumps([body()["messages"]])) + 500)
    assert proxy.in_flight(who) == 0


def what_another_hook_refuses_is_given_back(proxy: Proxy) -> None:
    who = Who()
    assert proxy.ask(who, user="refused").status_code == 403
    assert proxy.of_team(who) == (0, 0)
    assert proxy.in_flight(who) == 0


def who_leaves_in_mid_stream_keeps_nothing_in_flight(proxy: Proxy) -> None:
    who = Who()
    with proxy.stream(who, model="waits") as response:
        next(response.iter_bytes())
        assert proxy.in_flight(who) == 1
    eventually(lambda: proxy.in_flight(who) == 0, seconds=PATIENT)
    requests, tokens = proxy.of_team(who)
    assert requests == 1
    assert 0 < tokens <= len(json.dumps([body()["messages"]])) + 50


def who_leaves_before_the_answer_keeps_nothing_in_flight(proxy: Proxy) -> None:
    who = Who()
    with pytest.raises(httpx.ReadTimeout):
        proxy.ask(who, timeout=0.5, model="waits", seed=0)
    proxy.model.go_on.set()
    eventually(lambda: proxy.in_flight(who) == 0, seconds=PATIENT)


def every_level_has_its_limits(proxy: Proxy) -> None:
    levels = {
        "user": Who(user_id=secrets.token_hex(4), user_rpm_limit=1, user_tpm_limit=1000),
        "team-member": Who(user_id="ann", team_member_rpm_limit=1, team_member_tpm_limit=1000),
        "end-user": Who(end_user_id=secrets.token_hex(4), end_user_rpm_limit=1, end_user_tpm_limit=1000),
        "key": Who(rpm_limit=1, tpm_limit=1000),
        "team": Who(team_rpm_limit=1, team_tpm_limit=1000),
    }
    for level, who in levels.items():
        assert proxy.ask(who).status_code == 200
        response = proxy.ask(who)
        assert response.status_code == 429
        assert f"this {level} on requests: limit 1/1h" in response.json()["error"]["message"]
        assert 3000 < int(response.headers["retry-after"]) <= 3600
        assert proxy.of_team(who) == (1, 30)
    # Who has no limits is asked nothing.
    nobody = Who(team_rpm_limit=None, team_tpm_limit=None, max_parallel_requests=None)
    response = proxy.ask(nobody)
    assert response.status_code == 200
    assert "x-ratelimit-limit-requests" not in response.headers


def what_is_too_large_is_told_so(proxy: Proxy) -> None:
    who = Who(team_tpm_limit=40)
    response = proxy.ask(who)
    assert response.status_code == 429
    assert response.json()["error"]["message"].startswith("Request too large for this team on tokens: limit 40/1h")
    # OpenAI's clients would repeat it else.
    assert response.headers["x-should-retry"] == "false"
    response = proxy.ask(Who(team_rpm_limit=0))
    assert response.status_code == 429


def an_answer_has_a_longest(proxy: Proxy) -> None:
    proxy.model.go_on.set()
    who = Who()
    response = proxy.ask(who, model="waits", max_tokens=None)
    # The model was told what was reserved.
    assert response.json()["usage"]["completion_tokens"] == 4096
    reserved = len(json.dumps([body()["messages"]])) + 4096
    assert response.headers["x-ratelimit-remaining-tokens"] == str(1_000_000 - reserved)
    assert proxy.ask(who, max_tokens="many").status_code == 400
