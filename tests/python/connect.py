"""redis-py as users on database 1, or in a cluster, in the ways that applications connect.

usage: connect.py [--cluster] PORT USER...
"""

import argparse
import asyncio

import redis
import redis.asyncio


def ask(url: str) -> None:
    assert redis.Redis.from_url(url).ping()
    # Asks whether the connection lives before it is used.
    pool = redis.ConnectionPool.from_url(f"{url}&health_check_interval=60")
    connection = pool.get_connection()
    connection.next_health_check = -1
    connection.check_health()
    pool.release(connection)


async def ask_asynchronously(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        assert await client.ping()


async def ask_cluster_asynchronously(url: str) -> None:
    async with redis.asyncio.RedisCluster.from_url(url) as client:
        assert await client.ping()


parser = argparse.ArgumentParser()
parser.add_argument("--cluster", action="store_true")
parser.add_argument("port")
parser.add_argument("users", nargs="+")
arguments = parser.parse_args()
for user in arguments.users:
    for protocol in (2, 3):
        address = f"redis://{user}:secret@127.0.0.1:{arguments.port}"
        options = f"protocol={protocol}&client_name=shop"
        if arguments.cluster:
            assert redis.RedisCluster.from_url(f"{address}/0?{options}").ping()
            asyncio.run(ask_cluster_asynchronously(f"{address}/0?{options}"))
        else:
            ask(f"{address}/1?{options}")
            asyncio.run(ask_asynchronously(f"{address}/1?{options}"))
