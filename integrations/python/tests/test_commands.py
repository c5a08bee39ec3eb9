"""What the server is asked, word by word, and how its replies are read."""

from typing import Any

import pytest

from redis_ratelimit import ReplyError, commands
from redis_ratelimit.commands import Request

BOTH = [("a", "5/m"), (b"b", "9/h")]


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (commands.check("a", ["5/m"], keep=3), "RL.CHECK a 5 60 KEEP 3"),
        (commands.check("a", ["5/m"], 2, True, keep=3), "RL.CHECK a 5 60 COST 2 KEEP 3 ATMOST"),
        (commands.check("a", ["5/m"], block="1m", upto="1d"), "RL.CHECK a 5 60 BLOCK 60 UPTO 86400"),
        (commands.check("a", ["5/m"], block="1m", upto="1m"), "RL.CHECK a 5 60 BLOCK 60 UPTO 60"),
        (commands.check("a", ["5/m"], receipt=True), "RL.CHECK a 5 60 RECEIPT"),
        (commands.check("a", ["5/m"], renew=17), "RL.CHECK a 5 60 RENEW 17"),
        # RENEW implies RECEIPT.
        (commands.check("a", ["5/m"], renew=17, receipt=True), "RL.CHECK a 5 60 RENEW 17"),
        (commands.gcra("a", "5/m", None, keep=3), "RL.GCRA a 5 60 KEEP 3"),
        (commands.gcra("a", "5/m", 9, 2, max_wait=1.5), "RL.GCRA a 5 60 BURST 9 COST 2 MAXWAIT 1500ms"),
        (commands.gcra("a", "5/m", None, block=1, upto=8), "RL.GCRA a 5 60 BLOCK 1 UPTO 8"),
        (commands.mcheck(BOTH, costs=[0, 7]), "RL.MCHECK 2 a b 5 60 9 3600 COSTS 0 7"),
        (commands.mcheck(BOTH, 2, force=True, receipt=True), "RL.MCHECK 2 a b 5 60 9 3600 COST 2 FORCE RECEIPT"),
        (commands.refund("a", 3, receipt=17), "RL.REFUND a 3 RECEIPT 17"),
        (commands.refund("a", 3), "RL.REFUND a 3"),
    ],
)
def test_every_option_is_one_of_the_server(request_: Request[Any], line: str) -> None:
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in request_.words]
    assert " ".join(words) == line


def test_a_receipt_is_read_if_it_was_asked_for() -> None:
    for asked in (commands.check("a", ["5/m"], receipt=True), commands.check("a", ["5/m"], renew=3)):
        assert asked.read([[1, 5, 4, 0, 60_000, 17]]).receipt == 17
        with pytest.raises(ReplyError, match="6 integers"):
            asked.read([[1, 5, 4, 0, 60_000]])
    # Else it is an element that this release does not know.
    assert commands.check("a", ["5/m"]).read([[1, 5, 4, 0, 60_000, 17]]).receipt == 0
    decisions = commands.mcheck(BOTH, costs=[1, 0], receipt=True).read([[[1, 5, 4, 0, 1, 17], [0, 9, 9, 0, 0, 0]]])
    assert [row.receipt for row in decisions.values()] == [17, 0]
    # Granted, though the second has granted none of its units: it was asked for none.
    assert decisions.allowed
    assert decisions.refused == ()


def test_a_policy_answers_each_key_by_its_own_cost() -> None:
    fallback = commands.mcheck(BOTH, costs=[0, 7]).fallback
    assert fallback is not None
    opened = fallback("open", "TIMEOUT")
    assert [(row.granted, row.remaining) for row in opened.values()] == [(0, 5), (7, 2)]
    assert opened.allowed
    assert not fallback("closed", "TIMEOUT").allowed
