"""The counters of the servers for Prometheus, over HTTP. It needs prometheus_client: the extra ``exporter``."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import admin
from .client import RateLimiter
from .commands import MAX_TOP
from .errors import ArgumentError, ConfigurationError, RateLimitError
from .escapes import printable

# What of the server's own INFO tells how limits are: the name of the metric, the field, and what it is. Those that end
# in `_total` are counters.
_SECTIONS = ("memory", "stats", "persistence", "replication", "commandstats")
_FIELDS = (
    ("server_used_memory_bytes", "used_memory", "Memory that the server uses"),
    ("server_maxmemory_bytes", "maxmemory", "Memory that the server may use, 0 without a limit"),
    ("server_evicted_keys_total", "evicted_keys", "Keys evicted: limits lifted, if they were limiters"),
    ("server_connected_replicas", "connected_slaves", "Replicas connected"),
    ("server_snapshot_ok", "rdb_last_bgsave_status", "Whether the last snapshot succeeded"),
    ("server_aof_ok", "aof_last_write_status", "Whether the last write to the append-only file succeeded"),
)
# What it tells of each command of ours.
_COMMANDS = (
    ("command_calls_total", "calls", "Calls carried out by the server"),
    ("command_rejected_total", "rejected_calls", "Calls that the server refused: OOM, NOREPLICAS, NOPERM and others"),
    ("command_seconds_total", "usec", "Time that the server took for the calls"),
)


class Servers(Collector):
    """``INFO`` of every primary, and with `top` the keys denied most.

    ``redis_ratelimit_up`` is 0 for a server that does not answer, whose other metrics are missing then. Keys name
    people: without `top` there are none in it.
    """

    def __init__(self, limiter: RateLimiter, *, top: int = 0) -> None:
        self._limiter = limiter
        self._top = top

    def collect(self) -> Iterable[Metric]:
        """Ask the servers."""
        up: dict[str, int] = {}
        families: dict[str, Any] = {}

        def add(name: str, text: str, value: float, **labels: str) -> None:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = families.setdefault(name, kind(f"redis_ratelimit_{name}", text, labels=list(labels)))
            family.add_metric(list(labels.values()), value)

        try:
            servers = admin.primaries(self._limiter)
        except RateLimitError:
            servers, up = [], {"cluster": 0}
        for server in servers:
            try:
                counters = admin.counters_of(server)
                info = server.ask("INFO", *_SECTIONS)
            except RateLimitError:
                up[server.name] = 0
                continue
            up[server.name] = 1
            for field, value in counters.items():
                name = re.sub("[^a-zA-Z0-9_]", "_", field) + "_total"
                add(name, f"{field} of INFO ratelimit", value, server=server.name)
            _add_info(add, server.name, info)
        for name, answers in up.items():
            add("up", "Whether the server answers", answers, server=name)
        if self._top and all(up.values()):
            for (key, database), denials in self._denied().items():
                add("key_denials", "Denials of the keys denied most lately", denials, key=key, database=database)
        return families.values()

    def _denied(self) -> dict[tuple[str, str], int]:
        # A key that was denied on two nodes, as after a resharding, is one.
        denials: dict[tuple[str, str], int] = {}
        try:
            for row in self._limiter.top(self._top):
                pair = (printable(row.key), str(row.database))
                denials[pair] = denials.get(pair, 0) + row.denials
        except RateLimitError:
            return {}
        return denials


def _add_info(add: Callable[..., None], server: str, info: Mapping[str, Any]) -> None:
    for name, field, text in _FIELDS:
        value = info.get(field)
        if value is not None:
            add(name, text, value if isinstance(value, int) else int(value == "ok"), server=server)
    for field, stats in info.items():
        command = field.removeprefix("cmdstat_")
        if command.startswith("rl.") or command == "cl.throttle":
            for name, part, text in _COMMANDS:
                value = stats[part] / 1_000_000 if part == "usec" else stats[part]
                add(name, text, value, server=server, command=command)


def serve(limiter: RateLimiter, listen: str, *, top: int = 0, out: IO[str]) -> int:
    """Answer ``GET /metrics`` on ``host:port`` until the process is told to end; port 0 is any that is free."""
    if not 0 <= top <= MAX_TOP:
        raise ArgumentError(f"top must be from 0 to {MAX_TOP}, not {top}")
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or not host:
        raise ArgumentError(f"--listen takes host:port, such as 127.0.0.1:9478, not {listen!r:.80}")
    registry = CollectorRegistry()
    registry.register(Servers(limiter, top=top))
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {listen}: {error.strerror}") from error
    metrics: Any = server.get_app()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        # prometheus_client answers on every path.
        if environ["PATH_INFO"] in ("/", "/metrics"):
            return metrics(environ, start_response)
        start_response("404 Not Found", [])
        return [b""]

    server.set_app(app)
    with server:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
        print(f"http://{host}:{server.server_port}/metrics", file=out, flush=True)
        thread.join()
    return 0
