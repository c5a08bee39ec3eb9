"""The image itself: how it starts, what it tells of its health, and what is in it."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack import ROOT, base_of, docker, eventually, run

LIBRARY = "/usr/lib/redis/modules/libredis_ratelimit.so"
CONFIGURATION = "/etc/redis/ratelimit.conf"
# The client of Valkey's packages has another name.
CLIENT = 'exec $(command -v redis-cli || command -v valkey-cli) "$@"'

Start = Callable[..., "Container"]


class Container:
    """One container. It is gone at the end of its test."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec(self, *command: str, user: str = "") -> subprocess.CompletedProcess[str]:
        options = [f"--user={user}"] if user else []
        return subprocess.run(
            ["docker", "exec", *options, self.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def cli(self, *words: str) -> str:
        """Ask the server over its own loopback interface; errors are answers, too."""
        return self.exec("sh", "-c", CLIENT, "sh", *words).stdout.strip()

    def health(self) -> tuple[bool, str]:
        """Look at its health as Docker would, but now."""
        done = self.exec("ratelimit-health")
        return done.returncode == 0, done.stdout.strip()

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.name)

    def answers(self, *words: str, wanted: str = "PONG") -> None:
        """Wait until it answers PING so; `words` are what the client needs to get there."""

        def answer() -> bool:
            assert self.inspect("{{.State.Status}}") == "running", self.log()
            return wanted in self.cli(*words, "PING")

        eventually(answer, f"{wanted} of {self.name}")

    def modules(self, *words: str) -> int:
        """Return how often the module is loaded."""
        return self.cli(*words, "MODULE", "LIST").split().count("ratelimit")

    def process(self) -> str:
        """Return the id of the server's process in the container: 1, unless an init starts it."""
        [found] = re.findall(r"process_id:(\d+)", self.cli("INFO", "server"))
        return str(found)

    def log(self) -> str:
        return run("sh", "-c", f"docker logs {self.name} 2>&1")


@pytest.fixture(scope="session", params=["server_image", "alpine_image"], ids=["debian", "alpine"])
def image(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def start(image: str) -> Iterator[Start]:
    """Start containers: `start("--port", "7000", options=["--env=A=B"])`."""
    made = []

    def start(*arguments: str, options: tuple[str, ...] = ()) -> Container:
        name = f"rl-test-{secrets.token_hex(4)}"
        label = os.environ.get("REDIS_IMAGE_LABEL", "redis-ratelimit-test")
        made.append(name)
        docker("run", "--detach", f"--name={name}", f"--label={label}", *options, image, *arguments)
        return Container(name)

    yield start
    for name in made:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that the image's user can read."""
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o755)
    return tmp_path


def mounted(file: Path, to: str) -> str:
    file.chmod(0o644)
    return f"--volume={file}:{to}:ro"


def once(image: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """What a container prints that ends by itself."""
    return docker("run", "--rm", "--network=none", *options, image, *arguments)


# How it starts


def test_without_arguments_the_server_runs_with_the_module_and_its_own_defaults(start: Start) -> None:
    server = start()
    server.answers()
    assert server.modules() == 1
    assert server.cli("RL.CHECK", "k", "3", "60").split() == ["1", "3", "2", "0", "60000"]
    assert server.cli("CONFIG", "GET", "appendonly").split()[1] == "no"
    assert server.cli("CONFIG", "GET", "save").split("\n")[1] == "3600 1 300 100 60 10000"


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["redis-server", "--appendonly", "yes"], ["appendonly", "yes"]),
        (["--maxmemory", "50mb"], ["maxmemory", "52428800"]),
        (["--maxmemory", "50mb", "--ratelimit.top-keys", "7"], ["ratelimit.top-keys", "7"]),
        (["redis-server", "--loadmodule", LIBRARY, "top-keys", "9"], ["ratelimit.top-keys", "9"]),
        # An option whose value is left out, last.
        (["redis-server", "--appendonly", "yes", "--save"], ["save", "''"]),
    ],
)
def test_options_are_the_server_s_and_the_module_is_loaded_once(
    start: Start, arguments: list[str], setting: list[str]
) -> None:
    server = start(*arguments)
    server.answers()
    assert server.modules() == 1
    found = server.cli("CONFIG", "GET", setting[0]).split("\n")
    assert [found[0], found[1] if len(found) > 1 and found[1] else "''"] == setting


@pytest.mark.parametrize(
    "text",
    [
        "maxmemory 50mb\n",
        f"maxmemory 50mb\nLoadModule {LIBRARY} top-keys 128\n",
        f'  loadmodule "{LIBRARY}"\nmaxmemory 50mb',
        "include /configuration/more-*.conf\n",
    ],
    ids=["without the library", "with arguments of the module", "quoted", "in an included file"],
)
def test_a_configuration_file_is_read_and_the_module_is_loaded_once(start: Start, folder: Path, text: str) -> None:
    (folder / "more-1.conf").write_text("maxmemory 50mb\n")
    (folder / "more-2.conf").write_text(f"loadmodule {LIBRARY}\n")
    for name in ("more-1.conf", "more-2.conf"):
        (folder / name).chmod(0o644)
    own = folder / "own.conf"
    own.write_text(text)
    own.chmod(0o644)
    for arguments in (["/configuration/own.conf"], ["redis-server", "/configuration/own.conf", "--timeout", "7"]):
        server = start(*arguments, options=(f"--volume={folder}:/configuration:ro",))
        server.answers()
        assert server.modules() == 1
        assert server.cli("CONFIG", "GET", "maxmemory").split() == ["maxmemory", "52428800"]


def test_a_configuration_may_come_from_the_standard_input(start: Start) -> None:
    server = start("sleep", "300")
    command = ["docker", "exec", "--interactive", server.name, "ratelimit-entrypoint", "redis-server", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("maxmemory 50mb\n")
        process.stdin.close()
        server.answers()
        assert server.modules() == 1
        assert server.cli("CONFIG", "GET", "maxmemory").split() == ["maxmemory", "52428800"]
        server.cli("SHUTDOWN", "NOSAVE")


def test_other_programs_run_as_they_are(image: str) -> None:
    assert re.match(r"(redis|valkey)-cli \d", once(image, "redis-cli", "--version"))
    assert once(image, "echo", "--loadmodule") == "--loadmodule"
    assert once(image, "sh", "-c", "echo $0 $1", "a", "b") == "a b"


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_a_server_that_only_tells_its_version_is_given_nothing_else(image: str, option: str) -> None:
    for arguments in ([option], ["redis-server", option]):
        assert re.match(r"(Redis|Valkey) server v=\d", once(image, *arguments))


def test_sentinel_does_not_get_the_module(start: Start, folder: Path) -> None:
    own = folder / "sentinel.conf"
    own.write_text("port 26379\nsentinel monitor main 127.0.0.1 6379 1\n")
    # It writes into its configuration.
    command = (
        "cp /sentinel.conf /data/sentinel.conf && exec ratelimit-entrypoint redis-server /data/sentinel.conf --sentinel"
    )
    server = start("sh", "-c", command, options=(mounted(own, "/sentinel.conf"),))
    server.answers("-p", "26379")
    assert "_mode:sentinel" in server.cli("-p", "26379", "INFO", "server")
    assert "ratelimit" not in server.log()
    eventually(lambda: server.health() == (True, "PONG"), "a healthy Sentinel")


def test_the_entrypoint_the_command_and_the_init_are_those_of_the_server_image(start: Start, image: str) -> None:
    def started(name: str) -> list[str]:
        template = "{{ json .Config.Entrypoint }} {{ json .Config.Cmd }}"
        return docker("image", "inspect", "--format", template, name).split()

    assert started(image) == started(base_of(image))
    server = start()
    server.answers()
    assert server.modules() == 1
    init = "tini" if "tini" in started(image)[0] else server.inspect("{{ index .Config.Cmd 0 }}")
    assert server.exec("cat", "/proc/1/comm").stdout.strip() == init


def test_any_other_user_may_run_it(start: Start) -> None:
    server = start("--requirepass", "x", options=("--user=4711:4712", "--tmpfs=/data:mode=1777"))
    eventually(lambda: server.health() == (True, "PONG"), "a healthy server")
    assert server.exec("stat", "-c", "%u %a", "/run/ratelimit/server").stdout.split() == ["4711", "600"]


def test_a_server_that_root_starts_runs_as_the_image_s_user(start: Start) -> None:
    server = start(options=("--user=0",))
    server.answers()
    assert server.modules() == 1
    assert server.exec("stat", "-c", "%u", f"/proc/{server.process()}", user="0").stdout.strip() == "999"
    assert server.exec("ratelimit-health", user="0").returncode == 0


def test_the_files_of_a_container_may_be_read_only(start: Start) -> None:
    server = start(options=("--read-only", "--tmpfs=/data:mode=1777"))
    server.answers()
    assert server.modules() == 1
    assert server.health() == (True, "PONG")


def test_a_stopped_container_starts_again_and_goes_on(start: Start) -> None:
    server = start("--appendonly", "yes")
    server.answers()
    assert server.cli("RL.CHECK", "k", "3", "1h").split()[:3] == ["1", "3", "2"]
    docker("stop", server.name)
    assert server.inspect("{{.State.ExitCode}}") == "0"
    docker("start", server.name)
    server.answers()
    assert server.cli("RL.CHECK", "k", "3", "1h").split()[:3] == ["1", "3", "1"]


def test_the_documented_commands_start_it_ask_it_and_tell_its_health(image: str) -> None:
    name = f"rl-test-{secrets.token_hex(4)}"

    def documented(block: str) -> str:
        text = run("scripts/block", "docs/containers.md", block)
        # Names and a port that nobody else has.
        for theirs, ours in (
            ("--name limits", f"--name {name}"),
            (" limits", f" {name}"),
            ("127.0.0.1:6379:", "127.0.0.1::"),
            ("redis-ratelimit ", f"{image} "),
        ):
            text = text.replace(theirs, ours)
        return run("bash", "-euo", "pipefail", "-c", text)

    try:
        documented("image-run")
        answer = eventually(lambda: documented("image-ask"), "an answer")
        assert answer.split() == ["1", "3", "2", "0", "60000"]
        eventually(lambda: documented("image-health").strip() == "healthy", "a healthy container")
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", name)


# Its configuration


def test_the_configuration_in_it_asks_for_a_password_before_it_lets_others_in(start: Start, image: str) -> None:
    server = start(CONFIGURATION)
    server.answers()
    assert server.modules() == 1
    assert server.health() == (True, "PONG")
    address = server.inspect("{{.NetworkSettings.IPAddress}}")

    def from_outside(*words: str) -> str:
        return start_and_print(start, "sh", "-c", CLIENT, "sh", "-h", address, *words)

    assert "DENIED" in from_outside("PING")
    protected = start(CONFIGURATION, "--requirepass", "secret")
    protected.answers(wanted="NOAUTH")
    address = protected.inspect("{{.NetworkSettings.IPAddress}}")
    assert "NOAUTH" in from_outside("PING")
    assert from_outside("--no-auth-warning", "-a", "secret", "RL.CHECK", "k", "3", "60").split()[:3] == ["1", "3", "2"]
    assert protected.health() == (True, "PONG")


def start_and_print(start: Start, *command: str) -> str:
    """Run a command in a container with a network, and return what it prints."""
    container = start(*command)
    docker("wait", container.name)
    return container.log()


def test_the_configuration_in_it_keeps_limits_and_loads_no_other_modules(start: Start) -> None:
    server = start(CONFIGURATION)
    server.answers()
    server.cli("RL.CHECK", "k", "1", "1h")
    for setting, value in (("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("dir", "/data")):
        assert server.cli("CONFIG", "GET", setting).split() == [setting, value]
    assert server.cli("MODULE", "UNLOAD", "ratelimit").startswith("ERR")
    docker("kill", server.name)
    docker("start", server.name)
    server.answers()
    assert server.cli("RL.CHECK", "k", "1", "1h").split()[0] == "0"


# Its health


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--requirepass", "a secret with 'quotes'"],
        ["redis-server", "--user", *["default", "on", ">secret", "~*", "&*", "+@all"]],
        ["--port", "7000", "--requirepass", "x"],
        ["--port", "0", "--unixsocket", "/data/socket", "--requirepass", "x"],
        ["--bind", "0.0.0.0"],
    ],
    ids=["plain", "password", "password of a user", "other port", "unix socket", "all addresses"],
)
def test_a_server_that_serves_is_healthy(start: Start, arguments: list[str]) -> None:
    server = start(*arguments)
    eventually(lambda: server.health()[0], "a healthy server")
    assert server.health() == (True, "PONG")


def test_a_server_that_speaks_tls_only_is_healthy(start: Start, image: str, folder: Path) -> None:
    if "--tls" not in once(image, "sh", "-c", f"set -- --help; {CLIENT} 2>&1"):
        pytest.skip("TLS: the server in the image has none")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    options = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    run("openssl", *options, "-keyout", str(key), "-out", str(certificate))
    key.chmod(0o644)
    server = start(
        *("--port", "0", "--tls-port", "6380", "--requirepass", "x"),
        *("--tls-cert-file", "/tls/certificate.pem", "--tls-key-file", "/tls/key.pem"),
        *("--tls-ca-cert-file", "/tls/certificate.pem"),
        options=(f"--volume={folder}:/tls:ro",),
    )
    eventually(lambda: server.health() == (True, "PONG"), "a healthy server")


def test_docker_finds_it_healthy(start: Start) -> None:
    server = start("--requirepass", "x", options=("--health-interval=1s",))
    eventually(lambda: server.inspect("{{.State.Health.Status}}") == "healthy", "a healthy container")


def test_the_password_may_stand_in_a_configuration(start: Start, folder: Path) -> None:
    own = folder / "own.conf"
    own.write_text('REQUIREPASS "in a file"\n')
    server = start("/own.conf", options=(mounted(own, "/own.conf"),))
    eventually(lambda: server.health() == (True, "PONG"), "a healthy server")


def test_a_password_that_nobody_told_is_asked_for(start: Start, folder: Path) -> None:
    users = folder / "users.acl"
    users.write_text("user default on >hidden ~* &* +@all\n")
    arguments = ("--aclfile", "/users.acl")
    server = start(*arguments, options=(mounted(users, "/users.acl"),))
    server.answers(wanted="NOAUTH")
    healthy, answer = server.health()
    assert not healthy
    assert "REDISCLI_AUTH" in answer
    told = start(*arguments, options=(mounted(users, "/users.acl"), "--env=REDISCLI_AUTH=hidden"))
    eventually(lambda: told.health() == (True, "PONG"), "a healthy server")


@pytest.mark.parametrize("password", ["", "x"])
def test_a_server_that_loads_is_not_healthy(start: Start, password: str) -> None:
    # Each key takes 5 ms to load, so that there is time to look.
    options = ["--requirepass", password] if password else []
    login = ["--no-auth-warning", "-a", password] if password else []
    server = start("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024", *options)
    server.answers(*login)
    fill = "for i = 1, 1000 do redis.call('SET', i, string.rep('x', 100)) end"
    server.cli(*login, "EVAL", fill, "0")
    assert server.cli(*login, "SAVE") == "OK"
    docker("restart", "--time=0", server.name)
    eventually(lambda: "LOADING" in server.health()[1], "a server that loads")
    assert not server.health()[0]
    assert server.inspect("{{.State.Health.Status}}") != "healthy"
    eventually(lambda: server.health() == (True, "PONG"), "a server that has loaded")
    assert server.cli(*login, "DBSIZE") == "1000"


def test_a_server_that_hangs_is_not_healthy(start: Start) -> None:
    server = start(
        options=("--health-interval=1s", "--health-timeout=1s", "--health-retries=1", "--health-start-period=0s")
    )
    eventually(lambda: server.inspect("{{.State.Health.Status}}") == "healthy", "a healthy container")
    if (process := server.process()) == "1":
        docker("kill", "--signal=STOP", server.name)
    else:
        server.exec("kill", "-STOP", process)
    eventually(lambda: server.inspect("{{.State.Health.Status}}") == "unhealthy", "an unhealthy container")


# What is in it


def test_it_does_not_run_as_root(image: str) -> None:
    assert once(image, "id", "-u") == "999"


def test_it_holds_no_build_tools_and_no_source(image: str) -> None:
    found = once(
        image,
        "sh",
        "-c",
        "for tool in cargo rustc rustup gcc cc clang ld make cmake git; do command -v $tool; done;"
        " find / -xdev \\( -name '*.rs' -o -name '*.rlib' -o -name Cargo.toml -o -name Cargo.lock -o -name '*.c'"
        " -o -name '*.h' -o -name '*.crate' -o -name 'libclang*' \\) -print; true",
        options=("--user=0",),
    )
    assert found == ""


def test_what_it_adds_to_the_server_image_is_this_and_no_more(image: str) -> None:
    files = (
        "/etc/redis/ratelimit.conf",
        LIBRARY,
        "/usr/local/bin/ratelimit-entrypoint",
        "/usr/local/bin/ratelimit-health",
        "/usr/share/doc/redis-ratelimit/THIRD-PARTY-NOTICES",
        "/usr/share/doc/redis-ratelimit/RUST-STANDARD-LIBRARY.html",
        "/usr/share/doc/redis-ratelimit/LICENSE",
    )
    listed = once(image, "stat", "-c", "%U %a %n", *files).splitlines()
    modes = ["644", "755", "755", "755", "644", "644", "644"]
    assert listed == [f"root {mode} {file}" for mode, file in zip(modes, files, strict=True)]
    assert once(image, "cat", files[-1]) == (ROOT / "LICENSE").read_text().strip()
    notices = once(image, "cat", "/usr/share/doc/redis-ratelimit/THIRD-PARTY-NOTICES")
    for linked in ("\nsiphasher ", "\nlibunwind of LLVM"):
        assert linked in notices
    base = base_of(image)
    size, before = (int(docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, base))
    print(f"{image}: {size / 1e6:.1f} MB, of which {(size - before) / 1e6:.2f} MB are not {base}'s")
    assert size - before < 2_000_000


def test_both_images_have_the_same_library_and_alpine_needs_nothing_else(server_image: str, alpine_image: str) -> None:
    sums = {once(image, "sha256sum", LIBRARY) for image in (server_image, alpine_image)}
    assert len(sums) == 1
    names = " -o ".join(f"-name '{name}'" for name in ("ld-musl-*", "ld-linux*", "libc.so.6", "libgcc_s*"))
    found = once(alpine_image, "sh", "-c", f"find / -xdev {names}", options=("--user=0",)).split()
    assert [path.rpartition("/")[2].split("-")[1] for path in found] == ["musl"]


def test_its_labels_tell_the_version(image: str) -> None:
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    [default] = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "deploy/image/Dockerfile").read_text(), re.MULTILINE)
    assert default == version
    label = '{{ index .Config.Labels "org.opencontainers.image.%s" }}'
    assert docker("image", "inspect", "--format", label % "version", image) == version
    assert docker("image", "inspect", "--format", label % "licenses", image) == "MIT"
