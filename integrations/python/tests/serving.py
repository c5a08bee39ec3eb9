"""Applications under gunicorn or uvicorn, with several worker processes on a loopback port, as in production."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from packaging.requirements import Requirement
from servers import eventually

T = TypeVar("T")

WORKERS = 4
# Seconds in which a busy machine answers.
PATIENT = 60.0


class Site:
    """An application in the folder `directory`, such as ``config.wsgi``, under gunicorn.

    `environment` is added to that of the process. Start it with `with`; it answers `ready` before that returns.
    """

    def __init__(
        self,
        directory: Path,
        application: str,
        environment: Mapping[str, str],
        *arguments: str,
        ready: str = "/",
        workers: int = WORKERS,
    ) -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="rl")
        self._accesses = Path(self._logs.name, "access")
        self._errors = Path(self._logs.name, "errors")
        # gunicorn gets a socket that listens already: no port is guessed, and none is taken by somebody else.
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with listener, open(self._errors, "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._server(listener.fileno(), workers), *arguments, application],
                cwd=directory,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        try:
            with self.client(timeout=5) as client:
                eventually(lambda: self._answers(client, ready), seconds=PATIENT, what=f"{application} answers")
        except BaseException:
            print(self.errors)
            self.close()
            raise

    def _server(self, descriptor: int, workers: int) -> list[str]:
        """Return the module to run, and its arguments."""
        return [
            *["gunicorn", f"--bind=fd://{descriptor}", f"--workers={workers}"],
            # Imported once, which is quicker than by each worker; workers that hang on busy machines live on.
            *["--preload", "--timeout=300", "--no-control-socket"],
            *[f"--access-logfile={self._accesses}", "--access-logformat=%(p)s %(s)s %(r)s"],
        ]

    def _answers(self, client: httpx.Client, path: str) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the server has ended:\n{self.errors}")
        try:
            return client.get(path).status_code < 500
        except httpx.TransportError:
            return False

    def client(self, address: str = "127.0.0.1", *, timeout: float = PATIENT, **options: object) -> httpx.Client:
        """Return a browser, or another program, at an address of 127.0.0.0/8. It follows no redirects."""
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        return httpx.Client(base_url=self.url, transport=transport, timeout=timeout, **options)  # type: ignore[arg-type]

    @property
    def errors(self) -> str:
        """What the server and the application have written."""
        return self._errors.read_text(errors="replace")

    @property
    def answered(self) -> Counter[str]:
        """How many requests each worker has answered, by its process ID."""
        return Counter(line.split()[0] for line in self._accesses.read_text().splitlines())

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._logs.cleanup()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            print(self.errors)
        self.close()


class AsyncSite(Site):
    """An application under uvicorn: ``links:create_app`` with ``--factory`` among the arguments."""

    def _server(self, descriptor: int, workers: int) -> list[str]:
        logs = Path(self._logs.name, "logs.json")
        accesses = {"class": "logging.FileHandler", "filename": str(self._accesses), "formatter": "access"}
        logs.write_text(
            json.dumps(
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "formatters": {"access": {"format": "%(process)d %(message)s"}},
                    "handlers": {"access": accesses, "errors": {"class": "logging.StreamHandler"}},
                    "loggers": {"uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False}},
                    "root": {"handlers": ["errors"], "level": "INFO"},
                }
            )
        )
        return [
            *["uvicorn", f"--fd={descriptor}", f"--workers={workers}", f"--log-config={logs}"],
            # Workers that hang on busy machines live on.
            "--timeout-worker-healthcheck=300",
        ]


@contextmanager
def in_thread(application: Any) -> Iterator[str]:
    """Serve an application in a thread of this process, which can look at it, and return its URL."""
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, seconds=PATIENT, what=f"{application} has started")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENT)


def loaded(path: Path) -> Any:
    """Load a file of an example as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def at_once(number: int, ask: Callable[[int], T]) -> list[T]:
    """Call `ask` with 0 to `number` - 1, all at the same moment, each in a thread of its own."""
    barrier = threading.Barrier(number)

    def wait_and_ask(index: int) -> T:
        barrier.wait(PATIENT)
        return ask(index)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(wait_and_ask, range(number)))


def before_the_switch(example: Path, copy: Path) -> Path:
    """Copy an example to `copy`, and take back there what the diff in its README says."""
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("tests", "*.sqlite3*", "__pycache__"))
    diffs = re.findall(r"^```diff\n(.*?)^```", (example / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert diffs
    for _, name, hunk in (diff.split("\n", 2) for diff in diffs):
        lines = hunk.splitlines(keepends=True)
        path = copy / name.removeprefix("+++ ")
        new, old = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" +", " -"))
        text = path.read_text()
        assert text.count(new) == 1, f"the README of {example.name} shows other lines than {name}"
        path.write_text(text.replace(new, old))
    return copy


def unmet_requirements(example: Path) -> list[str]:
    """Which lines of an example's requirements.txt are not what is installed here. That on ourselves is a path."""
    lines = (example / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith(("#", "."))]
    assert len(wanted) > 1
    return [str(one) for one in wanted if not one.specifier.contains(version(one.name))]


def migrated(example: Path, database: Path) -> Path:
    """Make the empty database of a Django project, for its sites to copy."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"],
        cwd=example,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "DATABASE": str(database)},
        check=True,
    )
    return database
