"""The database: a file of SQLite, which all workers open."""

from __future__ import annotations

import sqlite3

from flask import Flask, current_app, g


def connection() -> sqlite3.Connection:
    """Return the connection of this request."""
    if "connection" not in g:
        g.connection = _connect(current_app)
    found: sqlite3.Connection = g.connection
    return found


def _connect(app: Flask) -> sqlite3.Connection:
    connection = sqlite3.connect(app.config["DATABASE"], timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def _close(_: BaseException | None) -> None:
    connection = g.pop("connection", None)
    if connection is not None:
        connection.close()


def init_app(app: Flask) -> None:
    """Make the tables if there are none."""
    connection = _connect(app)
    with app.open_resource("schema.sql", "r") as schema:
        connection.executescript(schema.read())
    connection.close()
    app.teardown_appcontext(_close)
