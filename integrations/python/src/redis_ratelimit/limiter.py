"""What the blocking and the asyncio limiter are both: clients, a policy, and a memory of outages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .classify import CLIENT_ERRORS, classify
from .commands import Request
from .decision import Decision
from .denials import Denials
from .errors import PoolExhaustedError, RateLimitError, UnavailableError
from .handle import ClientHandle
from .observe import Observer
from .options import checked_denials, checked_observe
from .outage import Outages
from .policy import Policy, checked

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

logger = logging.getLogger("redis_ratelimit")

SAY_AGAIN_AFTER = 60.0
"""Seconds after which a pool that is exhausted, or what is not settled, is logged again."""

_NO_REPLY: tuple[type[Exception], ...] = (PoolExhaustedError, *CLIENT_ERRORS)
# Outages in which calls keep their connections until the timeout, so that others find none.
_KEEPS_CONNECTIONS = frozenset({"CONNECTION", "TIMEOUT"})


class _Told:
    """Remembers when something was logged last. Shared by all limiters on the same connections."""

    said = float("-inf")


class Limiter:
    """The part of `RateLimiter` and `AsyncRateLimiter` that is the same for both."""

    def __init__(self, handle: ClientHandle, policy: Policy, observe: bool = False, cache_denials: int = 0) -> None:
        self._handle = handle
        self._policy = checked(policy)
        self._observe = checked_observe(observe)
        self._observer = Observer()
        self._denials = Denials(cache_denials) if checked_denials(cache_denials) else None
        self._outages = Outages()
        self._pool = _Told()
        self._unsettled = _Told()

    @property
    def policy(self) -> Policy:
        """What is answered when the server decides nothing."""
        return self._policy

    @property
    def outage(self) -> str | None:
        """The reason of the outage that calls have met, such as ``TIMEOUT``; None while there are decisions."""
        return self._outages.current

    def with_policy(self, policy: Policy) -> Self:
        """Return a limiter on the same connections with another failure policy.

        >>> logins = limiter.with_policy("closed")
        >>> logins.policy, limiter.policy
        ('closed', 'raise')
        """
        other = self._copy()
        other._policy = checked(policy)
        return other

    @property
    def observe(self) -> bool:
        """Whether nothing is refused."""
        return self._observe

    @property
    def would_deny_total(self) -> int:
        """How many requests of this process have passed only because of observe mode.

        All limiters on the same connections count together.
        """
        return self._observer.total

    def with_observe(self, observe: bool = True) -> Self:
        """Return a limiter on the same connections that refuses nothing, or one that does again.

        >>> trying = limiter.with_observe()
        >>> trying.check("trial:ann", "1/h").would_deny, trying.check("trial:ann", "1/h").would_deny
        (False, True)
        >>> trying.check("trial:ann", "1/h").allowed, limiter.check("trial:ann", "1/h").allowed
        (True, False)
        """
        # Adapters say so at each request.
        if observe is self._observe:
            return self
        other = self._copy()
        other._observe = checked_observe(observe)
        return other

    def _copy(self) -> Self:
        # copy.copy() asks how to, each time; adapters have another policy for each request.
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    # Plain functions that return what to await: each coroutine in a coroutine takes as long as what it does.

    def _decide(self, command: Callable[..., Request[T]], *words: Any, **options: Any) -> Coroutine[Any, Any, T]:
        """Ask what the function makes of the words, unless it is known that it is still denied."""
        if self._denials is None:
            return self._ask(command(*words, **options))
        return self._decide_unless_known(self._denials, command, words, options)

    async def _decide_unless_known(
        self, denials: Denials, command: Callable[..., Request[T]], words: tuple[Any, ...], options: dict[str, Any]
    ) -> T:
        name = (command, *words, *options.values())
        # Before anything is built: that would cost more than the answer.
        known: Any = denials.find(name)
        if known is None:
            return await self._ask(command(*words, **options), name=name)
        if self._observe:
            known = self._observer.let_pass(command(*words, **options), known)
        return known  # type: ignore[no-any-return]

    def _ask(self, request: Request[T], *, name: Hashable = None, count: bool = True) -> Coroutine[Any, Any, T]:
        """Send a request. A denial is remembered by `name`; with `count` observe mode counts what it lets pass."""
        if self._observe and request.fallback is not None:
            return self._observed(request, name, count)
        return self._answer(request, name)

    async def _observed(self, request: Request[T], name: Hashable, count: bool) -> T:
        try:
            answer = await self._answer(request, name)
        except RateLimitError as error:
            return self._observer.let_pass_failed(request, error, count=count)
        return self._observer.let_pass(request, answer, count=count)

    async def _answer(self, request: Request[T], name: Hashable = None) -> T:
        """Return what the server says, or else the failure policy."""
        denials = self._denials
        mark = 0 if denials is None or name is None else denials.mark(request)
        try:
            replies = await self._handle.send(request)
        except _NO_REPLY as error:
            return self._without_decision(request, error)
        finally:
            if denials is not None:
                denials.forget_after(request)
        self._outages.succeeded()
        answer = request.read(replies)
        if denials is not None and name is not None:
            denials.keep(name, request, mark, answer)
        return answer

    async def _wait_turn(
        self, request: Request[Decision], call: Callable[..., Coroutine[Any, Any, Any]], sleep: Callable[[float], Any]
    ) -> Decision:
        decision = await self._ask(request)
        if decision.allowed and decision.retry_after_ms:
            await call(sleep, decision.retry_after)
        return decision

    async def _ask_quietly(self, request: Request[T]) -> T:
        """Ask what is no decision: raises what an error means, and neither logs nor remembers it as an outage."""
        try:
            return request.read(await self._handle.send(request))
        except CLIENT_ERRORS as error:
            raise classify(error) from error

    async def _ask_all(self, requests: Sequence[Request[T]]) -> list[T | RateLimitError]:
        """Ask several things at once. Returns what an error means, in the place of a result, and raises nothing."""
        try:
            answers = await self._handle.send_all(requests)
        finally:
            if self._denials is not None:
                for request in requests:
                    self._denials.forget_after(request)
        return [_result(request, replies) for request, replies in zip(requests, answers, strict=True)]

    def _without_decision(self, request: Request[T], error: Exception) -> T:
        """Raise what the error means, or return what the policy says."""
        ours = classify(error)
        cause = None if ours is error else error
        # What has no other answer raises, whatever the policy is.
        policy: Policy = "raise" if request.fallback is None else self._policy
        outage = self._outages.current
        if isinstance(ours, PoolExhaustedError) and outage in _KEEPS_CONNECTIONS:
            # Those who have the connections are waiting for a server that is away, and so is this call.
            ours = UnavailableError(outage, str(ours))
        if isinstance(ours, UnavailableError):
            reason = ours.reason
            self._outages.failed(reason, str(error) or type(error).__name__, self._applies(request, policy))
        elif isinstance(ours, PoolExhaustedError):
            # The server is well. To let pass what does not come to it would be no limit for whoever sends enough.
            reason = "POOL"
            self._say_exhausted(ours, self._applies(request, "closed"))
            policy = "closed" if policy == "open" else policy
        else:
            raise ours from cause
        if policy == "raise" or request.fallback is None:
            raise ours from cause
        return request.fallback(policy, reason)

    def _say_unsettled(self, errors: Sequence[RateLimitError]) -> None:
        """Tell what could not be given back, or charged afterwards."""
        for error in errors:
            logger.debug("not settled: %s", error)
        now = time.monotonic()
        if errors and now - self._unsettled.said >= SAY_AGAIN_AFTER:
            self._unsettled.said = now
            logger.warning("leases and reservations are not settled, and last until they expire: %s", errors[0])

    def _applies(self, request: Request[T], policy: str) -> str:
        """Return what the log has to say: nothing is refused while limits are observed only."""
        return "observe" if self._observe and request.fallback is not None else policy

    def _say_exhausted(self, error: PoolExhaustedError, policy: str) -> None:
        now = time.monotonic()
        if now - self._pool.said >= SAY_AGAIN_AFTER:
            self._pool.said = now
            what = "pass undecided" if policy == "observe" else "are refused"
            logger.warning("too few connections for rate limiting, so requests %s: %s", what, error)


def _result(request: Request[Any], replies: list[Any] | Exception) -> Any:
    try:
        return classify(replies) if isinstance(replies, Exception) else request.read(replies)
    except RateLimitError as error:
        return error
