"""The benchmarks of the package run. What they find is not looked at: machines that run tests are busy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
BEGIN, END = "<!-- begin: make bench-python -->", "<!-- end: make bench-python -->"
RATIO = r"\d+\.\d+ ± \d+\.\d+"


def test_the_benchmarks_run_and_write_their_part_of_the_document(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Title\n\n{BEGIN}\nof an earlier run\n{END}\n\n## In the server\n")
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--seconds=0", f"--write={document}"]
    subprocess.run(command, cwd=PACKAGE, check=True, stdout=subprocess.DEVNULL, timeout=100)
    text = document.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\n## In the server\n")
    assert "of an earlier run" not in text
    assert "{" not in text, "a place was not filled in"
    for row in (
        "Flask, Flask-Limiter, fixed-window, headers: granted",
        "Django, django-ratelimit: denied",
        "REST framework, `AnonRateThrottle`: granted",
        "FastAPI, slowapi / `RateLimit`: granted",
        "`limits`, fixed window: hit and stats, granted",
        "`limits`, moving window: hit, denied",
        "asyncio: `limits`, fixed window: hit, granted",
        "`check`, granted",
        "`check`, denied, with `cache_denials`",
        "`lease`, acquired and released",
        "asyncio: `AsyncMultiLevelLimiter` of 3 levels, granted",
        "`execute_command` / `RateLimiter.check`",
    ):
        assert re.search(rf"^\| {re.escape(row)} +\| +{RATIO} \|", text, re.MULTILINE), row
    assert re.search(rf"^\| `RateLimiter.check`, × .* (yes|\*\*no\*\*) \| +{RATIO} \(", text, re.MULTILINE)


def test_a_document_without_a_place_for_it_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "other.md"
    document.write_text("# Something else\n")
    command = [sys.executable, "-m", "benchmarks", "--rounds=1", "--seconds=0", f"--write={document}"]
    found = subprocess.run(command, cwd=PACKAGE, check=False, capture_output=True, text=True, timeout=100)
    assert found.returncode != 0
    assert "has no place" in found.stderr
    assert document.read_text() == "# Something else\n"
