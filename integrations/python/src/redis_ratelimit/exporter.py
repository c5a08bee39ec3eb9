"""The counters of the servers for Prometheus, over HTTP."""

from __future__ import annotations

import re
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO

from . import admin
from .client import RateLimiter
from .errors import ArgumentError, ConfigurationError, RateLimitError
from .escapes import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(limiter: RateLimiter, *, top: int = 0) -> str:
    """Return the text format: ``INFO ratelimit`` of every primary, and with `top` the keys denied most.

    ``redis_ratelimit_up`` is 0 for a server that does not answer, whose other metrics are missing then. Keys name
    people: without `top` there are none in it.
    """
    up: dict[str, int] = {}
    counters: dict[str, dict[str, int]] = {}
    try:
        servers = admin.primaries(limiter)
    except RateLimitError:
        servers, up = [], {"cluster": 0}
    for server in servers:
        found = _counters(server)
        up[server.name] = 0 if found is None else 1
        for field, value in (found or {}).items():
            counters.setdefault(field, {})[server.name] = value
    lines = _metric("redis_ratelimit_up", "gauge", "Whether the server answers", _of_servers(up))
    for field, values in counters.items():
        name = "redis_ratelimit_" + re.sub("[^a-zA-Z0-9_]", "_", field) + "_total"
        lines += _metric(name, "counter", f"{field} of INFO ratelimit", _of_servers(values))
    if top and all(up.values()):
        try:
            rows = limiter.top(top)
        except RateLimitError:
            rows = []
        # A key that was denied on two nodes, as after a resharding, is one.
        denials: dict[tuple[str, str], int] = {}
        for row in rows:
            pair = (printable(row.key), str(row.database))
            denials[pair] = denials.get(pair, 0) + row.denials
        lines += _metric(
            "redis_ratelimit_key_denials",
            "gauge",
            "Denials of the keys denied most",
            [({"key": key, "database": database}, number) for (key, database), number in denials.items()],
        )
    return "".join(line + "\n" for line in lines)


def _counters(server: admin.Primary) -> dict[str, int] | None:
    try:
        return admin.counters_of(server)
    except RateLimitError:
        return None


def _of_servers(values: dict[str, int]) -> list[tuple[dict[str, str], int]]:
    return [({"server": name}, value) for name, value in values.items()]


def _metric(name: str, kind: str, text: str, samples: list[tuple[dict[str, str], int]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}")
    return lines


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def serve(limiter: RateLimiter, listen: str, *, top: int = 0, out: IO[str]) -> int:
    """Answer ``GET /metrics`` on ``host:port`` until the process is told to end; port 0 is any that is free."""
    if not 0 <= top <= 10_000:
        raise ArgumentError(f"top must be from 0 to 10000, not {top}")
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
