"""What a request asks for, and how many tokens it can use at most."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .settings import Settings

MAX_UNITS = 4_294_967_295
"""The greatest cost that can be asked for. No limit is above it."""


@dataclass(frozen=True)
class Call:
    """A request for a chat completion."""

    content: bytes
    """What the upstream is sent."""
    stream: bool
    wants_usage: bool
    """Whether the client has asked for the usage at the end of a stream."""
    tokens: int
    """The tokens to reserve."""

    @classmethod
    def of(cls, raw: bytes, settings: Settings) -> Call:
        """Read a request, or raise what the client is told."""
        try:
            body = json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise _bad("the body is no JSON") from error
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            raise _bad("messages must be a list")
        if not all(map(_is_text, body["messages"])) or body.get("web_search_options") is not None:
            raise _bad("this gateway takes text only: nobody knows beforehand how many tokens other things take")
        answer = [_number(body, name) for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
        if not answer:
            # The upstream is told what was reserved.
            body["max_completion_tokens"] = settings.max_tokens
        most = max(answer, default=settings.max_tokens) * (_number(body, "n") if body.get("n") is not None else 1)
        stream = body.get("stream") is True
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        if stream:
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        # No tokenizer makes more tokens than there are bytes, and what stands around each message in JSON is longer
        # than what models are given instead.
        prompt = math.ceil(len(raw) / settings.bytes_per_token)
        return cls(json.dumps(body).encode(), stream, wants_usage, min(prompt + most, MAX_UNITS))


def _is_text(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return message.get("audio") is None and all(
        isinstance(part, dict) and part.get("type") in ("text", "refusal") for part in parts
    )


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _number(body: dict[str, Any], name: str) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{name} must be an integer from 1")
    return value


def _bad(message: str) -> ApiError:
    return ApiError(400, message, "invalid_request_error")
