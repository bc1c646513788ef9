"""JSON in and out, and the one way in which every error leaves the server."""

from __future__ import annotations

import logging
import math
import secrets
from typing import Any

import orjson
from flask import Flask, Response, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException

from maskwright.errors import Busy, MaskwrightError

log = logging.getLogger(__name__)

REASON_LENGTH = 120
_REMEDIES = {
    401: "send HTTP basic auth with MASKWRIGHT_USERNAME and MASKWRIGHT_PASSWORD, or 'Authorization: Bearer' with "
    "MASKWRIGHT_BEARER_TOKEN, as they are set on the server",
    403: "use a loopback name, or set credentials on the server",
    404: "check the address; the routes are listed in the README",
    413: "send less in one request, or raise MASKWRIGHT_MAX_REQUEST_BYTES on the server",
    415: "send JSON with 'Content-Type: application/json'",
}


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson: numpy arrays are written as they are, without a list in between."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Serialise to text."""
        return self._bytes(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse; malformed JSON raises ValueError, as Flask expects."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """A JSON response from one object or from keyword arguments."""
        return Response(self._bytes(self._prepare_response_obj(args, kwargs)), mimetype="application/json")

    @staticmethod
    def _bytes(obj: Any) -> bytes:
        return orjson.dumps(obj, option=orjson.OPT_SERIALIZE_NUMPY)


def install_answers(app: Flask) -> None:
    """Make ``app`` speak orjson and answer every error as ``{"error": ..., "remedy": ...}``.

    A platform may show its user nothing but the reason phrase of the status line, so the message goes there as well,
    shortened.
    """
    app.json = OrjsonProvider(app)
    app.register_error_handler(MaskwrightError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)


def error_response(status: int, message: str, remedy: str | None = None) -> Response:
    """The JSON error with ``status``, its message also in the reason phrase."""
    body = {"error": message} | ({"remedy": remedy} if remedy else {})
    payload = orjson.dumps({key: _valid(text) for key, text in body.items()})
    response = Response(payload, mimetype="application/json")
    response.status = f"{status} {reason_phrase(message)}"
    return response


def reason_phrase(message: str) -> str:
    """``message`` as a reason phrase: printable latin-1 on one line, at most 120 characters (RFC 9112, section 4)."""
    line = " ".join(message.split())
    line = "".join(c if c.isprintable() else "?" for c in line).encode("latin-1", "replace").decode("latin-1")
    if len(line) > REASON_LENGTH:
        line = line[: REASON_LENGTH - 3].rstrip() + "..."
    return line or "Error"


def _known(error: MaskwrightError) -> Response:
    log.log(
        logging.ERROR if error.status >= 500 and not isinstance(error, Busy) else logging.WARNING,
        "%s %s: %s: %s", request.method, request.path, type(error).__name__, error,
    )  # fmt: skip
    response = error_response(error.status, str(error), getattr(error, "remedy", None))
    if isinstance(error, Busy):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def _http(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        # Redirects carry a response of their own.
        return Response(status=error.code or 500) if error.response is None else error.get_response()  # type: ignore[return-value]
    response = error_response(error.code, error.description or error.name, _REMEDIES.get(error.code))
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="maskwright", charset="UTF-8"'
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unknown(error: Exception) -> Response:
    # The client learns a number to quote, the log has the rest.
    reference = secrets.token_hex(4)
    log.error("%s %s failed, reference %s", request.method, request.path, reference, exc_info=error)
    return error_response(500, f"internal error, reference {reference}", "look for the reference in the server's log")


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
