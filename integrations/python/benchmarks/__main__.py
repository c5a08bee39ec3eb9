"""Measures the package beside what its users have today, for that part of docs/benchmarks.md: `make bench-python`.

Only the processor's time of the client counts, and only as a ratio of one run. A server and the processes that are
measured are on this machine, each on a processor of its own, and one of the processes works at a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from .measure import ROOT, Worker, measure

sys.path.append(str(ROOT / "tests"))

from servers import Server

from .report import part


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-python", description=__doc__)
    options.add_argument("--rounds", type=int, default=25, help="how often each row is measured")
    options.add_argument("--seconds", type=float, default=0.02, help="length of a slice")
    options.add_argument(
        "--beside", metavar="DIRECTORY", help="another src/ with our package, such as an older one: measured, too"
    )
    options.add_argument("--write", metavar="FILE", type=Path, help="the document whose part is to be written anew")
    chosen = options.parse_args()
    if chosen.write:
        # Before minutes have passed.
        with_part(chosen.write, "")
    parsers = ["python", *(["hiredis"] if importlib.util.find_spec("hiredis") else [])]
    with Server(tcp=True) as server:
        # Else what a request takes depends on whether both are on one at the moment.
        if others := sorted(os.sched_getaffinity(0))[1:]:
            os.sched_setaffinity(server.admin.info("server")["process_id"], os.sched_getaffinity(0) - {*others})
            os.sched_setaffinity(0, others)
        workers = [
            Worker(parser, server.port, source)
            for source in (None, *([chosen.beside] if chosen.beside else []))
            for parser in parsers
        ]
        try:
            for done in measure(workers, chosen.rounds, chosen.seconds):
                print(f"\rround {done} of {chosen.rounds}", end="", file=sys.stderr, flush=True)
        finally:
            for worker in workers:
                worker.close()
            print(file=sys.stderr)
        found = server.admin.info("server")
        name = f"Valkey {found['valkey_version']}" if "valkey_version" in found else f"Redis {found['redis_version']}"
        text = part(workers, name, chosen.rounds, chosen.seconds)
    print(text)
    if chosen.write:
        chosen.write.write_text(with_part(chosen.write, text))


def with_part(document: Path, text: str) -> str:
    """Return the document with this text between the marks, between which nothing else writes."""
    begin, end = "<!-- begin: make bench-python -->\n", "<!-- end: make bench-python -->"
    before, found, rest = document.read_text().partition(begin)
    _, found_too, after = rest.partition(end)
    if not found or not found_too:
        raise SystemExit(f"{document} has no place between {begin.strip()} and {end}")
    return f"{before}{begin}\n{text}\n\n{end}{after}"


if __name__ == "__main__":
    main()
