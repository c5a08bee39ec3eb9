"""Private servers for tests: real ones, each in a directory of its own, gone when the test is over.

`RATELIMIT_MODULE` is the path of the module, `REDIS_SERVER` the server (by default redis-server). Servers listen on a
unix socket, and on a loopback port if something needs one. Start them with `with`, or by the fixtures in
conftest.py.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

T = TypeVar("T")

SERVER = os.environ.get("REDIS_SERVER") or "redis-server"
# The rights of an application that may do nothing but rate-limit keys that begin with rl:.
RATE_LIMIT_ONLY = "~rl:* -@all +rl.check +rl.gcra +rl.mcheck +rl.peek +rl.info +rl.refund +rl.reset +cl.throttle"
# What redis-py asks a cluster before anything else; before 5.1 also whether it is one.
CLUSTER_DISCOVERY = "+cluster|slots +command" + (" +info" if redis.__version__.startswith("5.0.") else "")


def module() -> str:
    """The module to load."""
    path = os.environ.get("RATELIMIT_MODULE")
    if not path or not Path(path).is_file():
        raise RuntimeError("RATELIMIT_MODULE must name libredis_ratelimit.so: run 'make test-python', or set it")
    return path


def eventually(probe: Callable[[], T], *, seconds: float = 30, what: str = "") -> T:
    """Return the first true answer of `probe`; fail when there is none in time. What it raises counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        last: object
        try:
            last = answer = probe()
            if answer:
                return answer
        except (redis.RedisError, redis.exceptions.RedisClusterException, OSError, AssertionError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or probe}: {last!r}")
        time.sleep(0.02)


# Below those that the system gives to outgoing connections. Test processes begin at different ones.
_PORTS = itertools.count(os.getpid() * 97)


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now, and that no other call returns soon."""
    found: list[int] = []
    while len(found) < number:
        port = 10_000 + next(_PORTS) % 20_000
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found


class Certificates:
    """An authority, and a certificate of 127.0.0.1 and localhost."""

    def __init__(self) -> None:
        self._dir = tempfile.TemporaryDirectory(prefix="rl")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._openssl(
            *["req", "-x509", "-days", "2", "-subj", "/CN=authority", *key],
            *["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.crt"],
        )
        self._openssl("req", "-subj", "/CN=server", *key, "-keyout", "server.key", "-out", "server.csr")
        Path(self._dir.name, "names").write_text(
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n"
        )
        self._openssl(
            *["x509", "-req", "-in", "server.csr", "-days", "2", "-out", "server.crt"],
            *["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"],
        )

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._dir.name, check=True, capture_output=True)

    def path(self, name: str) -> str:
        return str(Path(self._dir.name, name))

    @property
    def authority(self) -> str:
        return self.path("ca.crt")

    @property
    def configuration(self) -> list[str]:
        """What a server or Sentinel is told; clients need no certificate."""
        return [
            f"tls-cert-file {self.path('server.crt')}",
            f"tls-key-file {self.path('server.key')}",
            f"tls-ca-cert-file {self.authority}",
            "tls-auth-clients no",
        ]

    def close(self) -> None:
        self._dir.cleanup()


def has_tls() -> bool:
    """Whether the server was built with TLS."""
    with Server("tls-port 0", load_module=False) as server:
        try:
            return bool(server.admin.config_get("tls-auth-clients"))
        except redis.RedisError:
            return False


class Server:
    """A redis-server.

    `lines` are those of redis.conf. With `tcp` it has a `port` on 127.0.0.1, with `certificates` one for TLS
    (`tls_port`). `password` is that of the default user, `user` the rights of another, ``app``, whose password is
    ``secret``.
    """

    def __init__(
        self,
        *lines: str,
        tcp: bool = False,
        certificates: Certificates | None = None,
        password: str | None = None,
        user: str | None = None,
        load_module: bool = True,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rl"))
        self.socket = str(self.directory / "socket")
        self.password = password
        self.certificates = certificates
        self._tcp = tcp
        self._load_module = load_module
        self._user = user
        self.lines = list(lines)
        self.port = 0
        self.bus = 0
        self.tls_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: redis.Redis | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # Life

    def start(self) -> None:
        """Start it, with the ports that it had before if it is a second time."""
        for attempt in range(5):
            if self._tcp and (attempt or not self.port):
                self.port, self.bus = free_ports(2)
            if self.certificates and (attempt or not self.tls_port):
                [self.tls_port] = free_ports(1)
            self._configure()
            with open(self.directory / "log", "ab") as log:
                self._process = subprocess.Popen(
                    [SERVER, str(self.directory / "redis.conf")],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    cwd=self.directory,
                )
            try:
                eventually(self._answers, what="the server answers")
                return
            except ServerEndedError:
                if "Address already in use" not in self.log or attempt == 4:
                    raise

    def _configure(self) -> None:
        lines = [
            "daemonize no",
            f"dir {self.directory}",
            f"unixsocket {self.socket}",
            "bind 127.0.0.1",
            f"port {self.port}",
            "appendonly no",
            "enable-debug-command local",
            "enable-protected-configs local",
            "repl-diskless-sync-delay 0",
            *self.lines,
        ]
        if not any(line.startswith("save ") for line in self.lines):
            lines.append('save ""')
        if self._load_module:
            lines.append(f"loadmodule {module()}")
        if self.certificates:
            lines += [f"tls-port {self.tls_port}", *self.certificates.configuration]
        if self.password:
            lines += [f"requirepass {self.password}", f"masterauth {self.password}"]
        if self._user:
            lines.append(f"user app on >secret {self._user}")
        if any(line == "cluster-enabled yes" for line in self.lines):
            lines.append(f"cluster-port {self.bus}")
        (self.directory / "redis.conf").write_text("\n".join(lines) + "\n")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ServerEndedError(f"the server has ended:\n{self.log}")
        try:
            return bool(self.admin.ping())
        except redis.ResponseError:
            # MASTERDOWN, for example: it is there.
            return True
        except redis.BusyLoadingError:
            return True

    def stop(self) -> None:
        """End it in order, saving nothing."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            if how != signal.SIGKILL:
                self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def restart(self) -> None:
        """End it as a crash does, and start it again."""
        self.kill()
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process for a while: connections stay, answers do not come."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Talking to it

    @property
    def admin(self) -> redis.Redis:
        """A client of the default user."""
        if self._admin is None:
            self._admin = redis.Redis(
                unix_socket_path=self.socket,
                password=self.password,
                protocol=2,
                socket_timeout=20,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
        return self._admin

    @property
    def url(self) -> str:
        """By the unix socket, as the default user."""
        return f"unix://{self._credentials()}{self.socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://{self._credentials()}127.0.0.1:{self.port}/0"

    @property
    def tls_url(self) -> str:
        assert self.certificates is not None
        return f"rediss://{self._credentials()}127.0.0.1:{self.tls_port}/0?ssl_ca_certs={self.certificates.authority}"

    @property
    def user_url(self) -> str:
        """By the unix socket, as the user ``app``."""
        return f"unix://app:secret@{self.socket}"

    def _credentials(self) -> str:
        return f":{self.password}@" if self.password else ""

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def version(self) -> tuple[int, ...]:
        """Of Redis; Valkey says which Redis it is compatible with."""
        return tuple(map(int, self.admin.info("server")["redis_version"].split(".")))

    def run(self, line: str) -> Any:
        """Send a command as one types it."""
        return self.admin.execute_command(*line.split())


class ServerEndedError(Exception):
    """The process ended though it should not."""


class Sentinels:
    """A primary, replicas, and Sentinels that watch them as the service ``mymaster``."""

    def __init__(
        self,
        *lines: str,
        replicas: int = 1,
        sentinels: int = 3,
        password: str | None = None,
        user: str | None = None,
        sentinel_password: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._stack = ExitStack()
        self.servers: list[Server] = []
        self.sentinels: list[Sentinel] = []
        self.sentinel_password = sentinel_password
        self.password = password
        self.certificates = certificates
        try:
            self._start(lines, replicas, sentinels, user)
        except BaseException:
            self.close()
            raise

    def _start(self, lines: Sequence[str], replicas: int, sentinels: int, user: str | None) -> None:
        tls = ["tls-replication yes"] if self.certificates else []
        for index in range(1 + replicas):
            follow = [f"replicaof 127.0.0.1 {self._port(self.servers[0])}"] if index else []
            self.servers.append(
                self._stack.enter_context(
                    Server(
                        *lines,
                        *tls,
                        *follow,
                        tcp=self.certificates is None,
                        certificates=self.certificates,
                        password=self.password,
                        user=user,
                    )
                )
            )
        self._sentinel_count = sentinels
        for _ in range(sentinels):
            self.sentinels.append(self._stack.enter_context(Sentinel(self)))
        eventually(
            lambda: all(sentinel.knows(replicas=replicas, others=sentinels - 1) for sentinel in self.sentinels),
            what="the Sentinels know each other",
        )
        self.replicate()

    def _port(self, server: Server) -> int:
        return server.tls_port if self.certificates else server.port

    @property
    def primary(self) -> Server:
        """Whom the Sentinels take for the primary."""
        port = self.sentinels[0].primary_port()
        return next(server for server in self.servers if self._port(server) == port)

    def replicate(self) -> None:
        """Wait until the replicas have all that the primary has written."""
        written = int(self.primary.admin.info("replication")["master_repl_offset"])
        replicas = [server for server in self.servers if server is not self.primary]

        def arrived() -> bool:
            states = [replica.admin.info("replication") for replica in replicas]
            return all(
                state.get("master_link_status") == "up" and int(state["slave_repl_offset"]) >= written
                for state in states
            )

        eventually(arrived, what="replication")

    def fail_over(self) -> None:
        """Make a replica the primary, and wait until the Sentinels and the servers agree on it."""
        before = self.primary
        first, called_off = self.sentinels[0], self.sentinels[0].log.count("-failover-abort")

        def ordered() -> bool:
            # It has to have heard of the replica lately, also a moment later: else it calls the failover off.
            nonlocal called_off
            first.ask("SENTINEL", "FAILOVER", "mymaster")
            eventually(
                lambda: first.log.count("-failover-abort") > called_off or first.primary_port() != self._port(before)
            )
            aborted, called_off = first.log.count("-failover-abort") > called_off, first.log.count("-failover-abort")
            return not aborted

        eventually(ordered, what="a replica to promote")
        self.wait_for_another(before)

    def wait_for_another(self, before: Server) -> None:
        """Wait until another server is the primary, and all Sentinels say so."""
        old = self._port(before)

        def moved() -> bool:
            ports = {sentinel.primary_port() for sentinel in self.sentinels}
            if len(ports) != 1 or old in ports:
                return False
            return bool(self.primary.admin.info("replication")["role"] == "master")

        try:
            eventually(moved, seconds=60, what="the failover")
        except AssertionError:
            for sentinel in self.sentinels:
                print(f"The log of the Sentinel on port {sentinel.port}:\n{sentinel.log}")
            raise

    def url(self, *, user: str | None = None) -> str:
        """For `RateLimiter.from_url`; with `user` the user and password to log in with, ``app:secret``."""
        login = user or (f":{self.password}" if self.password else "")
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        options = []
        if self.sentinel_password:
            options.append(f"sentinel_password={self.sentinel_password}")
        if self.certificates:
            options.append(f"ssl_ca_certs={self.certificates.authority}")
        query = "?" + "&".join(options) if options else ""
        scheme = "rediss" if self.certificates else "redis"
        return f"{scheme}+sentinel://{login}{'@' if login else ''}{hosts}/mymaster/0{query}"

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sentinel:
    """One Sentinel."""

    def __init__(self, group: Sentinels) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rl"))
        self._group = group
        tls = group.certificates
        [self.port] = free_ports(1)
        primary = group.servers[0]
        lines = [
            f"port {0 if tls else self.port}",
            "bind 127.0.0.1",
            f"dir {self.directory}",
            f"sentinel monitor mymaster 127.0.0.1 {group._port(primary)} {group._sentinel_count // 2 + 1}",
            "sentinel down-after-milliseconds mymaster 1500",
            "sentinel failover-timeout mymaster 4000",
        ]
        if group.password:
            lines.append(f"sentinel auth-pass mymaster {group.password}")
        if group.sentinel_password:
            lines += [f"requirepass {group.sentinel_password}", f"sentinel sentinel-pass {group.sentinel_password}"]
        if tls:
            lines += [f"tls-port {self.port}", "tls-replication yes", *tls.configuration]
        configuration = self.directory / "sentinel.conf"
        configuration.write_text("\n".join(lines) + "\n")
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [SERVER, str(configuration), "--sentinel"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._client = redis.Redis(
            port=self.port,
            password=group.sentinel_password,
            ssl=tls is not None,
            ssl_ca_certs=tls.authority if tls else None,
            protocol=2,
            decode_responses=True,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            eventually(self._client.ping, what="the Sentinel answers")
            # They talk of each other and look for replicas more often than every few seconds. One that has not run for
            # a while on a busy machine does not stop working for half a minute.
            settings = {"publish-period": "500", "info-period": "200", "tilt-trigger": "600000"}
            self.ask("SENTINEL", "DEBUG", *[word for setting in settings.items() for word in setting])
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def ask(self, *words: str) -> Any:
        return self._client.execute_command(*words)

    def primary_port(self) -> int:
        return int(self._state()["port"])

    def knows(self, *, replicas: int, others: int) -> bool:
        state = self._state()
        return int(state["num-slaves"]) == replicas and int(state["num-other-sentinels"]) == others

    def _state(self) -> dict[str, str]:
        found = self._client.sentinel_masters()["mymaster"]
        return {str(name): str(value) for name, value in found.items()}

    def close(self) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Sentinel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Cluster:
    """A Redis Cluster of one primary or several, which share the slots evenly."""

    def __init__(
        self,
        *lines: str,
        nodes: int = 1,
        password: str | None = None,
        user: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._stack = ExitStack()
        self.certificates = certificates
        self.password = password
        settings = ["cluster-enabled yes", "cluster-node-timeout 3000", *lines]
        if certificates:
            settings += ["tls-cluster yes", "tls-replication yes"]
        try:
            self.nodes = [
                self._stack.enter_context(
                    Server(*settings, tcp=True, certificates=certificates, password=password, user=user)
                )
                for _ in range(nodes)
            ]
            self._join()
        except BaseException:
            self.close()
            raise

    def _join(self) -> None:
        for index, node in enumerate(self.nodes):
            first, last = (16384 * number // len(self.nodes) for number in (index, index + 1))
            node.run(f"CLUSTER ADDSLOTSRANGE {first} {last - 1}")
            node.run(f"CLUSTER SET-CONFIG-EPOCH {index + 1}")
        for node in self.nodes[1:]:
            port = node.tls_port if self.certificates else node.port
            self.nodes[0].run(f"CLUSTER MEET 127.0.0.1 {port} {node.bus}")
        eventually(self.is_ready, what="the cluster is whole")

    def is_ready(self) -> bool:
        """Whether every node knows every other, and all slots are served."""
        return all(
            f"cluster_known_nodes:{len(self.nodes)}" in text and "cluster_state:ok" in text
            for text in (node.run("CLUSTER INFO") for node in self.nodes)
        )

    def owner(self, key: str) -> Server:
        """The node that the slot of a key lies on."""
        slot = redis.crc.key_slot(key.encode())
        return next(
            node
            for index, node in enumerate(self.nodes)
            if 16384 * index // len(self.nodes) <= slot < 16384 * (index + 1) // len(self.nodes)
        )

    def flush(self) -> None:
        for node in self.nodes:
            node.admin.flushall()

    def url(self, *, user: str | None = None) -> str:
        login = user or (f":{self.password}" if self.password else "")
        hosts = ",".join(f"127.0.0.1:{node.tls_port if self.certificates else node.port}" for node in self.nodes)
        scheme = "rediss" if self.certificates else "redis"
        query = f"?ssl_ca_certs={self.certificates.authority}" if self.certificates else ""
        return f"{scheme}+cluster://{login}{'@' if login else ''}{hosts}{query}"

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
