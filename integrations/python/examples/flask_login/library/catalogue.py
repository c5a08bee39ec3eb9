"""Books."""

from __future__ import annotations

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from .database import connection
from .limits import limiter

blueprint = Blueprint("catalogue", __name__)

LONGEST_LIST = 50


@blueprint.get("/search")
@limiter.limit("30 per minute")
def search() -> ResponseReturnValue:
    words = request.args.get("q", "").strip()
    if not words:
        abort(400, "q is missing")
    pattern = "%" + words.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    rows = connection().execute(
        r"SELECT * FROM books WHERE title LIKE ? ESCAPE '\' OR author LIKE ? ESCAPE '\' ORDER BY title LIMIT ?",
        (pattern, pattern, LONGEST_LIST),
    )
    return {"books": [dict(row) for row in rows]}


@blueprint.get("/books/<int:number>")
def book(number: int) -> ResponseReturnValue:
    row = connection().execute("SELECT * FROM books WHERE id = ?", (number,)).fetchone()
    if row is None:
        abort(404, "there is no such book")
    return dict(row)
