"""`python -m docker.healthy URL`: health check of the images: exits with 0 if the service responds with success."""

from __future__ import annotations

import sys
import urllib.request

urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=4).close()
