"""The accounts and the catalogue of a lending library, as a JSON API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from . import accounts, catalogue, config, database, errors, health
from .limits import limiter


def create_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """Make the application. `settings` count more than the environment."""
    app = Flask(__name__)
    app.config.from_mapping(config.from_environment())
    app.config.from_mapping(settings or {})
    logging.basicConfig(
        level=app.config["LOG_LEVEL"], format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )

    proxies = app.config["TRUSTED_PROXIES"]
    if proxies:
        # Each proxy appends whom it has talked to: what stands before that is the client's own invention.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]

    database.init_app(app)
    limiter.init_app(app)
    errors.init_app(app)
    app.register_blueprint(accounts.blueprint, url_prefix="/auth")
    app.register_blueprint(catalogue.blueprint)
    app.register_blueprint(health.blueprint)
    return app
