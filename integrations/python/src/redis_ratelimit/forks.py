"""What a forked process makes anew: a lock that some thread held at that moment is never released there."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_renewals: set[weakref.WeakMethod[Callable[[], None]]] = set()


def renew_in_child(method: Callable[[], None]) -> None:
    """Call the method in every process that is forked from this one, before anything else runs there."""
    _renewals.add(weakref.WeakMethod(method, _renewals.discard))


def _renew() -> None:
    for reference in list(_renewals):
        method = reference()
        if method is not None:
            method()


# Where there is no fork, there is nothing to do.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
