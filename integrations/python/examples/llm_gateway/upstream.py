"""A stand-in for OpenAI's API, to try the gateway and to test it: it answers with as many words as it is allowed.

A token for each byte of the prompt, and one for each word of the answer; ``seed`` makes answers shorter. The model is
what becomes of it: ``fails`` refuses, ``breaks`` breaks off, ``waits`` stops after a word until `Upstream.go_on` is
set. Who asks stands in ``user``: ``team/user/key``.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse


class Upstream:
    """Answers, and remembers what each caller has asked for and used."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything. What still waits goes on, and counts no more."""
        self.go_on.set()
        self.requests: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()
        self.go_on = threading.Event()

    async def answer(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        names = _names(str(body.get("user", "")))
        prompt = sum(len(str(message.get("content", "")).encode()) for message in body["messages"])
        most = int(body["max_completion_tokens"] if "max_completion_tokens" in body else body["max_tokens"])
        words = (1 + body["seed"] % most if "seed" in body else most) * int(body.get("n", 1))
        self.requests.update(names)
        if body["model"] == "fails":
            return JSONResponse({"error": {"message": "overloaded", "type": "server_error"}}, 503, {"retry-after": "3"})
        self.tokens.update(dict.fromkeys(names, prompt + words))
        usage = {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
        events = self._events(body, words, usage, names)
        if body.get("stream"):
            return StreamingResponse(events, media_type="text/event-stream")
        if body["model"] == "breaks":
            # Less than it has announced: the connection is closed.
            return StreamingResponse(events, headers={"content-length": "100000"})
        async for _ in events:
            pass
        message = {"role": "assistant", "content": "word " * words}
        return JSONResponse({"model": body["model"], "choices": [{"index": 0, "message": message}], "usage": usage})

    async def _events(
        self, body: dict[str, Any], words: int, usage: dict[str, int], names: list[str]
    ) -> AsyncIterator[str]:
        in_flight = self.in_flight
        in_flight.update(names)
        for name in names:
            self.most_in_flight[name] = max(self.most_in_flight[name], in_flight[name])
        try:
            for number in range(words):
                yield _event(choices=[{"index": 0, "delta": {"content": "word "}}])
                if body["model"] == "breaks":
                    raise ConnectionError("as was asked for")
                if body["model"] == "waits" and number == 0:
                    # Threads, for it is set by another one.
                    await asyncio.to_thread(self.go_on.wait)
            if body.get("stream_options", {}).get("include_usage"):
                yield _event(choices=[], usage=usage)
        finally:
            in_flight.subtract(names)
        yield "data: [DONE]\n\n"


def _names(user: str) -> list[str]:
    parts = user.split("/")
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]


def _event(**fields: Any) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **fields})}\n\n"


def create_app(upstream: Upstream | None = None) -> FastAPI:
    app = FastAPI(title="Upstream")
    app.add_api_route("/v1/chat/completions", (upstream or Upstream()).answer, methods=["POST"])
    return app
