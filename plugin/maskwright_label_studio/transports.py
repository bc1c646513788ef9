"""How requests reach a Label Studio, and what its refusals mean.

httpx rather than the SDK's client: the SDK takes seconds to import, hides the bodies of refusals that we explain, and
knows nothing of our guarded transport for addresses that only a request names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
import orjson

from maskwright.errors import InvalidInput, MaskwrightError, NotFound, Refused, Unreachable
from maskwright.store.remote import AccessDenied, FetchPolicy, fetch_bytes, post_json
from maskwright_label_studio.credentials import HOW_TO_GET_A_KEY, Credentials

_TIMEOUT_S = 30.0
_SHOWN = 300
_PRIVATE_ADDRESS_WORDS = ("not allowed", "must not resolve", "reserved", "private network", "banned", "block_local")


class ApiError(MaskwrightError):
    """Label Studio answered a request with an error.

    Attributes:
        remote_status: Its HTTP status.
        body: Its answer as text.
    """

    status = 502

    def __init__(self, message: str, remote_status: int, body: str) -> None:
        super().__init__(message)
        self.remote_status = remote_status
        self.body = body

    @property
    def is_private_address_refusal(self) -> bool:
        """Whether Label Studio refused the URL of the backend for being on a private network (1.23.1 and later)."""
        text = self.body.lower()
        return self.remote_status == 403 and any(word in text for word in _PRIVATE_ADDRESS_WORDS)


class ForeignNotFound(NotFound):
    """A 404 that does not read like Label Studio's own: of a proxy before it, say. It proves nothing about projects."""


class Transport(Protocol):
    """Sends requests to one Label Studio."""

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """GET; the answer as it came, for answers whose masks are not to be read."""
        ...

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """Send and read the JSON answer; ``payload`` None means no body. None for an empty answer."""
        ...


class OperatorTransport:
    """Requests to the server that the operator configured, with every method and with readable refusals.

    Redirects are not followed: the token stays where it belongs. Without credentials only what is public answers.
    """

    def __init__(self, base_url: str, credentials: Credentials | None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._credentials = credentials
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout_s, trust_env=False)

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """See ``Transport``."""
        return self._answer("GET", path, params, None)

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """See ``Transport``."""
        return _parsed(self._answer(method, path, params, payload), path)

    def _answer(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> bytes:
        """The body of the answer; an expired access token is renewed once."""
        headers = self._credentials.headers() if self._credentials else {}
        response = self._sent(method, path, params, payload, headers)
        refused = response.status_code == httpx.codes.UNAUTHORIZED
        if refused and self._credentials and self._credentials.invalidate(headers):
            response = self._sent(method, path, params, payload, self._credentials.headers())
        return self._checked(method, path, response)

    def _sent(
        self, method: str, path: str, params: Mapping[str, Any], payload: Any, headers: dict[str, str]
    ) -> httpx.Response:
        content = None if payload is None else orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        sent = headers | ({"Content-Type": "application/json"} if content is not None else {})
        try:
            return self._http.request(method, path, params=dict(params) or None, content=content, headers=sent)
        except httpx.HTTPError as error:
            reason = type(error).__name__
            raise Unreachable(f"Label Studio at {self._http.base_url} does not answer: {reason}") from error

    def _checked(self, method: str, path: str, response: httpx.Response) -> bytes:
        status = response.status_code
        if status == httpx.codes.UNAUTHORIZED:
            raise Refused(self._credentials.rejection() if self._credentials else HOW_TO_GET_A_KEY)
        if status == httpx.codes.NOT_FOUND:
            if not _is_own_refusal(response):
                raise ForeignNotFound(f"what answers {path} with 404 does not read like Label Studio")
            raise NotFound(f"Label Studio has no {path}")
        if response.is_redirect:
            raise Unreachable(f"Label Studio redirects {path}; configure the address that it redirects to")
        if response.is_error:
            what = f"Label Studio answered {method} {path} with {status}: {_detail(response)}"
            raise ApiError(what, status, response.text)
        return response.content


class GuardedTransport:
    """GET and POST to a server that only a request named: judged by the same policy as images from there."""

    def __init__(self, base_url: str, credentials: Credentials, policy: FetchPolicy) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._policy = policy

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """See ``Transport``."""
        try:
            return fetch_bytes(self._url(path, params), self._policy, self._credentials.headers())
        except AccessDenied as error:
            raise Refused(self._credentials.rejection()) from error

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """See ``Transport``."""
        if method == "GET":
            return _parsed(self.fetch(path, params), path)
        if method != "POST":
            raise InvalidInput(f"{method} is not sent to servers that the operator did not configure")
        plain = orjson.loads(orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY))
        try:
            return post_json(self._url(path, params), plain, self._policy, self._credentials.headers())
        except AccessDenied as error:
            raise Refused(self._credentials.rejection()) from error

    def _url(self, path: str, params: Mapping[str, Any]) -> str:
        return self._base_url + path + (f"?{urlencode(params)}" if params else "")


def _parsed(content: bytes, path: str) -> Any:
    if not content:
        return None
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"what answers {path} is not Label Studio: no JSON came") from error


def _is_own_refusal(response: httpx.Response) -> bool:
    try:
        body = response.json()
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("status_code") == response.status_code


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.reason_phrase or "no reason given"
    if not isinstance(body, dict):
        return str(body)[:_SHOWN]
    errors = body.get("validation_errors")
    fields = errors.items() if isinstance(errors, dict) else ()
    parts = [f"{key}: {'; '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in fields]
    return (" ".join(parts) or str(body.get("detail") or "no reason given"))[:_SHOWN]
