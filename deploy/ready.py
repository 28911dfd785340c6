"""Ask this host's web server whether it is ready, under an allowed host name. For a container's health check."""

import os
import urllib.request

host = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0]
address = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/readyz"
urllib.request.urlopen(urllib.request.Request(address, headers={"Host": host}), timeout=2)
