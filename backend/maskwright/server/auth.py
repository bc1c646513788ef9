"""Who may talk to the server: HTTP basic auth or a bearer secret, checked before anything else is done."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from flask import Flask, Request, g, request
from werkzeug.exceptions import Forbidden, Unauthorized

from maskwright.settings import LOOPBACK_HOSTS, Settings


def install_auth(app: Flask, settings: Settings, public_rules: Collection[str]) -> None:
    """Guard every route of ``app``, known or not, with the credentials of ``settings``.

    Sets ``flask.g.authenticated`` for the handlers: True only if correct credentials came with the request. A rule in
    ``public_rules`` is also answered when none came; wrong ones are refused there as everywhere. A server without
    credentials listens on loopback only, and there it refuses names other than loopback's own in the Host header, so
    that no web page can reach it through a name that it controls.
    """

    @app.before_request
    def guard() -> None:
        g.authenticated = False
        if not settings.has_credentials:
            if not settings.allow_unauthenticated_bind and _host_name(request) not in LOOPBACK_HOSTS:
                raise Forbidden("this server has no credentials, so it answers only to loopback names")
            return
        if credentials_match(request, settings):
            g.authenticated = True
            return
        rule = request.url_rule.rule if request.url_rule is not None else None
        if rule in public_rules and "Authorization" not in request.headers:
            return
        raise Unauthorized("credentials are missing or wrong")


def credentials_match(incoming: Request, settings: Settings) -> bool:
    """Whether the request carries the basic or bearer credentials of ``settings``, in time that tells nothing."""
    given = incoming.authorization
    if given is None:
        return False
    if given.type == "basic":
        user = _equal(given.username or "", settings.username)
        password = _equal(given.password or "", settings.password.get_secret_value())
        return bool(settings.username) & user & password
    if given.type == "bearer":
        secret = settings.bearer_token.get_secret_value()
        return bool(secret) & _equal(given.token or "", secret)
    return False


def _equal(left: str, right: str) -> bool:
    # Digests have one length, so the comparison does not tell how long the secret is.
    digests = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (left, right))
    return hmac.compare_digest(*digests)


def _host_name(incoming: Request) -> str:
    host = incoming.environ.get("HTTP_HOST", "") or incoming.environ.get("SERVER_NAME", "")
    if host.startswith("["):
        return str(host[1:].partition("]")[0]).lower()
    return str(host.partition(":")[0]).lower()
