"""The counters of the servers for Prometheus, over HTTP."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

from . import admin
from .client import RateLimiter
from .commands import MAX_TOP
from .errors import ArgumentError, ConfigurationError, RateLimitError
from .escapes import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# What of the server's own INFO tells how limits are: the name and kind of the metric, the field, and what it is.
_SECTIONS = ("memory", "stats", "persistence", "replication", "commandstats")
_FIELDS = (
    ("server_used_memory_bytes", "gauge", "used_memory", "Memory that the server uses"),
    ("server_maxmemory_bytes", "gauge", "maxmemory", "Memory that the server may use, 0 without a limit"),
    ("server_evicted_keys_total", "counter", "evicted_keys", "Keys evicted: limits lifted, if they were limiters"),
    ("server_connected_replicas", "gauge", "connected_slaves", "Replicas connected"),
    ("server_snapshot_ok", "gauge", "rdb_last_bgsave_status", "Whether the last snapshot succeeded"),
    ("server_aof_ok", "gauge", "aof_last_write_status", "Whether the last write to the append-only file succeeded"),
)
# What it tells of each command of ours.
_COMMANDS = (
    ("command_calls_total", "calls", "Calls carried out by the server"),
    ("command_rejected_total", "rejected_calls", "Calls that the server refused: OOM, NOREPLICAS, NOPERM and others"),
    ("command_seconds_total", "usec", "Time that the server took for the calls"),
)


def metrics(limiter: RateLimiter, *, top: int = 0) -> str:
    """Return the text format: ``INFO`` of every primary, and with `top` the keys denied most.

    ``redis_ratelimit_up`` is 0 for a server that does not answer, whose other metrics are missing then. Keys name
    people: without `top` there are none in it.
    """
    up: dict[str, int] = {}
    found = _Families()
    try:
        servers = admin.primaries(limiter)
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
            found.add(name, "counter", f"{field} of INFO ratelimit", {"server": server.name}, value)
        _add_server(found, server.name, info)
    for name, value in up.items():
        found.add("up", "gauge", "Whether the server answers", {"server": name}, value)
    if top and all(up.values()):
        _add_keys(found, limiter, top)
    return found.text()


def _add_server(found: _Families, server: str, info: Mapping[str, Any]) -> None:
    for name, kind, field, text in _FIELDS:
        value = info.get(field)
        if value is not None:
            found.add(name, kind, text, {"server": server}, value if isinstance(value, int) else int(value == "ok"))
    for field, stats in info.items():
        command = field.removeprefix("cmdstat_")
        if command.startswith("rl.") or command == "cl.throttle":
            labels = {"server": server, "command": command}
            for name, part, text in _COMMANDS:
                found.add(name, "counter", text, labels, stats[part] / 1_000_000 if part == "usec" else stats[part])


def _add_keys(found: _Families, limiter: RateLimiter, top: int) -> None:
    try:
        rows = limiter.top(top)
    except RateLimitError:
        return
    # A key that was denied on two nodes, as after a resharding, is one.
    denials: dict[tuple[str, str], int] = {}
    for row in rows:
        pair = (printable(row.key), str(row.database))
        denials[pair] = denials.get(pair, 0) + row.denials
    for (key, database), number in denials.items():
        found.add(
            "key_denials", "gauge", "Denials of the keys denied most lately", {"key": key, "database": database}, number
        )


class _Families:
    """Samples by the name of their metric, under which the text format wants them together."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, kind: str, text: str, labels: Mapping[str, str], value: float) -> None:
        name = f"redis_ratelimit_{name}"
        lines = self._lines.setdefault(name, [f"# HELP {name} {text}", f"# TYPE {name} {kind}"])
        inner = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value if isinstance(value, int) else f'{value:.6f}'}")

    def text(self) -> str:
        return "".join(line + "\n" for lines in self._lines.values() for line in lines)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def serve(limiter: RateLimiter, listen: str, *, top: int = 0, out: IO[str]) -> int:
    """Answer ``GET /metrics`` on ``host:port`` until the process is told to end; port 0 is any that is free."""
    if not 0 <= top <= MAX_TOP:
        raise ArgumentError(f"top must be from 0 to {MAX_TOP}, not {top}")
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or not host:
        raise ArgumentError(f"--listen takes host:port, such as 127.0.0.1:9478, not {listen!r:.80}")
    host = host.strip("[]")

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path.split("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            body = metrics(limiter, top=top).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: who looks at metrics is of no interest."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    try:
        server = Server((host, int(port)), Handler)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {listen}: {error.strerror}") from error
    with server:
        if threading.current_thread() is threading.main_thread():
            # From another thread: shutdown() waits for serve_forever(), which this interrupts.
            signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        at = f"[{host}]" if ":" in host else host
        print(f"http://{at}:{server.server_address[1]}/metrics", file=out, flush=True)
        server.serve_forever(poll_interval=0.2)
    return 0
