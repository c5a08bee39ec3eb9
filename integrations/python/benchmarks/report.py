"""The part of docs/benchmarks.md that is about Python: `template.md`, with the figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from .measure import Ratio, Worker

PACKAGES = (
    "redis",
    "hiredis",
    "limits",
    "Flask-Limiter",
    "django-ratelimit",
    "django-redis",
    "djangorestframework",
    "slowapi",
)
PARSERS = {"python": "without hiredis", "hiredis": "with hiredis"}

TARGETS = (
    ("`RateLimiter.check`, × `execute_command`", 1.15, "client", ("`check`, granted", "`check`, denied")),
    (
        "`check` denied from `cache_denials`, × `execute_command`",
        0.1,
        "client",
        ("`check`, denied, with `cache_denials`",),
    ),
    (
        "`limits`: a hit on `rl://`, × the fixed window on `redis://`",
        1.0,
        "limits",
        ("`limits`, fixed window: hit, granted", "`limits`, fixed window: hit, denied"),
    ),
    (
        "the same, hit and window stats",
        0.5,
        "limits",
        ("`limits`, fixed window: hit and stats, granted", "`limits`, fixed window: hit and stats, denied"),
    ),
    (
        "views of Django and REST framework, × today's",
        0.8,
        "views",
        (
            "Django, django-ratelimit: granted",
            "Django, django-ratelimit: denied",
            "REST framework, `AnonRateThrottle`: granted",
            "REST framework, `AnonRateThrottle`: denied",
        ),
    ),
)
"""What, at most how much, and the rows that it is about."""


def part(workers: list[Worker], server: str, rounds: int, seconds: float) -> str:
    """Return the text."""
    return (
        Path(__file__)
        .with_name("template.md")
        .read_text()
        .rstrip()
        .format(
            rounds=rounds,
            milliseconds=round(seconds * 1000),
            machine=machine(server),
            targets=table_of_targets(workers),
            **{name: table(workers, name) for name in ("views", "limits", "client", "threads")},
        )
    )


def table(workers: list[Worker], name: str) -> str:
    """Return a table: for each process, the ratio to today's of each side."""
    rows = [index for index, row in enumerate(workers[0].rows) if row.table == name]
    heads = [""]
    for worker in workers:
        about = PARSERS[worker.parser] + (f", {worker.source}" if worker.source else "")
        heads.append(f"ours, × today's, {about}")
        if name == "views":
            heads.append(f"no limit, × today's, {about}")
        if name == "threads":
            heads.append(f"requests a second, × today's, {about}")
    lines = [heads]
    for index in rows:
        cells = [workers[0].rows[index].name]
        for worker in workers:
            row = worker.rows[index]
            cells.append(str(Ratio.of(row.cpu["ours"])))
            if name == "views":
                cells.append(str(Ratio.of(row.cpu["unlimited"])))
            if name == "threads":
                cells.append(str(Ratio.of(row.rate["ours"])))
        lines.append(cells)
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """Return a table whose columns stand below each other; numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruler = [f"{'-' * (width + 1)}{'-' if column == 0 else ':'}" for column, width in enumerate(widths)]
    written = [
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    ]
    return "\n".join([written[0], f"|{'|'.join(ruler)}|", *written[1:]])


def table_of_targets(workers: list[Worker]) -> str:
    """Return which targets are met by all rows that they are about, whatever parses replies."""
    lines = [["target", "bar", "met", "the worst"]]
    for what, bar, name, rows in TARGETS:
        found = [
            (Ratio.of(row.cpu["ours"]), f"{row.name}, {PARSERS[worker.parser]}")
            for worker in workers
            if worker.source is None
            for row in worker.rows
            if row.table == name and row.name in rows
        ]
        assert set(rows) <= {row.name for row in workers[0].rows}, what
        worst, where = max(found, key=lambda one: one[0].median)
        lines.append([what, f"≤ {bar}", "yes" if worst.median <= bar else "**no**", f"{worst} ({where})"])
    return aligned(lines)


def machine(server: str) -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := version(name)))
    return "\n".join(
        [
            f"- Machine: {cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]}",
            f"- Server: {server}; Python {platform.python_version()}, {versions}",
            f"- Package: redis-ratelimit {version('redis-ratelimit')} ({commit})",
            f"- Date: {datetime.now(timezone.utc):%Y-%m-%d}",
        ]
    )


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
