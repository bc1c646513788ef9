"""Forms that only our own pages can send.

Browsers add remembered credentials to requests of foreign pages as well, and a server on loopback has none, so every
form carries a token: the HMAC, under a secret of this process, of a random cookie that foreign pages can neither read
nor cause to be sent (``SameSite=Strict``). Browsers also tell from which page a form comes (``Origin``, ``Referer``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

from flask import Response, g, request

from maskwright.errors import Refused

COOKIE = "maskwright-forms"
FIELD = "form_token"
_NONCE = re.compile(r"[0-9a-f]{32}")


class FormGuard:
    """Makes and checks the tokens of one process. Threads may share it."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def token(self) -> str:
        """The token for the forms of the page being made; ``remember`` sends its cookie along."""
        if (nonce := _nonce()) is None:
            nonce = g.setdefault("forms_nonce", secrets.token_hex(16))
        return self._mac(nonce)

    def remember(self, response: Response) -> Response:
        """Send the cookie of a token that was made for a browser that had none."""
        if (nonce := g.get("forms_nonce")) is not None:
            response.set_cookie(COOKIE, nonce, httponly=True, samesite="Strict", secure=request.is_secure)
        return response

    def check(self) -> None:
        """Refuse a form that does not come from a page of this process.

        Raises:
            Refused: Saying what to do.
        """
        source = request.headers.get("Origin") or request.headers.get("Referer") or ""
        if not request.host or _host(source) != request.host.lower():
            raise Refused(
                "this form comes from a page of another address, so nothing was done; open the dashboard under the "
                "address of the server itself (a proxy before it must pass on the Host header)"
            )
        nonce, given = _nonce(), request.form.get(FIELD, "")
        expected = self._mac(nonce or "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()) or nonce is None:
            raise Refused(
                "this form is of an older page or of another browser, so nothing was done; reload the page and try "
                "again (the dashboard needs cookies of its own address)"
            )

    def _mac(self, nonce: str) -> str:
        return hmac.new(self._secret, nonce.encode(), hashlib.sha256).hexdigest()


def _nonce() -> str | None:
    found = request.cookies.get(COOKIE, "")
    return found if _NONCE.fullmatch(found) else None


def _host(source: str) -> str:
    try:
        return urlsplit(source).netloc.lower()
    except ValueError:
        return ""
