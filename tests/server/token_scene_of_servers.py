"""A token of an issuer that shares a secret with the server."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode

SECRET = "a secret of thirty-two characters"


def token_for(*, secret=SECRET, **said):
    now = time.time()
    body = {"iss": "https://login.example", "aud": "corral", "iat": now, "exp": now + 60, **said}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, body))
    return f"{text}.{_encoded(hmac.digest(secret.encode(), text.encode(), 'sha256'))}"


def _encoded(raw):
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
