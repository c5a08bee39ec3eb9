"""The command ``ratelimit``: look at limiters, reset them, and see whether the servers decide.

Exit codes: 0 done (health: all well), 1 it could not be done (health: something is wrong), 2 wrong usage. Errors are
one line on the standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import IO, Any, NoReturn
from urllib.parse import unquote

from . import admin
from .client import RateLimiter
from .commands import MAX_TOP
from .errors import ArgumentError, ConfigurationError, RateLimitError
from .escapes import printable, unprintable
from .info import Info
from .keys import key as build_key

DEFAULT_URL = "redis://127.0.0.1:6379/0"
DESCRIPTION = "Look at rate limits in Redis and Valkey, reset them, and see whether the servers decide."
ENVIRONMENT = """\
environment: REDIS_URL (--url), and if the URL has none, REDIS_USERNAME and REDIS_PASSWORD.
Other users of the machine can see arguments, so keep passwords in the environment.

exit codes: 0 done (health: all well), 1 not done (health: something is wrong), 2 wrong usage
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        kind, _, words = message.partition(": ")
        if kind == "unrecognized arguments":
            # Only their names: what belongs to one may be a password.
            names = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
            message = f"{kind}: {' '.join(names)}" if names else kind
        self.exit(2, f"{self.prog}: {_without_login(printable(message))}\n")


def _without_login(text: str) -> str:
    """Take user and password out of what may be a URL."""
    return re.sub(r"//[^\s]*@", "//***@", text)


class _Version(argparse.Action):
    """Says which release this is. It is looked up only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        sys.stdout.write(f"{parser.prog} {version('redis-ratelimit')}\n")
        parser.exit()


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser | None = None) -> None:
    """Add ``stats``, ``top``, ``reset``, ``health`` and ``exporter`` to a parser."""
    shared: dict[str, Any] = {"parents": [common] if common else [], "allow_abbrev": False}
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    stats = commands.add_parser("stats", help="what the servers have counted; or the state of keys", **shared)
    _add_output(stats)
    _add_filter(stats)
    stats.add_argument("--count", type=_up_to(10_000), default=100, help="at most so many keys (default: 100)")

    top = commands.add_parser("top", help="the keys denied most lately", **shared)
    _add_output(top)
    _add_filter(top)
    top.add_argument("--count", type=_up_to(MAX_TOP), default=10, help="at most so many keys (default: 10)")
    top.add_argument("--database", type=int, metavar="N", help="only those of this database (default: of all)")

    reset = commands.add_parser("reset", help="forget limiters, and the blocks on them", **shared)
    _add_output(reset)
    _add_filter(reset)
    reset.add_argument("--all", action="store_true", help="a whole scope, without --key")
    reset.add_argument("--exact", action="store_true", help="only the key PREFIX:SCOPE:KEY, without a search")
    reset.add_argument("--dry-run", action="store_true", help="only say which")

    health = commands.add_parser("health", help="whether the servers decide, and why not", **shared)
    _add_output(health)
    health.add_argument("--max-latency", type=float, metavar="MS", help="what is slower is not healthy")

    export = commands.add_parser("exporter", help="serve the counters for Prometheus", **shared)
    export.add_argument("--listen", default="127.0.0.1:9478", metavar="HOST:PORT", help="default: 127.0.0.1:9478")
    export.add_argument("--top", type=int, default=0, metavar="N", help="also the N keys denied most (default: 0)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--prefix", default="rl", help="what keys begin with (default: rl)")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", help="the part of the key after the prefix, such as login")
    parser.add_argument(
        "--key", action="append", default=[], help="a value in the key, such as an address; several must all be there"
    )
    parser.add_argument(
        "--raw", action="append", default=[], metavar="KEY", help="a whole key, with escapes as 'top' shows them"
    )


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be from 1 to {most}")
        return int(text)

    return number


def run(options: argparse.Namespace, limiter: RateLimiter, out: IO[str], err: IO[str]) -> int:
    """Carry out a command, and return the exit code. Raises `RateLimitError` when it cannot be done."""
    if options.command == "exporter":
        try:
            from . import exporter
        except ModuleNotFoundError as error:
            raise ConfigurationError("the exporter needs prometheus_client: install the extra 'exporter'") from error
        return exporter.serve(limiter, options.listen, top=options.top, out=out)
    if options.command == "stats":
        return _stats(options, limiter, out)
    if options.command == "top":
        return _top(options, limiter, out)
    if options.command == "reset":
        return _reset(options, limiter, out)
    return _health(options, limiter, out, err)


def _which(options: argparse.Namespace) -> admin.Filter:
    return admin.Filter(options.prefix, options.scope, tuple(map(_value, options.key)))


def _value(argument: str) -> str | bytes:
    """Return an argument as text, or its bytes if it is none."""
    raw = os.fsencode(argument)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _json(value: Any, out: IO[str]) -> None:
    print(json.dumps(value, indent=2), file=out)


def _name(key: str | bytes) -> dict[str, str]:
    """Return a key for JSON. One that is no text also as hexadecimal digits."""
    raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")
    try:
        return {"key": raw.decode()}
    except UnicodeDecodeError:
        return {"key": raw.decode("utf-8", "backslashreplace"), "key_hex": raw.hex()}


def _stats(options: argparse.Namespace, limiter: RateLimiter, out: IO[str]) -> int:
    if options.scope is not None or options.key or options.raw:
        return _stats_of_keys(options, limiter, out)
    servers = admin.counters(limiter)
    total = admin.total(servers.values())
    if options.json:
        _json({"total": total, "servers": servers}, out)
        return 0
    columns = ("calls", "errors", "granted", "denied", "impossible")
    commands = [name.removesuffix("_calls") for name in total if name.endswith("_calls")]
    of_commands = {f"{command}_{column}" for command in commands for column in columns}
    rows = [[name, str(value)] for name, value in total.items() if name not in of_commands]
    _table([["server" if len(servers) == 1 else "servers", printable(", ".join(servers))], *rows], out)
    print(file=out)
    _table(
        [
            ["command", *columns],
            *([name, *(str(total.get(f"{name}_{column}", "")) for column in columns)] for name in commands),
        ],
        out,
    )
    return 0


def _stats_of_keys(options: argparse.Namespace, limiter: RateLimiter, out: IO[str]) -> int:
    keys = _keys(options, limiter)
    found = [(key, info) for key in keys[: options.count] if (info := admin.look(limiter, key)) is not None]
    if options.json:
        _json({"keys": [{**_name(key), **asdict(info)} for key, info in found], "more": _more(keys, options)}, out)
        return 0
    header = ["key", "limit", "window", "used", "remaining", "retry after", "reset after", "blocked for"]
    _table([header, *(row for key, info in found for row in _windows(key, info))] if found else [], out)
    if not found:
        print("nothing in use", file=out)
    if _more(keys, options):
        print(f"and {_more(keys, options)} more: see --count", file=out)
    return 0


def _more(keys: Sequence[object], options: argparse.Namespace) -> int:
    return max(0, len(keys) - int(options.count))


def _windows(key: str | bytes, info: Info) -> list[list[str]]:
    return [
        [
            printable(key),
            str(window.limit) if window.burst is None else f"{window.limit} (burst {window.burst})",
            _seconds(window.window_ms),
            str(window.used),
            str(window.remaining),
            _seconds(window.retry_after_ms),
            _seconds(window.reset_after_ms),
            _seconds(info.blocked_for_ms),
        ]
        for window in info.windows
    ]


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"


def _keys(options: argparse.Namespace, limiter: RateLimiter) -> Sequence[str | bytes]:
    if options.raw:
        if options.scope is not None or options.key:
            raise ArgumentError("--raw names whole keys: it goes without --scope and --key")
        return [unprintable(os.fsencode(raw)) for raw in options.raw]
    return admin.find(limiter, _which(options))


def _top(options: argparse.Namespace, limiter: RateLimiter, out: IO[str]) -> int:
    which = _which(options)
    some = options.scope is not None or bool(options.key)
    # Any key of the server, unless some are asked for.
    rows = [row for row in limiter.top(MAX_TOP, database=options.database) if not some or which.fits(row.key)]
    if options.raw:
        wanted = {unprintable(os.fsencode(raw))[:128] for raw in options.raw}
        rows = [row for row in rows if row.key in wanted]
    rows = rows[: options.count]
    if options.json:
        keys = [
            {**_name(row.key), "database": row.database, "denials": row.denials, "error": row.error} for row in rows
        ]
        _json({"keys": keys}, out)
        return 0
    header = ["denials", "error", "database", "key"]
    _table([header, *([str(row.denials), str(row.error), str(row.database), printable(row.key)] for row in rows)], out)
    return 0


def _reset(options: argparse.Namespace, limiter: RateLimiter, out: IO[str]) -> int:
    if not (options.raw or options.key or (options.scope is not None and options.all)):
        raise ArgumentError("reset needs --key or --raw; or --scope with --all, for a whole scope")
    keys: Sequence[str | bytes]
    if options.exact:
        if options.scope is None or len(options.key) != 1:
            raise ArgumentError("--exact needs --scope and one --key")
        keys = [build_key(*options.scope.split(":"), _value(options.key[0]), prefix=options.prefix)]
    else:
        keys = _keys(options, limiter)
    dry = options.dry_run
    done = [key for key in keys if admin.look(limiter, key)] if dry else admin.reset(limiter, keys)
    if options.json:
        _json({"reset": 0 if dry else len(done), "keys": [_name(key) for key in done]}, out)
        return 0
    for key in done:
        print(printable(key), file=out)
    print(f"{len(done)} {'would be forgotten' if dry else 'forgotten'}", file=out)
    return 0


def _health(options: argparse.Namespace, limiter: RateLimiter, out: IO[str], err: IO[str]) -> int:
    found = admin.health(limiter, prefix=options.prefix, max_latency_ms=options.max_latency)
    well = all(server.ok for server in found)
    url = getattr(options, "url", None)
    if options.json:
        servers = [{**server.as_dict(), "problem": server.problem and hidden(server.problem, url)} for server in found]
        _json({"ok": well, "servers": servers}, out)
        return 0 if well else 1
    for server in found:
        facts = [
            server.role and f"role {server.role}",
            server.server_version,
            server.module_version and f"module {server.module_version}",
            server.latency_ms is not None and f"latency {server.latency_ms} ms",
            server.counted and "counted as impossible",
        ]
        # What is wrong goes where errors go, in one line for each server.
        if server.problem is None:
            line = ", ".join(str(fact) for fact in facts if fact)
            print(f"ok {printable(server.server)}: {line}", file=out)
        else:
            print(f"ratelimit: {printable(server.server)}: {printable(hidden(server.problem, url))}", file=err)
    return 0 if well else 1


def _table(rows: list[list[str]], out: IO[str]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=out)


def hidden(text: str, url: str | None = None) -> str:
    """Return a text without the passwords in the URL and the environment, and without the logins of URLs."""
    text = _without_login(text)
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str | None) -> set[str]:
    found = {os.environ.get("REDIS_PASSWORD", "")}
    for login in (url or "", os.environ.get("REDIS_URL", "")):
        for value in re.findall(r"//[^:/@\s]*:([^/\s]*)@|password=([^&\s]+)", login):
            found |= {"".join(value), unquote("".join(value))}
    return {secret for secret in found if len(secret) > 2}


def limiter_of(options: argparse.Namespace) -> RateLimiter:
    """Return a limiter for the URL of the options or of the environment. Raises `ArgumentError` for a bad one."""
    login: dict[str, Any] = {
        name: value
        for name, value in (
            ("username", os.environ.get("REDIS_USERNAME")),
            ("password", os.environ.get("REDIS_PASSWORD")),
        )
        if value
    }
    url = options.url or os.environ.get("REDIS_URL") or DEFAULT_URL
    return RateLimiter.from_url(url, timeout=options.timeout, **login)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the console script."""
    common = _Parser(add_help=False)
    common.add_argument("--url", help=f"the server, as RateLimiter.from_url has it (default: REDIS_URL, {DEFAULT_URL})")
    common.add_argument("--timeout", type=float, default=2.0, help="seconds to wait for an answer (default: 2)")
    made = _Parser(
        prog="ratelimit",
        description=DESCRIPTION,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action=_Version, nargs=0, help="the release of this package")
    add_commands(made, common)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Keys are shown on every terminal, whatever it can show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        with limiter_of(options) as limiter:
            code = run(options, limiter, sys.stdout, sys.stderr)
        sys.stdout.flush()
    except ArgumentError as error:
        return _failed(options, error, 2)
    except RateLimitError as error:
        return _failed(options, error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has had enough, as `head` does. Nothing more can be written at the end, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _failed(options: argparse.Namespace, error: Exception, code: int) -> int:
    sys.stderr.write(f"ratelimit: {printable(hidden(str(error), options.url))}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
