"""Django: an app that makes django-ratelimit decide in the server, and limiters on the connections of ``CACHES``.

With ``"redis_ratelimit.django"`` in ``INSTALLED_APPS``, everything that django-ratelimit offers (`ratelimit`,
`is_ratelimited`, `get_usage`) asks one ``RL.CHECK`` for each decision. `http_headers` makes the headers of an answer of
what was decided, and `connection.limiter` is for code of one's own.
"""

from .decided import decided, http_headers

__all__ = ["decided", "http_headers"]
