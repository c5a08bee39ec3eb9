"""Exchanges with the upstream: each is read to its end and settled, whether or not the client is still there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from .call import MAX_UNITS, Call
from .errors import body
from .limits import Reserved

logger = logging.getLogger(__name__)

_JSON = {"content-type": "application/json"}
# Nothing was sent, so nothing was used.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Answer:
    """What a client is answered: `content`, or else what `events` gives as it comes."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    events: AsyncIterator[bytes] | None = None


class Exchanges:
    """Those that go on now. Each is a task of its own, so that a client that leaves ends none.

    The upstream goes on, too, and charges for it: only at the end it tells how much.
    """

    def __init__(self, upstream: httpx.AsyncClient) -> None:
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, call: Call, reserved: Reserved) -> Answer:
        """Send a request, and return the answer as soon as it begins. Settles what was reserved."""
        exchange = _Exchange(self._upstream, call, reserved)
        # Nothing is awaited between the reservation and this.
        task = asyncio.create_task(exchange.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await exchange.answer

    async def finish(self) -> None:
        """End those that go on, when the process ends. What was reserved for their tokens stays charged."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Exchange:
    def __init__(self, upstream: httpx.AsyncClient, call: Call, reserved: Reserved) -> None:
        self._upstream = upstream
        self._call = call
        self._reserved = reserved
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # As long as the answer at most. So a client that reads slowly, or has left, keeps nothing in flight.
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._used: int | None = None

    async def run(self) -> None:
        """Settle before the client sees the end: when it asks again, there is room."""
        try:
            last = await self._ask()
        except _NOT_SENT as error:
            logger.warning("the upstream cannot be reached: %r", error)
            await self._reserved.cancel()
            self._end(_failed(502, "the upstream cannot be reached"))
        except httpx.HTTPError as error:
            logger.warning("the upstream has failed: %r", error)
            # If it has not told what it has used, that may be everything.
            await self._reserved.settle(self._used)
            timeout = isinstance(error, httpx.TimeoutException)
            self._end(
                _failed(504, "the upstream takes too long") if timeout else _failed(502, "the upstream has failed")
            )
        except BaseException:
            await self._reserved.settle(self._used)
            self._end(_failed(502, "the gateway has failed"))
            raise
        else:
            await self._reserved.settle(self._used)
            self._end(last)

    async def _ask(self) -> Answer:
        """Return what to answer in the end; of a stream its last event."""
        async with self._upstream.stream(
            "POST", "chat/completions", content=self._call.content, headers=_JSON
        ) as response:
            if response.is_success and self._call.stream:
                return await self._pass_on(response)
            content = await response.aread()
            if response.is_success:
                self._used = _used(_json(content))
                return Answer(response.status_code, content, _JSON)
        # It says that it has done nothing.
        self._used = 0
        if response.status_code in (401, 403):
            logger.error("the upstream refuses this gateway: %d", response.status_code)
            return _failed(502, "the upstream refuses this gateway")
        names = {"content-type", "retry-after", "retry-after-ms"} & response.headers.keys()
        return Answer(response.status_code, content, {name: response.headers[name] for name in names})

    async def _pass_on(self, response: httpx.Response) -> Answer:
        done = False
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            if not self.answer.done():
                self.answer.set_result(Answer(200, headers={"content-type": "text/event-stream"}, events=self._read()))
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                # The client sees it when all is settled.
                done = True
                continue
            found = _json(data) if '"usage"' in data else None
            used = _used(found)
            if used is not None:
                self._used = used
                if not self._call.wants_usage and not found.get("choices"):
                    # The client has not asked for it.
                    continue
            self._events.put_nowait(_event(data))
        return Answer(200, _event("[DONE]")) if done else _failed(502, "the upstream has ended too early")

    async def _read(self) -> AsyncIterator[bytes]:
        while (event := await self._events.get()) is not None:
            yield event

    def _end(self, last: Answer) -> None:
        if not self.answer.done():
            # The client may have left: then nobody waits for it.
            self.answer.set_result(last)
            return
        # The stream has begun.
        content = last.content if last.status == 200 else _event(last.content.decode())
        if content:
            self._events.put_nowait(content)
        self._events.put_nowait(None)


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _used(found: Any) -> int | None:
    """Return the tokens in what the upstream tells; None if it does not tell."""
    usage = found.get("usage") if isinstance(found, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return min(total, MAX_UNITS) if type(total) is int and total >= 0 else None


def _failed(status: int, message: str) -> Answer:
    content = json.dumps(body(message, "server_error")).encode()
    return Answer(status, content, _JSON)
