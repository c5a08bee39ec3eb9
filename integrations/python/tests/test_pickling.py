"""Every exception and every result travels: to another process, into a cache, through `copy`."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

import django_project  # noqa: F401 (some modules want settings when they are imported)
import pytest
from kinds import PATIENT
from servers import Server

import redis_ratelimit
from redis_ratelimit import RateLimiter, RateLimitError, UnavailableError

# What an application declares, with functions of its own in it, and what holds a connection: no results.
NO_RESULTS = {"Family", "Level", "Primary", "Request", "Target"}


def public_classes() -> Iterator[type]:
    """Every class that a module of the package defines, without those that begin with an underscore."""
    for found in pkgutil.walk_packages(redis_ratelimit.__path__, "redis_ratelimit."):
        if found.name == "redis_ratelimit.litellm":
            # LiteLLM is in an environment of its own. The module has neither an exception nor a result.
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            # Not by isinstance(): Django has objects that want settings before they say what they are.
            if issubclass(type(value), type) and value.__module__ == found.name and not name.startswith("_"):
                yield value


EXCEPTIONS = [kind for kind in public_classes() if issubclass(kind, Exception)]
RESULTS = [kind for kind in public_classes() if is_dataclass(kind) and kind.__name__ not in NO_RESULTS]


def example(hint: Any) -> Any:
    """A value of a type, which is not the default of anything."""
    origin, words = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return example(words[0])
    if origin is Literal:
        return words[0]
    if origin is tuple:
        return tuple(example(word) for word in words if word is not Ellipsis)
    if origin is list:
        return [example(words[0])]
    if origin in (dict, Mapping):
        return {example(words[0]): example(words[1])}
    if is_dataclass(hint):
        named = typing.get_type_hints(hint)
        return hint(**{field.name: example(named[field.name]) for field in fields(hint)})
    simple = {str: "text", bytes: b"\xff", int: 7, float: 7.5, bool: True, timedelta: timedelta(1), Any: "anything"}
    assert hint in simple, f"give {hint} an example here"
    return simple[hint]


def made(kind: type) -> Any:
    """An instance, by the types that its constructor names."""
    if is_dataclass(kind):
        return example(kind)
    ours = (base for base in kind.__mro__ if base.__module__.startswith("redis_ratelimit."))
    constructor = next((vars(base)["__init__"] for base in ours if "__init__" in vars(base)), None)
    if constructor is None:
        return kind("what happened")
    named = typing.get_type_hints(constructor)
    return kind(*(example(named[name]) for name in list(inspect.signature(constructor).parameters)[1:]))


def state(value: Any) -> Any:
    """All that there is to an instance."""
    return (type(value), str(value), value.args, vars(value)) if isinstance(value, Exception) else value


def test_there_are_exceptions_and_results() -> None:
    assert {RateLimitError, UnavailableError} <= set(EXCEPTIONS)
    assert {"Decision", "Decisions", "Info", "TopKey", "MultiLevelDecision", "Health"} <= {
        kind.__name__ for kind in RESULTS
    }


@pytest.mark.parametrize("kind", [*EXCEPTIONS, *RESULTS], ids=lambda kind: kind.__name__)
def test_everything_is_what_it_was_after_a_copy_and_after_a_journey(kind: type) -> None:
    before = made(kind)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert state(pickle.loads(pickle.dumps(before, protocol))) == state(before)
    assert state(copy.copy(before)) == state(before)
    assert state(copy.deepcopy(before)) == state(before)


def _ask(url: str) -> None:
    with RateLimiter.from_url(url, timeout=PATIENT) as limiter:
        limiter.check("rl:a", "5/m")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_outlives_an_error(start: Any, method: str) -> None:
    server = start(Server)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as executor, context.Pool(1) as pool:
        pools = [lambda url: executor.submit(_ask, url).result(60), lambda url: pool.apply_async(_ask, (url,)).get(60)]
        for asked in pools:
            with pytest.raises(UnavailableError, match=r"no rate limit decision \(CONNECTION\)") as caught:
                asked(f"unix://{server.directory}/nobody")
            assert caught.value.reason == "CONNECTION"
            assert asked(server.url) is None
