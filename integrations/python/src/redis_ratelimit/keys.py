"""Keys built from what users send, so that no value can look like another one, or like more than one."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias
from uuid import UUID

from .errors import ArgumentError

Part: TypeAlias = str | bytes | int | UUID
"""What a key is built of."""
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"
"""The address of a client of which nobody knows it."""
LONGEST_PART = 64
"""Bytes: a part that is longer is hashed."""

# What separates parts, what marks a hash tag, the escape character itself, and control characters (C0, DEL, C1).
_SPECIAL = re.compile(r"[%:{}\x00-\x1f\x7f-\x9f]")
# How Python decodes what is none.
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(r"%([0-9A-F]{2})", re.ASCII)
_BRACKETED = re.compile(r"\[([^\]]*)\](?::[0-9]+)?", re.ASCII)
_WITH_PORT = re.compile(r"[0-9.]+:[0-9]+", re.ASCII)
_HASHED = re.compile(r"%=[0-9a-f]{40}", re.ASCII)


def key(*parts: Part, prefix: str = "rl", tag: Part | None = None) -> str:
    r"""Build a key of parts: the prefix, the hash tag if there is one, and the parts, with ``:`` between them.

    Different parts make different keys, whatever is in them: see `escape`, and `hashed` for those above 64 bytes. The
    prefix is the application's own and goes in as it is; it may hold a hash tag, ``{rl}``.

    >>> key("login", "ann@example.org")
    'rl:login:ann@example.org'
    >>> key("login", "2001:db8::1", "100%\r\n")
    'rl:login:2001%3Adb8%3A%3A1:100%25%0D%0A'
    >>> key("ip", "192.0.2.1", tag="ann")
    'rl:{ann}:ip:192.0.2.1'
    """
    found = [prefix] if prefix else []
    if tag is not None:
        text = _part(tag)
        if not text:
            raise ArgumentError("an empty hash tag tags nothing: leave it out, or give one")
        found.append("{" + text + "}")
    found.extend(_part(part) for part in parts)
    return ":".join(found)


def _part(value: Part) -> str:
    if type(value) is str and value.isascii() and len(value) <= LONGEST_PART:
        return escape(value)
    raw = _bytes(value)
    return escape(raw) if len(raw) <= LONGEST_PART else hashed(raw)


def _bytes(value: Part) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # Lone surrogates, which JSON and WSGI can bring in, must not be an error that a client can cause.
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value).encode()
    raise ArgumentError(f"a part of a key must be str, bytes, int or UUID, not {type(value).__name__}")


def escape(value: str | bytes) -> str:
    r"""Write ``%``, ``:``, ``{``, ``}``, control characters and what is no UTF-8 as ``%`` and two hexadecimal digits.

    >>> escape("{a}:b"), escape(b"\xff")
    ('%7Ba%7D%3Ab', '%FF')
    """
    if type(value) is str and value.isascii() and _SPECIAL.search(value) is None:
        return value
    text = _bytes(value).decode("utf-8", "surrogateescape")
    return _NO_UTF8.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", _SPECIAL.sub(_percent, text))


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` was given.

    >>> unescape("%7Ba%7D%3Ab")
    b'{a}:b'

    Raises `ArgumentError` for a hashed part, of which nothing comes back, and for what `escape` cannot have written.
    """
    if _HASHED.fullmatch(text):
        raise ArgumentError("a hashed part cannot be read back")
    raw = b"".join(
        bytes([int(piece, 16)]) if index % 2 else piece.encode("utf-8", "surrogatepass")
        for index, piece in enumerate(_ESCAPED.split(text))
    )
    if escape(raw) != text:
        raise ArgumentError(f"not an escaped part of a key: {text!r:.80}")
    return raw


def hashed(value: str | bytes) -> str:
    """Return a fingerprint of the value: ``%=`` and 160 bits of SHA-256. No escaped value looks like it.

    >>> hashed("x" * 1000)
    '%=44f8354494a5ba03ba1792a8d3e9c534c47a9181'
    """
    return "%=" + hashlib.sha256(_bytes(value)).hexdigest()[:40]


def client_ip(
    peer: str | None,
    forwarded_for: str | Iterable[str] | None = None,
    *,
    trusted_proxies: int = 0,
    ipv6_prefix: int = 64,
) -> str:
    """Return the address to limit a client by.

    `peer` is the address that the connection comes from (``REMOTE_ADDR``), `forwarded_for` the header
    ``X-Forwarded-For``, or all of them in order. The header is believed only as far as `trusted_proxies` of the
    application's own proxies have written it: each appends whom it talked to, so with n of them the client is the n-th
    address from the end, and whatever stands before it is the client's own invention. If that address is missing or
    malformed, the peer's is taken.

    IPv6 clients own whole networks, and are grouped by /64 (`ipv6_prefix`). IPv4 in IPv6 (``::ffff:192.0.2.1``) is
    IPv4. A peer that is no address, as on a unix socket, is returned as it is; ``unknown`` if there is none.

    >>> client_ip("192.0.2.1", "203.0.113.9")
    '192.0.2.1'
    >>> client_ip("10.0.0.2", "6.6.6.6, 203.0.113.9", trusted_proxies=1)
    '203.0.113.9'
    >>> client_ip("2001:db8:1:2:3:4:5:6"), client_ip("::ffff:192.0.2.1")
    ('2001:db8:1:2::/64', '192.0.2.1')
    """
    if isinstance(trusted_proxies, bool) or not isinstance(trusted_proxies, int) or trusted_proxies < 0:
        raise ArgumentError(f"trusted_proxies must be an integer from 0, not {trusted_proxies!r:.80}")
    if not 1 <= ipv6_prefix <= 128:
        raise ArgumentError(f"ipv6_prefix must be from 1 to 128, not {ipv6_prefix}")
    if trusted_proxies and forwarded_for:
        header = forwarded_for if isinstance(forwarded_for, str) else ",".join(forwarded_for)
        hops = header.split(",")
        if len(hops) >= trusted_proxies:
            address = read_address(hops[-trusted_proxies])
            if address is not None:
                return _group(address, ipv6_prefix)
    address = read_address(peer or "")
    return _group(address, ipv6_prefix) if address is not None else (peer or "").strip() or UNKNOWN


def read_address(text: str) -> Address | None:
    """Read an address, which proxies write with and without brackets and a port. IPv4 in IPv6 is IPv4.

    None for what is none.
    """
    text = text.strip().strip('"')
    if ":" in text or "[" in text:
        if bracketed := _BRACKETED.fullmatch(text):
            text = bracketed[1]
        elif _WITH_PORT.fullmatch(text):
            text = text.rpartition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _group(address: Address, prefix: int) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    # By number, which leaves the scope (fe80::1%eth0) behind.
    network = ipaddress.IPv6Network((int(address), prefix), strict=False)
    return str(network.network_address) if prefix == 128 else str(network)
