r"""Text from anywhere on a terminal: nothing in it moves the cursor, changes colours or turns the writing around.

>>> print(printable(b"rl:\x1b[31m\xff\\"))
rl:\x1b[31m\xff\\
>>> unprintable(printable(b"rl:\x1b[31m\xff\\"))
b'rl:\x1b[31m\xff\\'
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\\))")


def printable(text: str | bytes) -> str:
    r"""Return the text with everything escaped that is no visible character: controls, escapes, bidirectional marks.

    Bytes that are no UTF-8 are written ``\xff``, control characters ``\x1b``, others ``\u202e``; a backslash is
    doubled, so that `unprintable` can read it back.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character == " " or character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unprintable(text: str | bytes) -> bytes:
    """Return the bytes that `printable` was given."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text

    def read(match: re.Match[bytes]) -> bytes:
        byte, short, long, _ = match.groups()
        if byte:
            return bytes([int(byte, 16)])
        if short or long:
            return chr(int(short or long, 16)).encode("utf-8", "surrogatepass")
        return b"\\"

    return _ESCAPE.sub(read, raw)
