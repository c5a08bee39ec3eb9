"""Whether a request may go by the connections of a client of redis-py, and not by its `execute_command`.

What is sent and read is the same, for these are the connections that `execute_command` uses, with their timeouts and
health checks. What it does around them costs more than all that this package does: it repeats, counts, measures and
calls back. Of a limiter's own client that is nothing, unless somebody listens there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

try:
    from redis.observability import get_observability_instance
except ImportError:  # before redis-py 7.2
    get_observability_instance = None  # type: ignore[assignment]


def direct_way(client: Any) -> Callable[[], bool] | None:
    """Return what tells, at each request, whether it may go directly; None if none ever may.

    `client` is one that a limiter has made for itself, of one server or behind Sentinel.
    """
    pool = client.connection_pool
    retry = pool.connection_kwargs.get("retry")
    # Before redis-py 5.3 it wanted to know the command.
    named = inspect.signature(pool.get_connection).parameters["command_name"].default is inspect.Parameter.empty
    if named or getattr(retry, "get_retries", lambda: None)() != 0:
        return None
    kind = type(client)
    own: Any = None

    def nobody_listens() -> bool:
        nonlocal own
        # Tracers, such as those of OpenTelemetry and Sentry, put their own in its place, at any time.
        if kind.execute_command is not own:
            if not _is_of_redis_py(kind):
                return False
            own = kind.execute_command
        return get_observability_instance is None or get_observability_instance().get_provider_manager() is None

    return nobody_listens


def _is_of_redis_py(kind: Any) -> bool:
    function = kind.execute_command
    # A function in its place may have taken over its names, but not where it was written.
    return type(function) is FunctionType and function.__globals__["__name__"] == kind.__module__
