"""Sources of other projects, whose tests run on ours. They come from PyPI and are not part of this repository."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def sdist(project: str) -> Path:
    """The unpacked sources of the release of a project that is installed. Fetched once."""
    name = f"{project.replace('-', '_')}-{version(project)}"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve() / "python-sdists"
    target.mkdir(parents=True, exist_ok=True)
    found = target / name
    with open(target / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.is_dir():
            with tempfile.TemporaryDirectory(dir=target) as directory:
                _download(f"{project}=={version(project)}", directory)
                [archive] = Path(directory).glob("*.tar.gz")
                shutil.unpack_archive(archive, directory)
                [unpacked] = (path for path in Path(directory).iterdir() if path.is_dir())
                unpacked.rename(found)
    return found


def _download(requirement: str, directory: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", requirement.partition("==")[0], "--dest", directory, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
