"""A pytest plugin that runs the tests of `limits` on other storages. See test_limits_suite.py.

`LIMITS_SUITE` is a JSON object: `storages` are pairs of a name and a URI; `ours` says whether the strategies are ours.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import types
import zlib
from typing import Any

import limits.aio.strategies
import limits.strategies
import pytest
from _pytest.runner import runtestprotocol

from redis_ratelimit.limits import AsyncRateLimitStorage, RateLimitStorage

SETTINGS = json.loads(os.environ["LIMITS_SUITE"])

# Tests that are left out, and why.
LEFT_OUT = {
    "test_custom_prefix": "looks into Redis for a counter; our state is binary",
    "test_sliding_window_counter_previous_window": (
        "asserts the estimate of the two-window counter, which admits more than the limit in some windows"
    ),
    "test_sliding_window_counter_stats": "the same",
}

# What the storages of limits are called in the lists of its tests. All of these lists are replaced.
sys.modules["pytest_lazy_fixtures"] = lazy_fixtures = types.ModuleType("pytest_lazy_fixtures")
lazy_fixtures.lf = lambda name: None  # type: ignore[attr-defined]

if SETTINGS["ours"]:
    for module in (limits.strategies, limits.aio.strategies):
        for name in ("FixedWindowRateLimiter", "MovingWindowRateLimiter", "SlidingWindowCounterRateLimiter"):
            setattr(module, name, module.STRATEGIES["rl-sliding-window"])


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Put our storages in the place of those of limits."""
    for node in metafunc.definition.listchain():
        node.own_markers[:] = [_ours(mark, metafunc) if _is_about_storages(mark) else mark for mark in node.own_markers]


def _is_about_storages(mark: Any) -> bool:
    return mark.name == "parametrize" and mark.args[0].startswith("uri, ") and mark.args[0].endswith(", fixture")


def _ours(mark: Any, metafunc: pytest.Metafunc) -> Any:
    # The function itself may be wrapped in one that only returns what it returns.
    asynchronous = inspect.iscoroutinefunction(inspect.unwrap(metafunc.function))
    storage: type = AsyncRateLimitStorage if asynchronous else RateLimitStorage
    values = []
    for name, uri in SETTINGS["storages"]:
        row = [f"async+{uri}" if asynchronous else uri, {"timeout": 20.0}, storage, None]
        if "expected_instance" not in mark.args[0]:
            del row[2]
        values.append(pytest.param(*row, id=f"ours-{name}"))
    return pytest.mark.parametrize(mark.args[0], values).mark


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not about a storage, and what does not hold for ours."""
    names = {item.name.partition("[")[0] for item in items}
    assert names >= LEFT_OUT.keys(), f"gone from limits: {LEFT_OUT.keys() - names}"
    kept = [item for item in items if "[ours-" in item.name and item.name.partition("[")[0] not in LEFT_OUT]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Function, nextitem: pytest.Item | None) -> bool:
    """Run a test with keys of its own; up to three times, as these tests expect a machine that is not busy."""
    arguments = item.callspec.params["args"]
    for attempt in range(3):
        key_prefix = f"rl:{zlib.crc32(item.nodeid.encode()):08x}-{attempt}"
        item.callspec.params["args"] = {**arguments, "key_prefix": key_prefix}
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if all(report.passed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
