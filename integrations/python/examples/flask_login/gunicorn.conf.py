"""How gunicorn serves the library, behind a proxy that buffers slow clients."""

import os

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))
# The application is loaded once, and shared by the workers.
preload_app = True
accesslog = "-"
# The client as the proxy names it.
access_log_format = '%({x-forwarded-for}i)s "%(r)s" %(s)s %(b)s %(M)sms'
