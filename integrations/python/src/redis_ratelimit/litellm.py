"""The limits of LiteLLM's proxy, decided by Redis: requests, tokens and requests in flight of keys, users and teams.

In a file beside the proxy's ``config.yaml``, such as ``limits.py``::

    from redis_ratelimit.litellm import ProxyLimits

    limits = ProxyLimits.from_url("redis://localhost:6379/0")

and in ``config.yaml``::

    litellm_settings:
      callbacks: limits.limits

**It takes the place of the proxy's own limiter**, and reads the limits where that one does: ``rpm_limit``,
``tpm_limit`` and ``max_parallel_requests`` of a key, and those of its user, team, team member and end user. All of them
are asked by one command before the request goes on, and are charged all or none. Limits of single models, tags,
projects, organizations, agents and MCP servers, which only the proxy's limiter knows, are then not limited.

**Tokens are reserved before, and settled afterwards**: one for each byte of what is sent (`bytes_per_token`), and as
many as the answer may have. A request that does not say how many is given `max_tokens`, which the model is told, too.
In the end it is charged what it has used. A request that the provider refuses, after all retries, has used none. If it
fails in another way, by a timeout or a connection that breaks, nobody knows, and it stays charged as it was reserved.
One that was not sent, because another hook refused it, gives everything back.

The setting ``sse_keepalive_ping_interval_seconds`` of the proxy has to be off, as it is by default: with it, nobody
tells when a stream has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import hooks

from .aio import AsyncRateLimiter
from .connection import DEFAULT_TIMEOUT
from .decision import Decision, Decisions
from .errors import RateLimitError
from .headers import openai, openai_duration
from .keys import key
from .policy import Policy
from .rates import MAX_UNITS, Duration, Rate, milliseconds
from .reservations import AsyncReservation, Charge

if TYPE_CHECKING:
    from typing_extensions import Self

_logger = logging.getLogger("redis_ratelimit")

GRACE = 10.0
"""Seconds after the end of a request, in which the proxy has to tell what it has used."""

# Levels: what each counts by, and where the proxy has its limits on requests, tokens, and requests in flight.
_LEVELS = (
    ("key", ("api_key",), "rpm_limit", "tpm_limit", "max_parallel_requests"),
    ("user", ("user_id",), "user_rpm_limit", "user_tpm_limit", None),
    ("team", ("team_id",), "team_rpm_limit", "team_tpm_limit", None),
    ("team-member", ("team_id", "user_id"), "team_member_rpm_limit", "team_member_tpm_limit", None),
    ("end-user", ("end_user_id",), "end_user_rpm_limit", "end_user_tpm_limit", None),
)
_INPUT = ("messages", "prompt", "input", "instructions", "system", "tools", "functions", "response_format", "text")
_OUTPUT = ("max_completion_tokens", "max_tokens", "max_output_tokens")
# Calls that have an answer of tokens, and what says how many.
_ANSWERS = {
    "acompletion": "max_tokens",
    "completion": "max_tokens",
    "atext_completion": "max_tokens",
    "text_completion": "max_tokens",
    "anthropic_messages": "max_tokens",
    "aresponses": "max_output_tokens",
    "responses": "max_output_tokens",
}
# Of the client's errors those that say nothing about what the model has done: it took too long, or the client has left.
_NO_REFUSAL = (408, 499)
_IN_FLIGHT_RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class _Limit:
    level: str
    kind: str
    charge: Charge

    def wait_ms(self, decision: Decision) -> int:
        """Return how long to wait. Not for a lease to end: a place in flight is free as soon as a request ends."""
        return min(decision.retry_after_ms, _IN_FLIGHT_RETRY_MS) if self.charge.lease else decision.retry_after_ms


class _Held:
    """What is reserved for one request."""

    def __init__(self, limits: list[_Limit], reservation: AsyncReservation[Decisions], headers: dict[str, str]) -> None:
        self.headers = headers
        self.sent = False
        self.ended = False
        self._reservation = reservation
        self._tokens = [limit.charge.key for limit in limits if limit.kind == "tokens"]

    async def settle(self, used: int | None) -> None:
        """End it. None: nobody knows what was used, so it stays charged as it was reserved."""
        self.ended = True
        await self._reservation.settle({} if used is None else dict.fromkeys(self._tokens, min(used, MAX_UNITS)))

    async def cancel(self) -> None:
        """End it as if it had never been."""
        self.ended = True
        await self._reservation.cancel()


class ProxyLimits(CustomLogger):  # type: ignore[misc]
    """The hook.

    `limiter` is asked, with its connections and its failure policy: while Redis does not decide, ``raise`` and
    ``closed`` answer 503, and ``open`` lets requests pass. `window` is that of requests and tokens, which the proxy
    calls limits per minute. A place in flight is renewed while the request goes on; if the process dies, it is free
    after `lease`.

    In a Redis Cluster, all keys of a request lie in one slot: that of its team, or else of its user or its key. So
    there a user in several teams has the limit in each of them.
    """

    def __init__(
        self,
        limiter: AsyncRateLimiter,
        *,
        window: Duration = "1m",
        lease: Duration = "10m",
        bytes_per_token: float = 1,
        max_tokens: int = 4096,
        prefix: str = "rl",
    ) -> None:
        super().__init__()
        self._limiter = limiter
        self._window = milliseconds(window)
        self._lease = milliseconds(lease, "lease")
        self._bytes_per_token = bytes_per_token
        self._max_tokens = max_tokens
        self._prefix = prefix
        self._held: dict[str, list[_Held]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        # The proxy makes its own hooks later, of this table.
        hooks.PROXY_HOOKS.pop("parallel_request_limiter", None)

    @classmethod
    def from_url(cls, url: str, *, policy: Policy = "raise", timeout: float = DEFAULT_TIMEOUT, **options: Any) -> Self:
        """Make one with a limiter of its own, see `AsyncRateLimiter.from_url`. `options` are those of the class."""
        return cls(AsyncRateLimiter.from_url(url, policy=policy, timeout=timeout), **options)

    # What the proxy calls

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Reserve, or refuse."""
        limits = self._limits(user_api_key_dict, data, call_type)
        if not limits:
            return
        charges = [limit.charge for limit in limits]
        reservation = self._limiter.reserve(*charges, heartbeat=any(charge.lease for charge in charges))
        try:
            decisions = await reservation.acquire()
        except RateLimitError as error:
            _logger.exception("no decision")
            raise _no_decision() from error
        if not decisions:
            raise _refusal(limits, decisions)
        # Nothing is awaited from here on, so nothing is lost.
        held = _Held(limits, reservation, _headers(limits, decisions))
        call = _call(data)
        self._held.setdefault(call, []).append(held)
        request = asyncio.current_task()
        if request is not None:
            request.add_done_callback(lambda _: self._leave(call, held))

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """Note that it is sent."""
        for held in self._held.get(_call(kwargs), ()):
            held.sent = True

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> None:
        """Settle what was answered as a whole, before the client has the answer."""
        used = _used(getattr(response, "usage", None))
        held = self._unsettled(data)
        if used is not None and held is not None:
            await held.settle(used)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Settle what was answered as a stream, also if the client has left in its middle."""
        held = self._unsettled(kwargs)
        if held is not None:
            logged = kwargs.get("standard_logging_object") or {}
            await held.settle(_used(getattr(response_obj, "usage", None)) or logged.get("total_tokens") or None)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Settle what has failed, after all retries."""
        held = self._unsettled(request_data)
        if held is None:
            return
        if not held.sent and isinstance(original_exception, HTTPException):
            await held.cancel()
        elif _is_refusal(original_exception):
            await held.settle(_used(request_data.get("combined_usage_object")) or 0)
        else:
            await held.settle(None)

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any, **_: Any
    ) -> dict[str, str] | None:
        """Tell what was left when it was asked."""
        held = self._held.get(_call(data))
        return held[-1].headers if held else None

    # What we do

    def _unsettled(self, data: Mapping[str, Any]) -> _Held | None:
        # A client may give several requests the same name.
        return next((held for held in self._held.get(_call(data), ()) if not held.ended), None)

    def _leave(self, call: str, held: _Held) -> None:
        """Forget a request that has ended, however it has, after the proxy had time to tell what it has used."""
        task = asyncio.get_running_loop().create_task(self._forget(call, held))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _forget(self, call: str, held: _Held) -> None:
        if not held.ended:
            await asyncio.sleep(GRACE)
        rest = [other for other in self._held.pop(call, ()) if other is not held]
        if rest:
            self._held[call] = rest
        if not held.ended:
            await held.settle(None)

    def _limits(self, who: Any, data: dict[str, Any], call_type: str) -> list[_Limit]:
        found = [
            (level, kind, [str(getattr(who, name)) for name in names], limit)
            for level, names, *fields in _LEVELS
            if all(getattr(who, name, None) for name in names)
            for kind, field in zip(("requests", "tokens", "in-flight"), fields, strict=True)
            if field is not None and (limit := getattr(who, field, None)) is not None
        ]
        for level, kind, _, limit in found:
            if limit < 1:
                raise HTTPException(429, f"The limit of this {level} on {kind} is 0.")
        tokens = self._tokens(data, call_type) if any(kind == "tokens" for _, kind, _, _ in found) else 0
        tag = None
        if found and self._limiter._handle.target.cluster:
            tag = str(who.team_id or who.user_id or who.api_key or who.end_user_id)
        return [
            _Limit(
                level,
                kind,
                Charge(
                    key("litellm", level, *ids, kind, prefix=self._prefix, tag=tag),
                    Rate(min(limit, MAX_UNITS), self._lease if kind == "in-flight" else self._window),
                    cost=tokens if kind == "tokens" else 1,
                    lease=kind == "in-flight",
                ),
            )
            for level, kind, ids, limit in found
        ]

    def _tokens(self, data: dict[str, Any], call_type: str) -> int:
        """Return how many tokens a request can use at most, and tell the model, if the client has not."""
        sent = [data[name] for name in _INPUT if data.get(name) is not None]
        text = json.dumps(sent, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")
        said = [_number(data, name) for name in _OUTPUT if data.get(name) is not None]
        if not said and call_type in _ANSWERS:
            data[_ANSWERS[call_type]] = self._max_tokens
            said = [self._max_tokens]
        times = max(_number(data, name) if data.get(name) is not None else 1 for name in ("n", "best_of"))
        return min(math.ceil(len(text) / self._bytes_per_token) + max(said, default=0) * times, MAX_UNITS)


def _call(data: Mapping[str, Any]) -> str:
    return str(data.get("litellm_call_id"))


def _number(data: Mapping[str, Any], name: str) -> int:
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise HTTPException(400, f"{name} must be an integer from 1")
    return value


def _is_refusal(error: Exception) -> bool:
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in _NO_REFUSAL


def _used(usage: Any) -> int | None:
    """Return the tokens of a usage, which some calls have as an object, others as a mapping."""
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else getattr(usage, "total_tokens", None)
    return total if isinstance(total, int) and total >= 0 else None


def _headers(limits: list[_Limit], decisions: Decisions) -> dict[str, str]:
    requests, tokens = (
        [decisions[limit.charge.key] for limit in limits if limit.kind == kind] for kind in ("requests", "tokens")
    )
    return openai(requests=requests, tokens=tokens)


def _refusal(limits: list[_Limit], decisions: Decisions) -> HTTPException:
    if decisions.degraded:
        return _no_decision()
    headers = _headers(limits, decisions)
    never = [limit for limit in limits if decisions[limit.charge.key].never]
    limit = never[0] if never else max(limits, key=lambda one: one.wait_ms(decisions[one.charge.key]))
    what = f"this {limit.level} on {limit.kind}: limit {limit.charge.rate}, requested {limit.charge.cost}."
    if never:
        # OpenAI's clients repeat every 429 but one that says this.
        return HTTPException(429, f"Request too large for {what}", {**headers, "x-should-retry": "false"})
    wait = limit.wait_ms(decisions[limit.charge.key])
    headers |= {"retry-after": str(math.ceil(wait / 1000)), "retry-after-ms": str(wait)}
    return HTTPException(429, f"Rate limit reached for {what} Please try again in {openai_duration(wait)}.", headers)


def _no_decision() -> HTTPException:
    return HTTPException(503, "The limits cannot be checked now. Please try again in a moment.", {"retry-after": "1"})
