"""django-ratelimit's own tests, as its installed release has them, on a real server: with our app, and our imports."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_project import DJANGO, cache
from servers import Server

# After the settings.
from django.test import override_settings  # isort: skip
from django_ratelimit import tests as theirs  # isort: skip
from redis_ratelimit import django as ours  # isort: skip

DESELECTED = {
    "CacheFailTests.test_cache_timeout": "is about a cache whose entries are gone before their window is over, and "
    "expects them to be counted as none; a limiter is kept until its window is over",
    "CacheFailTests.test_is_ratelimited_cache_connection_error_without_increment": "expects a look, unlike a count, to "
    "let pass while the cache is down and RATELIMIT_FAIL_OPEN is not set; ours fails closed as the setting says: "
    "test_django_ratelimit.py",
}


def cases() -> Iterator[unittest.TestCase]:
    def walk(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                yield from walk(item)
            else:
                assert isinstance(item, unittest.TestCase)
                yield item

    yield from walk(unittest.defaultTestLoader.loadTestsFromModule(theirs))


def name(case: unittest.TestCase) -> str:
    return case.id().removeprefix("django_ratelimit.tests.")


CASES = {name(case): case for case in cases()}


def test_all_of_them_are_there() -> None:
    assert len(CASES) == 52
    assert CASES.keys() >= DESELECTED.keys()


@pytest.mark.parametrize("imported", [False, True], ids=["app", "imports"])
@pytest.mark.parametrize("case", [case for case in CASES.values() if name(case) not in DESELECTED], ids=name)
def test_theirs(
    case: unittest.TestCase, imported: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if imported:
        for name in ("get_usage", "is_ratelimited", "ratelimit"):
            assert hasattr(theirs, name)
            monkeypatch.setattr(theirs, name, getattr(ours, name))
    nobody = f"unix://{tmp_path}/nobody-listens"
    result = unittest.TestResult()
    with override_settings(
        CACHES={
            "default": cache(server.url),
            "connection-errors": cache(nobody, DJANGO),
            "connection-errors-redis": cache(nobody),
        },
    ):
        unittest.TestSuite([case]).run(result)
    assert result.testsRun == 1
    assert not result.skipped
    for _, trace in result.failures + result.errors:
        pytest.fail(trace, pytrace=False)
