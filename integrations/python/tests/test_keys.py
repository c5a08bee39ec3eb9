"""Keys built from what users send, and the addresses that they are counted by."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_ratelimit import ArgumentError, client_ip, key
from redis_ratelimit.keys import LONGEST_PART, escape, hashed, unescape

PARTS = st.one_of(
    st.text(),
    st.binary(),
    st.text(alphabet="a:%{}2F5=\x00\n\x9f\udc80é"),
    st.text(min_size=60, max_size=70),
    st.characters(categories=["Cs"]),
)


def as_bytes(part: str | bytes) -> bytes:
    return part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_different_parts_make_different_keys(left: list[str | bytes], right: list[str | bytes]) -> None:
    same = [as_bytes(part) for part in left] == [as_bytes(part) for part in right]
    assert (key(*left) == key(*right)) == same


@given(PARTS)
def test_what_is_escaped_comes_back(part: str | bytes) -> None:
    assert unescape(escape(part)) == as_bytes(part)


@given(st.lists(PARTS, min_size=1, max_size=4), st.none() | PARTS.filter(bool))
def test_a_key_is_short_printable_text_with_the_hash_tag_that_was_asked_for(
    parts: list[str | bytes], tag: str | bytes | None
) -> None:
    made = key(*parts, tag=tag)
    made.encode()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", made)
    assert len(made.encode()) <= len("rl:{}") + (len(parts) + 1) * (3 * LONGEST_PART + 1)
    assert made.count(":") == len(parts) + (tag is not None)
    assert made.count("{") == made.count("}") == (tag is not None)


@given(st.text(max_size=200))
def test_only_what_escape_writes_can_be_read_back(text: str) -> None:
    try:
        raw = unescape(text)
    except ArgumentError:
        return
    assert escape(raw) == text


def test_long_parts_are_hashed_and_look_like_no_other_part() -> None:
    longest = "x" * LONGEST_PART
    assert key(longest) == f"rl:{longest}"
    assert key(longest + "x") == f"rl:{hashed(longest + 'x')}" != key(longest + "y")
    # 33 characters of two bytes each.
    assert key("é" * 33) == f"rl:{hashed('é' * 33)}"
    assert key(hashed("a")) != "rl:" + hashed("a")
    with pytest.raises(ArgumentError, match="hashed"):
        unescape(hashed("a"))


def test_parts_are_text_bytes_or_whole_numbers() -> None:
    assert key("user", 42, b"\xff") == "rl:user:42:%FF"
    assert key("user", UUID(int=7)) == f"rl:user:{UUID(int=7)}"
    assert key() == "rl"
    assert key("a", prefix="") == "a"
    assert key("a", prefix="{rl}") == "{rl}:a"
    for part in (None, 1.5, True, ["a"]):
        with pytest.raises(ArgumentError, match="str, bytes, int or UUID"):
            key(part)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="hash tag"):
        key("a", tag="")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ("192.0.2.1:5000", "192.0.2.1"),
        ("", "unknown"),
        (None, "unknown"),
        ("unix:", "unix:"),
        ("192.0.2.256", "192.0.2.256"),
    ],
)
def test_the_address_of_the_peer(peer: str | None, expected: str) -> None:
    assert client_ip(peer) == expected


@pytest.mark.parametrize(
    ("header", "trusted", "expected"),
    [
        # Nobody is trusted: the header is what the client likes to write.
        ("203.0.113.9", 0, "10.0.0.1"),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", 1, "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9, 10.0.0.2"], 2, "203.0.113.9"),
        ("203.0.113.9:1234", 1, "203.0.113.9"),
        ('"[2001:db8::1]:1234"', 1, "2001:db8::/64"),
        ("[2001:db8::1]", 1, "2001:db8::/64"),
        ("::ffff:203.0.113.9", 1, "203.0.113.9"),
        # Malformed, or shorter than it must be.
        ("6.6.6.6, unknown", 1, "10.0.0.1"),
        ("6.6.6.6, ", 1, "10.0.0.1"),
        ("6.6.6.6, 203.0.113.9:", 1, "10.0.0.1"),
        ("6.6.6.6, 203.0.113.9 x", 1, "10.0.0.1"),
        ("203.0.113.9", 2, "10.0.0.1"),
        ("", 1, "10.0.0.1"),
        ([], 1, "10.0.0.1"),
        (None, 1, "10.0.0.1"),
        # What stands before the client may be anything.
        ("<script>, 203.0.113.9", 1, "203.0.113.9"),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_proxies_are_trusted(
    header: str | list[str] | None, trusted: int, expected: str
) -> None:
    assert client_ip("10.0.0.1", header, trusted_proxies=trusted) == expected


@given(st.text(), st.text(alphabet='0123456789abcdef:.,[]% "'), st.integers(0, 3))
def test_no_header_is_an_error_and_none_can_change_what_trusted_proxies_wrote(
    peer: str, header: str, more: int
) -> None:
    client_ip(peer, header, trusted_proxies=more)
    behind = ", 203.0.113.9" + ", 10.0.0.2" * more
    assert client_ip("10.0.0.1", header + behind, trusted_proxies=more + 1) == "203.0.113.9"


def test_the_group_of_ipv6_can_be_chosen() -> None:
    assert client_ip("2001:db8:1:2:3::1", ipv6_prefix=56) == "2001:db8:1::/56"
    assert client_ip("2001:db8:1:2:3::1", ipv6_prefix=128) == "2001:db8:1:2:3::1"
    for wrong in ({"ipv6_prefix": 0}, {"ipv6_prefix": 129}, {"trusted_proxies": -1}, {"trusted_proxies": True}):
        with pytest.raises(ArgumentError):
            client_ip("192.0.2.1", **wrong)  # type: ignore[arg-type]
