"""What every error of a server and of redis-py is. Those that tests can make on a server are made there, too."""

import asyncio
from typing import Any

import pytest
from redis import exceptions as client
from redis._parsers.base import BaseParser

from redis_ratelimit import (
    ArgumentError,
    ConfigurationError,
    CrossSlotError,
    ModuleMissingError,
    NewerStateError,
    PoolExhaustedError,
    ReplyError,
    UnavailableError,
    WrongTypeError,
)
from redis_ratelimit.classify import classify

NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("LOADING Redis is loading the dataset in memory", UnavailableError, "LOADING"),
        ("MASTERDOWN Link with MASTER is down", UnavailableError, "MASTERDOWN"),
        ("CLUSTERDOWN Hash slot not served", UnavailableError, "CLUSTERDOWN"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", UnavailableError, "TRYAGAIN"),
        ("READONLY You can't write against a read only replica.", UnavailableError, "READONLY"),
        ("OOM command not allowed when used memory > 'maxmemory'.", UnavailableError, "OOM"),
        ("MISCONF Redis is configured to save RDB snapshots", UnavailableError, "MISCONF"),
        ("NOREPLICAS Not enough good replicas to write.", UnavailableError, "NOREPLICAS"),
        ("BUSY Redis is busy running a script.", UnavailableError, "BUSY"),
        ("UNKILLABLE Sorry the script already executed write commands", UnavailableError, "UNKILLABLE"),
        ("NOAUTH Authentication required.", UnavailableError, "NOAUTH"),
        ("NOAUTH HELLO must be called with the client already authenticated", UnavailableError, "NOAUTH"),
        ("WRONGPASS invalid username-password pair or user is disabled.", UnavailableError, "WRONGPASS"),
        ("ERR invalid password", UnavailableError, "WRONGPASS"),
        (NO_PASSWORD, UnavailableError, "NOAUTH"),
        ("NOPERM this user has no permissions to run the 'rl.check' command", UnavailableError, "NOPERM"),
        ("ERR max number of clients reached", UnavailableError, "MAXCLIENTS"),
        ("DENIED Redis is running in protected mode", UnavailableError, "DENIED"),
        ("EXECABORT Transaction discarded because of previous errors.", UnavailableError, "EXECABORT"),
        ("SOMETHINGNEW that nobody knows yet", UnavailableError, "SOMETHINGNEW"),
        ("MOVED 3999 127.0.0.1:6381", ConfigurationError, None),
        ("ASK 3999 127.0.0.1:6381", ConfigurationError, None),
        ("CROSSSLOT Keys in request don't hash to the same slot", CrossSlotError, None),
        ("WRONGTYPE the key holds a value that is not a rate limiter", WrongTypeError, None),
        ("ERR unknown command 'RL.CHECK', with args beginning with: 'a' '5' '60' ", ModuleMissingError, None),
        ("ERR unknown command `RL.CHECK`, with args beginning with: `a`, ", ModuleMissingError, None),
        ("ERR the key holds a limiter in state version 2: a newer redis-ratelimit is needed", NewerStateError, None),
        ("ERR limit must be an integer from 1 to 4294967295", ArgumentError, None),
        ("ERR syntax error", ArgumentError, None),
        ("ERR wrong number of arguments for 'rl.check' command", ArgumentError, None),
    ],
)
def test_every_error_of_a_server(line: str, kind: type[Exception], reason: str | None) -> None:
    found = classify(BaseParser.parse_error(line))
    assert type(found) is kind
    assert getattr(found, "reason", None) == reason


WRONG_PASSWORD = client.AuthenticationError("invalid username-password pair or user is disabled.")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (client.ConnectionError("refused"), UnavailableError, "CONNECTION"),
        (ConnectionRefusedError("refused"), UnavailableError, "CONNECTION"),
        (client.TimeoutError("slow"), UnavailableError, "TIMEOUT"),
        (TimeoutError("slow"), UnavailableError, "TIMEOUT"),
        (asyncio.TimeoutError(), UnavailableError, "TIMEOUT"),
        (client.MaxConnectionsError("Too many connections"), PoolExhaustedError, None),
        (client.ConnectionError("Too many connections"), PoolExhaustedError, None),
        (client.ConnectionError("No connection available."), PoolExhaustedError, None),
        (client.InvalidResponse("Protocol Error: H"), UnavailableError, "PROTOCOL"),
        (client.SlotNotCoveredError("Slot 5 is not covered"), UnavailableError, "CLUSTERDOWN"),
        (client.RedisClusterException("All slots are not covered"), UnavailableError, "CLUSTERDOWN"),
        (client.RedisClusterException("Redis Cluster cannot be connected"), UnavailableError, "CONNECTION"),
        (client.RedisClusterException("RL.MCHECK - all keys must map to the same key slot"), CrossSlotError, None),
        (client.ClusterError("TTL exhausted."), UnavailableError, "TRYAGAIN"),
        (client.RedisError("RL.CHECK command doesn't exist in Redis commands"), ModuleMissingError, None),
        (client.DataError("Invalid input of type"), ArgumentError, None),
        (client.RedisError("?"), ReplyError, None),
        (caused(client.ConnectionError("x"), client.TimeoutError("slow")), UnavailableError, "TIMEOUT"),
        (caused(client.RedisClusterException("x"), WRONG_PASSWORD), UnavailableError, "WRONGPASS"),
    ],
)
def test_every_error_of_the_client(error: Exception, kind: type[Exception], reason: Any) -> None:
    found = classify(error)
    assert type(found) is kind
    assert getattr(found, "reason", None) == reason
