"""Strategies by name: ours for our storages, those of `limits` for all others."""

from __future__ import annotations

from typing import Any


def register(strategies: Any, storage: type, sliding_window: type, gcra: type) -> None:
    """Enter our strategies into a ``STRATEGIES`` of `limits`."""
    moving_window = strategies["moving-window"]
    for name, theirs in list(strategies.items()):
        strategies[name] = _either(storage, sliding_window, theirs)
    strategies["rl-sliding-window"] = _either(storage, sliding_window, moving_window)
    strategies["rl-gcra"] = _either(storage, gcra, moving_window)


def _either(storage: type, ours: type, theirs: Any) -> type:
    """Return a class whose instances are those of one of two others: what is looked up by name is only called."""

    class Either(theirs):  # type: ignore[misc]
        def __new__(cls, chosen: Any) -> Any:
            return ours(chosen) if isinstance(chosen, storage) else theirs(chosen)

    Either.__name__, Either.__qualname__, Either.__doc__ = theirs.__name__, theirs.__qualname__, theirs.__doc__
    return Either
