"""``/v1/chat/completions``, as at OpenAI's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from .call import Call
from .callers import Callers
from .exchange import Exchanges
from .limits import Limits

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Reserve, ask the upstream, and pass its answer on."""
    callers: Callers = request.app.state.callers
    limits: Limits = request.app.state.limits
    exchanges: Exchanges = request.app.state.exchanges
    caller = callers.of(request)
    call = Call.of(await request.body(), request.app.state.settings)
    reserved = await limits.reserve(caller, call.tokens)
    answer = await exchanges.answer(call, reserved)
    headers = {**answer.headers, **reserved.headers}
    if answer.events is not None:
        return StreamingResponse(answer.events, answer.status, headers)
    return Response(answer.content, answer.status, headers)


@router.get("/health/")
async def health() -> dict[str, str]:
    """Tell that the gateway answers."""
    return {"status": "ok"}
