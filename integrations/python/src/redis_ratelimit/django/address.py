"""The address of a client, as django-ratelimit's settings say."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..keys import read_address
from .settings import setting


def client_network(request: HttpRequest) -> str:
    """Return the address that ``RATELIMIT_IP_META_KEY`` names, cut to ``RATELIMIT_IPV4_MASK`` or ``_IPV6_MASK``.

    It is read with a port, as some servers give it, and IPv4 in IPv6 is IPv4. Raises `ImproperlyConfigured` for what is
    no address: were all clients without one a single client, one of them could lock out the others.
    """
    source, found = _source(request)
    # What redis_ratelimit.client_ip() returns may be a network.
    address = read_address(found.partition("/")[0]) if isinstance(found, str) else None
    if address is None:
        raise ImproperlyConfigured(
            f"{source} is {found!r:.80} and not an address, so clients cannot be told apart. Behind a proxy, let "
            "RATELIMIT_IP_META_KEY name a function of the request that returns the client's address, such as one that "
            "calls redis_ratelimit.client_ip() with trusted_proxies"
        )
    mask = setting("RATELIMIT_IPV4_MASK", 32) if address.version == 4 else setting("RATELIMIT_IPV6_MASK", 64)
    if mask == address.max_prefixlen and not getattr(address, "scope_id", None):
        return str(address)
    # By number, which leaves the scope of fe80::1%eth0 behind.
    kind = ipaddress.IPv4Network if address.version == 4 else ipaddress.IPv6Network
    return str(kind((int(address), mask), strict=False).network_address)


def user_or_network(request: HttpRequest) -> str:
    """Return the primary key of who is logged in, and the address of anybody else."""
    return str(request.user.pk) if request.user.is_authenticated else client_network(request)


def _source(request: HttpRequest) -> tuple[str, Any]:
    """Return what is asked for the address, and what it says."""
    key = setting("RATELIMIT_IP_META_KEY") or "REMOTE_ADDR"
    if callable(key) or "." in key:
        function = key if callable(key) else import_string(key)
        return "what RATELIMIT_IP_META_KEY returns", function(request)
    return f"META[{key!r}]", request.META.get(key)
