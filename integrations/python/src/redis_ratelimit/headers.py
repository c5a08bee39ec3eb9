"""HTTP headers that tell a client what it has left.

Seconds are whole and rounded up: a client that waits what it is told is never too early.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Literal

from .decision import Decision
from .errors import ArgumentError
from .rates import Rate


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)


def retry_after(decision: Decision, rate: Rate | None = None) -> dict[str, str]:
    """Return ``Retry-After`` in seconds, for a denied request; nothing when granted.

    A request that can never be granted, because it costs more than the limit, is told to wait for a whole window of
    `rate`, so that no client repeats it at once. Nothing without a rate.

    >>> retry_after(Decision(granted=0, limit=5, remaining=0, retry_after_ms=1001, reset_after_ms=60000))
    {'Retry-After': '2'}
    """
    if decision.allowed or (decision.never and rate is None):
        return {}
    wait = max(rate.window_ms, decision.reset_after_ms) if decision.never and rate else decision.retry_after_ms
    return {"Retry-After": str(max(1, _seconds(wait)))}


def x_ratelimit(
    decision: Decision, *, reset: Literal["epoch", "delta"] = "epoch", now: float | None = None
) -> dict[str, str]:
    """Return ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``; nothing for a degraded decision.

    `reset` says what the last one is: a time in seconds since the epoch, or the seconds until then. Both have their
    users. `now` is the time since the epoch in seconds, if not this machine's.

    >>> decision = Decision(granted=1, limit=5, remaining=4, retry_after_ms=0, reset_after_ms=59001)
    >>> x_ratelimit(decision, reset="delta")
    {'X-RateLimit-Limit': '5', 'X-RateLimit-Remaining': '4', 'X-RateLimit-Reset': '60'}
    """
    if decision.degraded:
        return {}
    if reset == "delta":
        when = _seconds(decision.reset_after_ms)
    elif reset == "epoch":
        milliseconds = round((time.time() if now is None else now) * 1000)
        when = _seconds(milliseconds + decision.reset_after_ms)
    else:
        raise ArgumentError(f"reset must be 'epoch' or 'delta', not {reset!r}")
    return {
        "X-RateLimit-Limit": str(decision.limit),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(when),
    }


def rate_limit(policies: Mapping[str, tuple[Rate, Decision]]) -> dict[str, str]:
    """Return ``RateLimit-Policy`` and ``RateLimit``, after draft-ietf-httpapi-ratelimit-headers (-08 and later).

    `policies` maps the name of each quota to its rate and its decision. The names are printable ASCII; quotes in them
    are escaped. ``w`` is left out if the window is no whole number of seconds. ``t`` is the time until the whole quota
    is back, also for a denied request. Degraded decisions appear only as policies.

    >>> decision = Decision(granted=1, limit=100, remaining=50, retry_after_ms=0, reset_after_ms=30000)
    >>> rate_limit({"per minute": (Rate.parse("100/m"), decision)})
    {'RateLimit-Policy': '"per minute";q=100;w=60', 'RateLimit': '"per minute";r=50;t=30'}
    """
    quotas = []
    states = []
    for name, (rate, decision) in policies.items():
        quoted = _structured_string(name)
        window = f";w={rate.window_ms // 1000}" if rate.window_ms % 1000 == 0 else ""
        quotas.append(f"{quoted};q={rate.limit}{window}")
        if not decision.degraded:
            states.append(f"{quoted};r={decision.remaining};t={_seconds(decision.reset_after_ms)}")
    headers = {}
    if quotas:
        headers["RateLimit-Policy"] = ", ".join(quotas)
    if states:
        headers["RateLimit"] = ", ".join(states)
    return headers


def openai(*, requests: Iterable[Decision] = (), tokens: Iterable[Decision] = ()) -> dict[str, str]:
    """Return the headers of OpenAI's API: ``x-ratelimit-limit-requests``, ``-remaining-``, ``-reset-``, and of tokens.

    Of several decisions they tell the one with the fewest left. Degraded decisions are left out.

    >>> openai(tokens=[Decision(granted=30, limit=500, remaining=470, retry_after_ms=0, reset_after_ms=90_500)])
    {'x-ratelimit-limit-tokens': '500', 'x-ratelimit-remaining-tokens': '470', 'x-ratelimit-reset-tokens': '1m30.5s'}
    """
    headers: dict[str, str] = {}
    for kind, decisions in (("requests", requests), ("tokens", tokens)):
        known = [decision for decision in decisions if not decision.degraded]
        if known:
            row = min(known, key=lambda decision: decision.remaining)
            headers[f"x-ratelimit-limit-{kind}"] = str(row.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(row.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = openai_duration(row.reset_after_ms)
    return headers


def openai_duration(milliseconds: int) -> str:
    """Write a time as OpenAI's API does.

    >>> [openai_duration(milliseconds) for milliseconds in (20, 1500, 360_000, 3_600_500)]
    ['20ms', '1.5s', '6m0s', '1h0m0.5s']
    """
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _structured_string(text: str) -> str:
    """Return the text as a String of RFC 9651, which is printable ASCII in quotes."""
    if not re.fullmatch(r"[ -~]*", text):
        raise ArgumentError(f"the name of a quota must be printable ASCII, not {text!r:.80}")
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
