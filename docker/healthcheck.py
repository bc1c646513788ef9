"""Exit 0 if the server in this container answers /health with the credentials that it was given."""

import base64
import os
import sys
import urllib.error
import urllib.request

request = urllib.request.Request(f"http://127.0.0.1:{os.environ.get('MASKWRIGHT_PORT', '9090')}/health")
if os.environ.get("MASKWRIGHT_USERNAME"):
    pair = f"{os.environ['MASKWRIGHT_USERNAME']}:{os.environ.get('MASKWRIGHT_PASSWORD', '')}"
    request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
elif os.environ.get("MASKWRIGHT_BEARER_TOKEN"):
    request.add_header("Authorization", f"Bearer {os.environ['MASKWRIGHT_BEARER_TOKEN']}")
try:
    with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310 - the address is the line above
        sys.exit(0 if answer.status == 200 else 1)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"unhealthy: {error}")
