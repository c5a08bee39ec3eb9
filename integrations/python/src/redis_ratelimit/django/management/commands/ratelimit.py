"""The command ``ratelimit`` on a connection of ``CACHES``: ``manage.py ratelimit top --scope login``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from redis_ratelimit import cli
from redis_ratelimit.django import connection
from redis_ratelimit.errors import RateLimitError
from redis_ratelimit.escapes import printable


class Command(BaseCommand):
    """The commands of the console script, for the server that a cache is on."""

    help = cli.DESCRIPTION
    # It needs no application to be in order, and is called when something is not.
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the commands of the console script, and the cache in place of the URL."""
        parser.add_argument("--cache", default=DEFAULT_CACHE_ALIAS, help="an alias in CACHES (default: default)")
        cli.add_commands(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry it out. An exit code that is not 0 is a `CommandError`."""
        # What is printed has its line ends.
        self.stdout.ending = self.stderr.ending = ""
        streams: Any = (self.stdout, self.stderr)
        try:
            code = cli.run(Namespace(**options), connection.limiter(options["cache"]), *streams)
        except (RateLimitError, ImproperlyConfigured) as error:
            raise CommandError(printable(cli.hidden(str(error)))) from error
        finally:
            self.stderr.ending = "\n"
        if code:
            raise CommandError("not every server decides", returncode=code)
