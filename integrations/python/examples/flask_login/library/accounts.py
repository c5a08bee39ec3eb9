"""Readers: register, log in, and forget the password."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from typing import Any

from flask import Blueprint, abort, current_app, request, session
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.security import check_password_hash, generate_password_hash

from .database import connection
from .limits import limiter
from .mail import send

blueprint = Blueprint("accounts", __name__)

RESET_SECONDS = 3600
# Whoever is no reader is told so no sooner than one who mistypes.
_NOBODY = generate_password_hash("")


@blueprint.post("/register")
@limiter.limit("5 per hour")
def register() -> ResponseReturnValue:
    email, password = _field("email"), _new_password()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 254:
        abort(400, "email must be an address")
    try:
        with connection() as database:
            added = database.execute(
                "INSERT INTO readers (email, password) VALUES (?, ?)", (email, generate_password_hash(password))
            )
    except sqlite3.IntegrityError:
        abort(409, "this address is registered")
    return {"id": added.lastrowid, "email": email}, 201


@blueprint.post("/login")
@limiter.limit("5 per minute")
def login() -> ResponseReturnValue:
    reader = _reader("email = ?", _field("email"))
    right = check_password_hash(reader["password"] if reader else _NOBODY, _field("password"))
    if reader is None or not right:
        abort(401, "wrong address or password")
    session.clear()
    session["reader"] = reader["id"]
    return {"email": reader["email"]}


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    return "", 204


@blueprint.get("/me")
def me() -> ResponseReturnValue:
    reader = _reader("id = ?", session.get("reader"))
    if reader is None:
        abort(401, "not logged in")
    return {"email": reader["email"]}


@blueprint.post("/password-reset")
@limiter.limit("3 per hour")
def password_reset() -> ResponseReturnValue:
    reader = _reader("email = ?", _field("email"))
    if reader is not None:
        token = _tokens().dumps([reader["id"], _fingerprint(reader)])
        link = f"{current_app.config['PUBLIC_URL']}/auth/password-reset/confirm?token={token}"
        send(reader["email"], "Your new password", f"Choose a new password within an hour:\n\n{link}\n")
    # The same for those who are no readers.
    return {"message": "if the address is registered, a letter is on its way"}, 202


@blueprint.post("/password-reset/confirm")
def confirm_password_reset() -> ResponseReturnValue:
    password = _new_password()
    try:
        number, fingerprint = _tokens().loads(_field("token"), max_age=RESET_SECONDS)
    except BadSignature:
        abort(400, "the link is wrong, or too old")
    reader = _reader("id = ?", number)
    if reader is None or _fingerprint(reader) != fingerprint:
        abort(400, "the link was used")
    with connection() as database:
        database.execute("UPDATE readers SET password = ? WHERE id = ?", (generate_password_hash(password), number))
    return "", 204


def _reader(condition: str, value: Any) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection().execute(f"SELECT * FROM readers WHERE {condition}", (value,)).fetchone()
    return found


def _field(name: str) -> str:
    fields = request.get_json()
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value:
        abort(400, f"{name} is missing")
    return value


def _new_password() -> str:
    password = _field("password")
    if not 10 <= len(password) <= 200:
        abort(400, "a password has from 10 to 200 characters")
    return password


def _tokens() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="password-reset")


def _fingerprint(reader: sqlite3.Row) -> str:
    """Return what changes with the password, so that a link works once."""
    return hashlib.sha256(reader["password"].encode()).hexdigest()[:16]
