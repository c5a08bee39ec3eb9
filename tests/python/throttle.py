"""Plain redis-py against CL.THROTTLE: what an application that uses redis-cell does. Usage: throttle.py SOCKET"""

import sys

import redis

# Twice: the parsers of RESP2 and RESP3.
for protocol in (2, 3):
    client = redis.Redis(unix_socket_path=sys.argv[1], protocol=protocol)
    key = f"user:{protocol}"

    allowed = client.execute_command("CL.THROTTLE", key, 2, 30, 60, 1)
    assert allowed == [0, 3, 2, -1, 2], allowed
    assert client.execute_command("CL.THROTTLE", key, 2, 30, 60) == [0, 3, 1, -1, 4]
    assert client.execute_command("CL.THROTTLE", key, 2, 30, 60) == [0, 3, 0, -1, 6]
    limited, limit, remaining, retry_after, reset_after = client.execute_command("CL.THROTTLE", key, 2, 30, 60)
    assert (limited, limit, remaining, retry_after, reset_after) == (1, 3, 0, 2, 6)
    assert client.execute_command("CL.THROTTLE", key, 2, 30, 60, 0) == [0, 3, 0, -1, 6]

    # A key of any bytes, in a pipeline and in a transaction.
    for transaction in (False, True):
        pipeline = client.pipeline(transaction=transaction)
        for _ in range(2):
            pipeline.execute_command("CL.THROTTLE", b"\xff\x00 %d" % protocol + bytes([transaction]), 0, 1, 60)
        assert [row[0] for row in pipeline.execute()] == [0, 1]

    try:
        client.execute_command("CL.THROTTLE", key, 2, 0, 60)
        raise AssertionError("a rate of zero was accepted")
    except redis.ResponseError as error:
        assert "count_per_period" in str(error), error
