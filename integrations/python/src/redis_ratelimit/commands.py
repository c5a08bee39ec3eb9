"""The commands: how each is asked, how its reply is read, and what a failure policy answers in its place.

What the blocking and the asyncio client have in common. Neither adds anything to a request but the way it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from redis.crc import key_slot

from .decision import Decision, Decisions
from .errors import ArgumentError, CrossSlotError, ReplyError
from .info import Info, TopKey, Window
from .policy import answer
from .rates import Duration, Rate, RateLike, checked_burst, milliseconds, one_rate, rates, units

Key: TypeAlias = str | bytes
Word: TypeAlias = bytes | str | int
T = TypeVar("T")

MAX_TOP = 1000
"""How many keys RL.TOP tells at most."""
MAX_RESET = 1024
"""How many keys RL.RESET takes at most."""


@dataclass(slots=True)
class Request(Generic[T]):
    """One command. Nothing changes it: it is not frozen, for that would double what it takes to make one."""

    words: tuple[Word, ...]
    keys: tuple[bytes, ...]
    """The keys, by which a cluster is asked; without any, all its primaries are."""
    read: Callable[[list[Any]], T]
    """Makes the result of the replies: one, or one for each primary."""
    fallback: Callable[[Literal["open", "closed"], str], T] | None
    """Makes the result of a policy and a reason. None if no answer can be made up."""

    def slot_key(self) -> bytes:
        """Return the key to route by, or raise `CrossSlotError`."""
        if len({key_slot(key) for key in self.keys}) > 1:
            raise CrossSlotError(
                "the keys of one call must be in one slot of the cluster: "
                "give them the same hash tag, {…}, or ask for each key by itself"
            )
        return self.keys[0]


def check(
    key: Key,
    given: Sequence[RateLike],
    cost: int = 1,
    at_most: bool = False,
    force: bool = False,
    block: Duration | None = None,
    *,
    upto: Duration | None = None,
    keep: int = 0,
    receipt: bool = False,
    renew: int | None = None,
) -> Request[Decision]:
    """``RL.CHECK``."""
    found = rates(given)
    if not found:
        raise ArgumentError("check needs at least one rate")
    raw = _bytes(key)
    words: list[Word] = ["RL.CHECK", raw, *_windows(found), *_options(cost, at_most, force, block, upto, keep)]
    if renew is not None:
        words += ["RENEW", _receipt(renew, "renew")]
    elif receipt:
        words.append("RECEIPT")
    return _decision(raw, words, min(found).limit, cost, receipt or renew is not None)


def gcra(
    key: Key,
    given: RateLike,
    burst: int | None,
    cost: int = 1,
    at_most: bool = False,
    force: bool = False,
    block: Duration | None = None,
    *,
    upto: Duration | None = None,
    keep: int = 0,
    max_wait: Duration | None = None,
) -> Request[Decision]:
    """``RL.GCRA``."""
    rate = one_rate(given)
    raw = _bytes(key)
    words: list[Word] = ["RL.GCRA", raw, *_windows((rate,))]
    most = checked_burst(rate, burst)
    if burst is not None:
        words += ["BURST", burst]
    words += _options(cost, at_most, force, block, upto, keep)
    if max_wait is not None:
        for other, given_too in (("at_most", at_most), ("force", force), ("keep", keep)):
            if given_too:
                raise ArgumentError(f"max_wait and {other} exclude each other")
        words += ["MAXWAIT", _time(milliseconds(max_wait, "max_wait"))]
    return _decision(raw, words, most, cost)


def pairs_of(given: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]]) -> tuple[tuple[Key, RateLike], ...]:
    """Return the keys and rates of `mcheck`."""
    return tuple(given.items() if isinstance(given, Mapping) else given)


def mcheck(
    given: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]],
    cost: int = 1,
    *,
    costs: Sequence[int] | None = None,
    force: bool = False,
    receipt: bool = False,
) -> Request[Decisions]:
    """``RL.MCHECK``."""
    pairs = pairs_of(given)
    if not 1 <= len(pairs) <= 128:
        raise ArgumentError(f"mcheck needs from 1 to 128 keys, not {len(pairs)}")
    named = [key for key, _ in pairs]
    keys = [_bytes(key) for key in named]
    if len(set(keys)) != len(keys):
        raise ArgumentError("the keys of mcheck must differ")
    found = tuple(one_rate(rate) for _, rate in pairs)
    words: list[Word] = ["RL.MCHECK", len(keys), *keys, *_windows(found), *_options(cost, force=force)]
    if costs is not None:
        words += ["COSTS", *_costs(costs, len(keys), cost)]
    if receipt:
        words.append("RECEIPT")
    each = [cost] * len(keys) if costs is None else costs

    def read(replies: list[Any]) -> Decisions:
        rows = replies[0]
        if not isinstance(rows, list) or len(rows) != len(keys):
            raise ReplyError(f"RL.MCHECK replied {rows!r:.200}")
        return Decisions({key: _fields(row, receipt) for key, row in zip(named, rows, strict=True)})

    def fallback(policy: Literal["open", "closed"], reason: str) -> Decisions:
        return Decisions(
            {
                key: answer(policy, reason, limit=rate.limit, cost=of_key)
                for key, rate, of_key in zip(named, found, each, strict=True)
            }
        )

    return Request(tuple(words), tuple(keys), read, fallback)


def peek(key: Key, cost: int) -> Request[Decision | None]:
    """``RL.PEEK``."""
    words: list[Word] = ["RL.PEEK", _bytes(key), *_options(cost)]
    return Request(
        tuple(words),
        (_bytes(key),),
        _null_or(_fields),
        lambda policy, reason: answer(policy, reason, limit=0, cost=cost),
    )


def refund(key: Key, amount: int, *, receipt: int | None = None) -> Request[Decision | None]:
    """``RL.REFUND``."""
    words: list[Word] = ["RL.REFUND", _bytes(key), units(amount, "units")]
    if receipt is not None:
        words += ["RECEIPT", _receipt(receipt, "receipt")]
    return Request(tuple(words), (_bytes(key),), _null_or(_fields), None)


def info(key: Key) -> Request[Info | None]:
    """``RL.INFO``."""
    return Request(("RL.INFO", _bytes(key)), (_bytes(key),), _null_or(_info), None)


def reset(given: Iterable[Key]) -> Request[int]:
    """``RL.RESET``."""
    keys = tuple(_bytes(key) for key in given)
    if not keys:
        raise ArgumentError("reset needs at least one key")
    if len(keys) > MAX_RESET:
        raise ArgumentError(f"reset takes at most {MAX_RESET} keys, not {len(keys)}")
    return Request(("RL.RESET", *keys), keys, lambda replies: _integer(replies[0]), None)


def probe(key: Key) -> Request[None]:
    """``CL.THROTTLE`` with a quantity of 0: what would be in the way of a decision is in its way, but it is none.

    The server checks user, memory, replication and files as for ``RL.CHECK``. Nothing is charged, stored, or counted as
    a decision.
    """

    def read(replies: list[Any]) -> None:
        if _fields(replies[0]).granted != 0:
            raise ReplyError(f"CL.THROTTLE replied {replies[0]!r:.200}")

    return Request(("CL.THROTTLE", _bytes(key), 0, 1, 1, 0), (_bytes(key),), read, None)


def top(count: int, database: int | None = None) -> Request[list[TopKey]]:
    """``RL.TOP``."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_TOP:
        raise ArgumentError(f"count must be an integer from 1 to {MAX_TOP}, not {count!r:.80}")
    only: tuple[Word, ...] = ()
    if database is not None:
        if isinstance(database, bool) or not isinstance(database, int) or not 0 <= database < 1 << 31:
            raise ArgumentError(f"database must be an integer from 0 to 2147483647, not {database!r:.80}")
        only = ("DB", database)

    def read(replies: list[Any]) -> list[TopKey]:
        try:
            rows = [
                TopKey(key if isinstance(key, bytes) else key.encode(), *map(_integer, numbers[:3]))
                for reply in replies
                for key, *numbers in _list(reply)
            ]
        except (AttributeError, TypeError, ValueError) as error:
            raise ReplyError(f"RL.TOP replied {replies!r:.200}") from error
        # Each node of a cluster has counted for itself.
        rows.sort(key=lambda row: -row.denials)
        return rows[:count]

    return Request(("RL.TOP", count, *only), (), read, None)


def _decision(key: bytes, words: list[Word], limit: int, cost: int, receipt: bool = False) -> Request[Decision]:
    return Request(
        tuple(words),
        (key,),
        _read_with_receipt if receipt else _read,
        lambda policy, reason: answer(policy, reason, limit=limit, cost=cost),
    )


def _read(replies: list[Any]) -> Decision:
    return _fields(replies[0])


def _read_with_receipt(replies: list[Any]) -> Decision:
    return _fields(replies[0], receipt=True)


def _bytes(key: Key) -> bytes:
    if isinstance(key, bytes):
        return key
    if not isinstance(key, str):
        raise ArgumentError(f"a key must be str or bytes, not {type(key).__name__}")
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError("the key is no valid text: build it with redis_ratelimit.keys.key()") from error


@lru_cache(maxsize=1024)
def _windows(found: tuple[Rate, ...]) -> tuple[bytes, ...]:
    return tuple(word.encode() for rate in found for word in (str(rate.limit), _time(rate.window_ms)))


def _time(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds % 1000 else str(milliseconds // 1000)


def _receipt(value: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 63:
        raise ArgumentError(f"{what} must be the receipt of what was granted (0 is that of nothing), not {value!r:.80}")
    return value


def _costs(costs: Sequence[int], keys: int, cost: int) -> Sequence[int]:
    if cost != 1:
        raise ArgumentError("cost and costs exclude each other")
    if isinstance(costs, (str, bytes)) or not isinstance(costs, Sequence) or len(costs) != keys:
        raise ArgumentError(f"costs must be a list with one cost for each of the {keys} keys, not {costs!r:.80}")
    for one in costs:
        if one != 0 or isinstance(one, (bool, float)):
            units(one, "each of costs (which may also be 0)")
    if not any(costs):
        raise ArgumentError("at least one of costs must be above 0")
    return costs


def _options(
    cost: int,
    at_most: bool = False,
    force: bool = False,
    block: Duration | None = None,
    upto: Duration | None = None,
    keep: int = 0,
) -> list[Word]:
    plain = type(cost) is int and cost == 1 and type(keep) is int and keep == 0
    if plain and not (at_most or force) and block is None and upto is None:
        return []
    if force and at_most:
        raise ArgumentError("at_most and force exclude each other")
    if force and block is not None:
        raise ArgumentError("force and block exclude each other: what is forced is never denied")
    if force and keep:
        raise ArgumentError("force and keep exclude each other: what is forced leaves nothing for others")
    words: list[Word] = []
    if units(cost, "cost") != 1:
        words += ["COST", cost]
    if isinstance(keep, bool) or keep != 0:
        words += ["KEEP", units(keep, "keep")]
    if at_most:
        words.append("ATMOST")
    if force:
        words.append("FORCE")
    if block is not None:
        words += ["BLOCK", _time(milliseconds(block, "block"))]
    if upto is not None:
        if block is None or milliseconds(upto, "upto") < milliseconds(block, "block"):
            raise ArgumentError("upto is how long a block may become: it needs a block, and must be at least as long")
        words += ["UPTO", _time(milliseconds(upto, "upto"))]
    return words


def _null_or(read: Callable[[Any], T]) -> Callable[[list[Any]], T | None]:
    return lambda replies: None if replies[0] is None else read(replies[0])


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ReplyError(f"an array was expected in the reply, not {value!r:.80}")


def _integer(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise ReplyError(f"an integer was expected in the reply, not {value!r:.80}")


_FIVE, _SIX = [int] * 5, [int] * 6


def _fields(reply: Any, receipt: bool = False) -> Decision:
    """Read the five integers, and a sixth if it was asked for. Later versions may send more."""
    wanted = _SIX if receipt else _FIVE
    numbers = reply[: len(wanted)] if isinstance(reply, list) else []
    # A subclass of int, such as bool, is none that a server sends.
    if [*map(type, numbers)] != wanted:
        raise ReplyError(f"{len(wanted)} integers were expected in the reply, not {reply!r:.200}")
    granted, limit, remaining, retry_after, reset_after, *more = numbers
    return Decision(granted, limit, remaining, retry_after, reset_after, None, *more)


def _info(reply: Any) -> Info:
    try:
        fields = as_map(reply)
        windows = [as_map(window) for window in fields["windows"]]
        algorithm = fields["algorithm"]
        return Info(
            algorithm.decode() if isinstance(algorithm, bytes) else algorithm,
            fields["blocked_for"],
            tuple(
                Window(
                    limit=window["limit"],
                    window_ms=window["window"],
                    burst=window.get("burst"),
                    used=window["used"],
                    remaining=window["remaining"],
                    retry_after_ms=window["retry_after"],
                    next_after_ms=window["next_after"],
                    reset_after_ms=window["reset_after"],
                )
                for window in windows
            ),
            fields.get("blocks", 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReplyError(f"RL.INFO replied {reply!r:.200}") from error


def as_map(reply: Any) -> dict[str, Any]:
    """Read a map, which RESP2 sends as a flat list."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode() if isinstance(name, bytes) else name: value for name, value in pairs}
