"""From the URI and the options that `limits` gives a storage to those that a limiter takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from ..errors import ArgumentError
from ..url import STORAGE_SCHEMES

# They choose between libraries, and between primary and replicas: here it is redis-py and the primary.
_WITHOUT_MEANING = frozenset({"implementation", "use_replicas"})


def limiter_address(uri: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options of the limiter for a storage.

    What `limits` names ``service_name`` and ``sentinel_kwargs`` goes into the URL; all else is redis-py's.

    >>> limiter_address("async+rl+sentinel://h:26379", {"service_name": "main", "sentinel_kwargs": {"password": "p"}})
    ('redis+sentinel://h:26379/main?sentinel_password=p', {})
    """
    scheme, separator, rest = uri.partition("://")
    known = STORAGE_SCHEMES.get(scheme.removeprefix("async+"))
    if known is None or not separator:
        raise ArgumentError(
            f"the URI of a storage begins with one of {', '.join(f'{name}://' for name in STORAGE_SCHEMES)}"
        )
    kept = {name: value for name, value in options.items() if name not in _WITHOUT_MEANING}
    url = f"{known}://{rest}"
    if known.endswith("sentinel"):
        parts = urlsplit(url)
        service = kept.pop("service_name", None)
        if service and not parts.path.strip("/"):
            parts = parts._replace(path="/" + quote(service, safe=""))
        own = {f"sentinel_{name}": value for name, value in (kept.pop("sentinel_kwargs", None) or {}).items()}
        query = "&".join(text for text in (parts.query, urlencode(own)) if text)
        url = urlunsplit(parts._replace(query=query))
    return url, kept
