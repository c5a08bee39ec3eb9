"""Options of connections: which ones there are, and whether redis-py can use their values.

redis-py refuses some options when they are given, others when it connects, and the rest it ignores. A limiter refuses
them when it is made. Which options there are is read from the constructors of redis-py, so it is those of the release
that is installed.
"""

from __future__ import annotations

import codecs
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import redis.asyncio
from redis.connection import parse_url

from .errors import ArgumentError, OptionError
from .rates import units

Parameters = Mapping[str, inspect.Parameter]

# What has a place of its own in a URL.
_OF_THE_ADDRESS = frozenset({"host", "path", "port", "startup_nodes", "unix_socket_path", "url"})
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
_SECRETS = re.compile("user|password|credential")


def parameters(*classes: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of constructors by name. The first class that names one counts, and before its bases."""
    found: dict[str, inspect.Parameter] = {}
    for base in (base for kind in classes for base in kind.__mro__):
        constructor = vars(base).get("__init__")
        if constructor is None or base is object:
            continue
        for name, parameter in list(inspect.signature(constructor).parameters.items())[1:]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(name, parameter)
    return found


def checked_timeout(timeout: float) -> float:
    """Return the timeout, or raise `ArgumentError` if nothing could be answered in it."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 3600:
        raise ArgumentError(f"timeout must be a number of seconds above 0, at most 3600, not {timeout!r:.80}")
    return timeout


def checked_cap(max_connections: int) -> int:
    """Return the number of connections, or raise `OptionError` if it is none."""
    try:
        return units(max_connections, "max_connections")
    except ArgumentError as error:
        problem = str(error)
    raise OptionError(problem)


MAX_DENIALS = 10_000_000
"""How many denials a limiter may remember."""


def checked_observe(observe: bool) -> bool:
    """Return whether nothing is to be refused. Raises `OptionError` for a text: "no" would be taken for yes."""
    if not isinstance(observe, bool):
        raise OptionError(f"observe must be True or False, not {observe!r:.80}")
    return observe


def checked_denials(cache_denials: int) -> int:
    """Return how many denials to remember, or raise `OptionError` if it is no number."""
    if isinstance(cache_denials, bool) or not isinstance(cache_denials, int) or not 0 <= cache_denials <= MAX_DENIALS:
        raise OptionError(f"cache_denials must be an integer from 0 to {MAX_DENIALS}, not {cache_denials!r:.80}")
    return cache_denials


OF_LIMITERS = frozenset({"observe", "cache_denials"})
"""Options in a URL that are not for redis-py."""


def of_limiter(query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Read the options in a URL that are the limiter's own."""
    found: dict[str, Any] = {}
    for name, text in query:
        if name not in OF_LIMITERS:
            continue
        if name in found:
            raise OptionError(f"the option {name} stands twice in the URL")
        if name == "observe":
            if text.lower() not in _BOOLEANS:
                raise OptionError("the option observe of the URL must be yes or no")
            found[name] = _BOOLEANS[text.lower()]
        else:
            if not (text.isascii() and text.isdecimal() and len(text) < 10):
                raise OptionError("the option cache_denials of the URL must be a number")
            found[name] = checked_denials(int(text))
    return found


def from_query(query: Iterable[tuple[str, str]], known: Parameters) -> dict[str, Any]:
    """Read the options in a URL, of which each is text. Raises `OptionError`, which names the option."""
    found: dict[str, Any] = {}
    for name, text in query:
        if name not in known or name in _OF_THE_ADDRESS:
            raise OptionError(unknown(name))
        if name in found:
            raise OptionError(f"the option {name} stands twice in the URL")
        if not text:
            raise OptionError(f"the option {name} of the URL has no value")
        found[name] = _value(name, text, known[name])
    return found


def unknown(name: str) -> str:
    """Return the message about an option that there is not."""
    # What is no name may be a part of a password with a '?' in it.
    if not re.fullmatch("[a-z][a-z_]{0,39}", name):
        return (
            "an option in the URL has no valid name: special characters in user and password have to be percent-encoded"
        )
    return f"there is no option {name} for this kind of connection in redis-py {redis.__version__}"


def _value(name: str, text: str, parameter: inspect.Parameter) -> Any:
    """Return the value of an option as redis-py reads it, or by the type of its parameter."""
    value: Any = None
    refused = False
    try:
        value = parse_url(f"redis://host?{urlencode({name: text})}")[name]
    except ValueError:
        refused = True
    if not refused and isinstance(value, str):
        # redis-py has left it as it is.
        read = _reader(parameter)
        if read is None:
            raise OptionError(f"the option {name} cannot be given in a URL, only as a keyword")
        try:
            value = read(text)
        except (KeyError, ValueError):
            refused = True
    elif isinstance(value, bool):
        # What redis-py knows for neither yes nor no, it takes for yes.
        refused = text.lower() not in _BOOLEANS
    elif name == "retry_on_error":
        raise OptionError(f"the option {name} cannot be given: a limiter sends nothing twice")
    if refused:
        raise OptionError(f"the option {name} of the URL has a value that redis-py cannot use")
    return value


def _reader(parameter: inspect.Parameter) -> Callable[[str], Any] | None:
    """Return what makes a value of a text, by the annotation of the parameter, or else by its default."""
    kind, default = str(parameter.annotation), parameter.default
    if parameter.annotation is parameter.empty:
        kind = "str" if default is None or default is parameter.empty else type(default).__name__
    readers: dict[str, Callable[[str], Any]] = {
        "str": str,
        "bool": lambda text: _BOOLEANS[text.lower()],
        "int": int,
        "float": float,
    }
    if re.search(r"\b(Callable|Mapping|Type|[Ll]ist|[Dd]ict)\b", kind):
        return None
    return next((read for name, read in readers.items() if re.search(rf"\b{name}\b", kind)), None)


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_known(find: Callable[[str], object], name: Any) -> bool:
    try:
        find(name)
    except (LookupError, TypeError):
        return False
    return True


_TIMEOUT = (lambda value: _is_number(value, 1e-6, 3600), "a number of seconds above 0, at most 3600")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "client_name": (lambda value: bool(re.fullmatch("[!-~]*", str(value))), "printable ASCII without spaces"),
    "db": (lambda value: bool(re.fullmatch("[0-9]{1,9}", str(value))), "the number of a database, 0 or above"),
    "encoding": (lambda value: _is_known(codecs.lookup, value), "an encoding of Python"),
    "encoding_errors": (lambda value: _is_known(codecs.lookup_error, value), "a way of Python to handle errors"),
    "health_check_interval": (lambda value: _is_number(value, 0, 2**31), "a number of seconds, 0 or above"),
    "socket_connect_timeout": (
        lambda value: _is_number(value, 1e-6, 3600),
        "a number of seconds above 0, at most 3600",
    ),
    "socket_read_size": (lambda value: _is_number(value, 1, 2**31), "a number of bytes above 0"),
    "socket_timeout": _TIMEOUT,
}
"""What redis-py finds out only when it connects, or never. None stands for what it does without the option."""


def check_values(settings: Mapping[str, Any]) -> None:
    """Raise `OptionError` for a value that cannot be used, though redis-py takes it."""
    for name, (fits, what) in _VALUES.items():
        if settings.get(name) is not None and not fits(settings[name]):
            raise OptionError(f"the option {name} must be {what}, not {settings[name]!r:.80}")


def check_use(build: Callable[[Mapping[str, Any]], object], settings: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raise `OptionError` if something cannot be made of the settings; it names the one `given` that is to blame."""
    problem = _problem(build, settings)
    if problem is None:
        return
    names = [name for name in given if name in settings]
    others = {name: value for name, value in settings.items() if name not in names}
    guilty = [name for name in names if _problem(build, {**others, name: settings[name]}) is not None]
    # Nothing is told of where it comes from: a traceback would show what redis-py was given.
    what = (
        f"the option {guilty[0]}" if len(guilty) == 1 else f"what is given ({', '.join(guilty or names) or 'nothing'})"
    )
    secrets = [str(value) for name, value in settings.items() if value and _SECRETS.search(name)]
    reason = "" if any(secret in problem for secret in secrets) else f": {problem}"
    raise OptionError(f"{what} cannot be used{reason}")


def _problem(build: Callable[[Mapping[str, Any]], object], settings: Mapping[str, Any]) -> str | None:
    try:
        build(settings)
    except Exception as error:
        # Of whatever kind it is that redis-py, or ssl, refuses it with.
        return str(error) or type(error).__name__
    return None


def check_tls(settings: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raise `OptionError` if certificates cannot be read, or ciphers and the like are not known."""
    taken = parameters(redis.asyncio.SSLConnection)
    own = {name: value for name, value in settings.items() if name.startswith("ssl_") and name in taken}
    check_use(lambda chosen: redis.asyncio.SSLConnection(**chosen).ssl_context.get(), own, given)
