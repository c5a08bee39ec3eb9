"""The profile `sentinel`, whose primary is killed under load."""

from __future__ import annotations

from collections.abc import Callable

from stack import Stack, eventually
from traffic import CONNECTIONS, Load

SERVERS = ["redis-1", "redis-2", "redis-3"]
SENTINELS = ["sentinel-1", "sentinel-2", "sentinel-3"]
PASSWORD = "correct-horse"
URL = f"redis+sentinel://:{PASSWORD}@{':26379,'.join(SENTINELS)}:26379/mymaster/0?sentinel_password={PASSWORD}"


def address(stack: Stack, server: str) -> str:
    return stack.address(server, "sentinel")


def primary_of(stack: Stack) -> str | None:
    """Return the primary, if all Sentinels name the same one."""
    asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    addresses = {stack.cli(sentinel, *asked, port=26379).partition("\n")[0] for sentinel in SENTINELS}
    found = [server for server in SERVERS if {address(stack, server)} == addresses]
    return found[0] if found else None


def know_each_other(stack: Stack) -> bool:
    first = address(stack, "redis-1")
    watched = f"name=mymaster,status=ok,address={first}:6379,slaves=2,sentinels=3"
    return all(stack.info(sentinel, "sentinel", port=26379).get("master0") == watched for sentinel in SENTINELS)


def test_a_primary_that_is_killed_under_load_lifts_no_limit(start: Callable[..., Stack], flask_image: str) -> None:
    stack = start(REDIS_PASSWORD=PASSWORD)
    stack.read("docs/containers.md", "compose-sentinel-only")
    assert not stack.containers("redis")
    eventually(lambda: know_each_other(stack), "the Sentinels know each other and the replicas")
    eventually(
        lambda: all(stack.follows(server, "redis-1", "sentinel") for server in SERVERS[1:]), "the replicas follow"
    )
    first = address(stack, "redis-1")
    assert stack.read("docs/containers.md", "compose-sentinel-ask") == f"{first}\n6379\n1\n3\n2\n0\n60000\n"
    with Load(stack, "sentinel", flask_image, URL, "any") as load:
        load.goes_on()
        stack.kill("redis-1")
        load.goes_on()
        primary = eventually(lambda: primary_of(stack), "the Sentinels agree")
        assert primary in SERVERS[1:]
        # The killed one is started again, and told whom to follow.
        stack.read("docs/containers.md", "compose-sentinel-only")
        eventually(lambda: stack.follows("redis-1", primary, "sentinel"), "the old primary follows the new one")
        load.goes_on()
        [result] = load.end().values()
    print(
        f"measured: {result['pause']:.1f} s without decisions; {result['granted']} grants on {result['keys']} keys, "
        f"{result['over']} of them given back; {result['unanswered']} requests without an answer"
    )
    # docs/operations.md, Failover: never more than one for each connection.
    assert result["over"] <= CONNECTIONS
    assert result["under"] == 0
    assert result["unanswered"] > 0

    replicas = [server for server in SERVERS if server != primary]
    eventually(lambda: all(stack.has_all(server, primary, "sentinel") for server in replicas), "the replicas have all")
    keys = [f"{{any}}:{number}" for number in range(result["keys"])]
    states = stack.states(primary, keys)
    assert len(states) == 2 * len(keys)
    assert "(nil)" not in states
    for server in replicas:
        assert stack.states(server, keys) == states

    # Everything ends and comes back, with the roles that it had.
    stack.compose("down", profiles="sentinel")
    stack.read("docs/containers.md", "compose-sentinel")
    eventually(lambda: all(stack.follows(server, primary, "sentinel") for server in replicas), "the same primary")
    assert stack.states(primary, keys) == states
    eventually(lambda: primary_of(stack) == primary, "the Sentinels agree")
