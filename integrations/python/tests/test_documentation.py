"""The examples in the documentation run, on a real server."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
from kinds import PATIENCE
from servers import Server

import redis_ratelimit

PACKAGE = Path(__file__).parent.parent


def modules_of_the_core() -> list[ModuleType]:
    # Adapters need their frameworks, and are documented by their own tests.
    found = [redis_ratelimit]
    found += [
        importlib.import_module(f"redis_ratelimit.{module.name}")
        for module in pkgutil.iter_modules(redis_ratelimit.__path__)
        if not module.ispkg and module.name in redis_ratelimit.__dict__
    ]
    return found


@pytest.mark.parametrize("module", modules_of_the_core(), ids=lambda module: module.__name__)
def test_the_examples_of_the_modules(module: ModuleType, server: Server) -> None:
    with redis_ratelimit.RateLimiter.from_url(server.url, timeout=20) as limiter:
        result = doctest.testmod(module, extraglobs={"limiter": limiter}, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_examples_of_the_readme(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    text = (PACKAGE / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("redis://localhost:6379/0", f"{server.url}?{PATIENCE}"), names)
    assert capsys.readouterr().out == "4 left\n"


def test_the_licence_is_that_of_the_repository() -> None:
    ours = PACKAGE / "LICENSE"
    assert ours.read_text() == (PACKAGE.parent.parent / "LICENSE").read_text()


def test_every_public_name_is_documented() -> None:
    undocumented = []
    for name in redis_ratelimit.__all__:
        thing = getattr(redis_ratelimit, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            undocumented += [name] if not thing.__doc__ else []
            members = vars(thing) if inspect.isclass(thing) else {}
            undocumented += [
                f"{name}.{member}"
                for member, value in members.items()
                if not member.startswith("_") and (callable(value) or isinstance(value, (property, classmethod)))
                if not getattr(value, "__doc__", None)
            ]
    assert undocumented == []
