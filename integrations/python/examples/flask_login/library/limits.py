"""Who may ask how often. The limits of routes stand beside them."""

from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

limiter = Limiter(
    get_remote_address,
    default_limits=["200 per day", "50 per hour"],
    headers_enabled=True,
)
