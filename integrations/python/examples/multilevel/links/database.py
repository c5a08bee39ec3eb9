"""The database: a file of SQLite, which all workers open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS links (
    code TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    user TEXT NOT NULL REFERENCES users (name),
    made_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


def create(path: str) -> None:
    """Make the tables if there are none."""
    with opened(path) as connection:
        connection.executescript(_TABLES)


@contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """Open it for one transaction."""
    connection = sqlite3.connect(path, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        with connection:
            yield connection
    finally:
        connection.close()
