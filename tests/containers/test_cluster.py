"""The profile `cluster`, one of whose primaries is cut off from the network under load."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.crc import key_slot

from stack import Stack, docker, eventually, run
from traffic import CONNECTIONS, Load

NODES = [f"node-{number}" for number in range(1, 7)]
PASSWORD = "correct-horse"
URL = f"redis+cluster://:{PASSWORD}@{':6379,'.join(NODES)}:6379"
# The slots that compose.yaml gives to the first three nodes.
SLOTS = {"node-1": range(5461), "node-2": range(5461, 10923), "node-3": range(10923, 16384)}
# compose.yaml has this, too: after so many seconds a node counts as lost.
NODE_TIMEOUT = 5.0


def tag_of(node: str) -> str:
    """Return a hash tag whose slot lies on a node."""
    return next(tag for tag in map(str, range(10_000)) if key_slot(tag.encode()) in SLOTS[node])


def is_whole(stack: Stack, node: str) -> bool:
    """Whether a node knows all others, and none is missing."""
    lines = stack.cli(node, "CLUSTER", "NODES").splitlines()
    return (
        len(lines) == len(NODES)
        and not any("fail" in line or "noaddr" in line or "disconnected" in line for line in lines)
        and "cluster_slots_ok:16384" in stack.cli(node, "CLUSTER", "INFO")
    )


def has_ended_well(stack: Stack) -> bool:
    return stack.inspect("cluster", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"


def test_a_primary_that_is_cut_off_and_healed_lifts_no_limit(start: Callable[..., Stack], flask_image: str) -> None:
    stack = start(REDIS_PASSWORD=PASSWORD)
    stack.read("docs/containers.md", "compose-cluster-only")
    assert not stack.containers("redis")
    eventually(lambda: has_ended_well(stack), "the cluster is made")
    eventually(lambda: stack.follows("node-4", "node-1"), "node-4 is the replica of node-1")
    assert stack.read("docs/containers.md", "compose-cluster-ask").endswith("1\n3\n2\n0\n60000\n")

    tags = {node: tag_of(node) for node in SLOTS}
    with Load(stack, "default", flask_image, URL, *tags.values()) as load:
        load.goes_on()
        before = stack.address("node-1")
        docker("network", "disconnect", "--force", stack.network(), stack.container("node-1"))
        cut_off = load.state()
        given_back, alone = ask_alone(stack, f"{{{tags['node-1']}}}:alone")
        eventually(lambda: stack.info("node-4", "replication")["role"] == "master", "node-4 takes over")
        taken_over = load.state()
        load.goes_on()

        # Somebody else has got its address meanwhile.
        stranger = run(*stack.beside("default", flask_image, "sleep", "infinity")).strip()
        assert stack.cli("node-1", "RL.CHECK", f"{{{tags['node-1']}}}:alone", "1000000", "1h").startswith("CLUSTERDOWN")
        docker("network", "connect", "--alias", "node-1", stack.network(), stack.container("node-1"))
        assert stack.address("node-1") != before
        eventually(lambda: stack.follows("node-1", "node-4"), "node-1 is the replica of node-4")
        eventually(lambda: all(is_whole(stack, node) for node in NODES), "all nodes know each other")
        load.goes_on()
        results = load.end()
    docker("rm", "--force", "--volumes", stranger)

    for node, tag in tags.items():
        result = results[tag]
        print(
            f"measured, slots of {node}: {result['pause']:.1f} s without decisions; {result['granted']} grants on "
            f"{result['keys']} keys, {result['over']} of them given back; {result['unanswered']} without an answer"
        )
        assert result["under"] == 0
    print(f"measured: node-1 decided for {alone:.1f} s when it was alone, and its {given_back} grants were given back")
    # docs/operations.md, Failover: never more than one for each connection.
    assert results[tags["node-1"]]["over"] <= CONNECTIONS
    assert results[tags["node-1"]]["unanswered"] > 0
    for node in ("node-2", "node-3"):
        assert results[tags[node]]["over"] == 0
        # They went on while the others could not.
        assert taken_over[tags[node]]["granted"] > cut_off[tags[node]]["granted"] + 50

    eventually(lambda: stack.has_all("node-1", "node-4"), "node-1 has all")
    keys = [f"{{{tags['node-1']}}}:{number}" for number in range(results[tags["node-1"]]["keys"])]
    states = stack.states("node-4", keys)
    assert len(states) == 2 * len(keys)
    assert "(nil)" not in states
    assert stack.states("node-1", keys) == states
    # What it granted alone is forgotten, there as well.
    assert stack.states("node-1", [f"{{{tags['node-1']}}}:alone"]) == ["(nil)", "(integer) -2"]

    # Everything ends and comes back, at other addresses.
    addresses = [stack.address(node) for node in NODES]
    stack.compose("down", profiles="cluster")
    for node in reversed(NODES):
        stack.compose("up", "--detach", node)
    stack.read("docs/containers.md", "compose-cluster")
    assert [stack.address(node) for node in NODES] != addresses
    eventually(lambda: has_ended_well(stack), "the nodes find each other")
    assert all(is_whole(stack, node) for node in NODES)
    assert stack.states("node-4", keys) == states


def ask_alone(stack: Stack, key: str) -> tuple[int, float]:
    """Ask a node without a network until it decides no longer. Return how many it granted, and for how long."""
    began = last = time.monotonic()
    granted = 0
    while True:
        answer = stack.cli("node-1", "RL.CHECK", key, "1000000", "1h")
        if answer.startswith("CLUSTERDOWN"):
            break
        assert answer.startswith("1\n1000000\n"), answer
        granted += 1
        last = time.monotonic()
        # It notices after its time limit, and says so some tenths of a second later.
        assert last - began < 3 * NODE_TIMEOUT
    assert granted > 0
    return granted, last - began
