"""Which of our exceptions an exception of redis-py, or an error reply, is.

Everything that the application cannot have caused by what it asked is an `UnavailableError`. So is a code that
nobody knows yet: a server that says something new has made no decision, and is no reason to fail every request.
"""

from __future__ import annotations

import asyncio
import re
import ssl

from redis import exceptions as client

from .errors import (
    ArgumentError,
    ConfigurationError,
    CrossSlotError,
    ModuleMissingError,
    NewerStateError,
    PoolExhaustedError,
    RateLimitError,
    ReplyError,
    UnavailableError,
    WrongTypeError,
)

CLIENT_ERRORS: tuple[type[Exception], ...] = (
    client.RedisError,
    client.RedisClusterException,
    OSError,
    asyncio.TimeoutError,
)
"""What a call to the server can end with. Anything else is a bug, and stays what it is."""

# redis-py takes the code off the text of the errors that it has classes for. The first that fits counts.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (client.BusyLoadingError, "LOADING"),
    (client.MasterDownError, "MASTERDOWN"),
    (client.ClusterDownError, "CLUSTERDOWN"),
    (client.SlotNotCoveredError, "CLUSTERDOWN"),
    (client.TryAgainError, "TRYAGAIN"),
    # Redirected too often: slots that move while we ask.
    (client.ClusterError, "TRYAGAIN"),
    (client.ReadOnlyError, "READONLY"),
    (client.OutOfMemoryError, "OOM"),
    (client.NoPermissionError, "NOPERM"),
    (client.ExecAbortError, "EXECABORT"),
    (client.AuthorizationError, "NOPERM"),
    (client.TimeoutError, "TIMEOUT"),
    (asyncio.TimeoutError, "TIMEOUT"),
    (TimeoutError, "TIMEOUT"),
)
_CODE = re.compile(r"[A-Z][A-Z0-9]{2,31}")


def is_demotion(error: BaseException) -> bool:
    """Whether the server is a replica: nothing was charged, and the primary may be found by connecting anew."""
    # A connection that Sentinel manages turns the reply into a ConnectionError, raised while handling it.
    return isinstance(error, client.ReadOnlyError) or isinstance(error.__context__, client.ReadOnlyError)


def cannot_probe(error: RateLimitError) -> bool:
    """Whether `commands.probe` has failed only because the user may not, or the server cannot, run its command."""
    return isinstance(error, ModuleMissingError) or (isinstance(error, UnavailableError) and error.reason == "NOPERM")


def classify(error: Exception) -> RateLimitError:
    """Return the exception to raise, or to apply the policy to if it is an `UnavailableError`."""
    if isinstance(error, RateLimitError):
        return error
    error = _origin(error)
    text = str(error) or type(error).__name__
    if isinstance(error.__context__, ssl.SSLError) and str(error.__context__) not in text:
        # Some releases tell only the number of what was wrong with a certificate.
        text = f"{text} {error.__context__}"
    if is_demotion(error):
        return UnavailableError("READONLY", text)
    if isinstance(error, (client.MovedError, client.AskError)):
        return _elsewhere()
    if isinstance(error, client.ClusterCrossSlotError):
        return _cross_slot()
    if isinstance(error, client.MaxConnectionsError) or (
        # Other pools, and those of older releases, have no class for it.
        isinstance(error, client.ConnectionError) and re.match("Too many connections|No connection available", text)
    ):
        return PoolExhaustedError(text)
    if isinstance(error, client.AuthenticationError):
        return UnavailableError(_authentication(text), text)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return UnavailableError(code, text)
    if isinstance(error, client.ResponseError):
        return _reply(f"ERR {text}" if getattr(error, "status_code", None) == "ERR" else text)
    if isinstance(error, client.RedisClusterException):
        return _cluster(text)
    if isinstance(error, (client.ConnectionError, OSError)):
        return UnavailableError(_connection(text), text)
    if isinstance(error, client.InvalidResponse):
        return UnavailableError("PROTOCOL", text)
    if isinstance(error, client.DataError):
        return ArgumentError(text)
    if "command doesn't exist" in text:
        return _missing(text)
    return ReplyError(text)


def _origin(error: Exception) -> Exception:
    """Return the exception under the one that redis-py has made of it."""
    if isinstance(error, client.ConnectionError) and isinstance(error.__cause__, client.RedisError):
        # Of all that goes wrong while connecting with asyncio.
        return error.__cause__
    # What kept a cluster client from finding the cluster.
    inner: BaseException | None = error
    while isinstance(inner, client.RedisClusterException) and not isinstance(inner, client.SlotNotCoveredError):
        inner = inner.__cause__ or inner.__context__
    if isinstance(inner, CLIENT_ERRORS) and not (
        # The reason why a server without cluster mode is none for a cluster client.
        isinstance(inner, client.ResponseError) and "cluster support disabled" in str(inner)
    ):
        return inner
    return error


def _authentication(text: str) -> str:
    return "WRONGPASS" if re.search("invalid (username|password)|user is disabled", text, re.IGNORECASE) else "NOAUTH"


def _connection(text: str) -> str:
    """Return why a connection was not made; redis-py takes the code off what the server says."""
    if "max number of clients" in text:
        return "MAXCLIENTS"
    return "NOPERM" if "has no permissions" in text else "CONNECTION"


def _reply(text: str) -> RateLimitError:
    """Return what an error reply means that redis-py has no class for. Some releases take ERR off, some do not."""
    code, _, rest = text.partition(" ")
    if code == "WRONGTYPE":
        return WrongTypeError(rest)
    # Releases before 6 have no class for these if no cluster client asks.
    if code in ("MOVED", "ASK"):
        return _elsewhere()
    if code == "CROSSSLOT":
        return _cross_slot()
    if code != "ERR" and _CODE.fullmatch(code):
        return UnavailableError(code, rest or code)
    text = text.removeprefix("ERR ")
    if re.match("unknown (command|subcommand)", text, re.IGNORECASE):
        return _missing(text)
    if text.startswith("the key holds a limiter in state version"):
        return NewerStateError(text)
    return ArgumentError(f"the server refused the command: {text}")


def _elsewhere() -> ConfigurationError:
    return ConfigurationError(
        "the server is a node of a Redis Cluster, and has sent the client elsewhere: "
        "connect with redis+cluster://, or give a RedisCluster"
    )


def _cross_slot() -> CrossSlotError:
    return CrossSlotError("the keys of one call must be in one slot: give them the same hash tag, {…}")


def _missing(text: str) -> ModuleMissingError:
    return ModuleMissingError(
        f"the server lacks the redis-ratelimit module, or this command of it: "
        f"add 'loadmodule /path/libredis_ratelimit.so' to its configuration ({text:.200})"
    )


def _cluster(text: str) -> RateLimitError:
    """Return what a complaint of the cluster client itself means."""
    if "same key slot" in text:
        return _cross_slot()
    if "Cluster mode is not enabled" in text:
        return ConfigurationError("the server is not part of a Redis Cluster: connect with redis://, or give a Redis")
    if "not covered" in text:
        return UnavailableError("CLUSTERDOWN", text)
    return UnavailableError("CONNECTION", text)
