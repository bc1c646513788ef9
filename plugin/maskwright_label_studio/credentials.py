"""The one key of Label Studio: a legacy token, or a personal access token that is exchanged for short-lived ones."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from maskwright.errors import InvalidInput, NotFound, Refused, Unreachable
from maskwright.settings import Settings
from maskwright.store.remote import AccessDenied, FetchPolicy, Origin, post_json

_LEGACY = re.compile(r"[0-9a-fA-F]{40}")
_EXCHANGE_TIMEOUT_S = 10.0
_LIFETIME_S = 300.0
_LONGEST_LIFETIME_S = 3600.0
_MARGIN_S = 30.0
_MAX_ANSWER_BYTES = 64 * 1024

HOW_TO_GET_A_KEY = (
    "create a personal access token in Label Studio (Account & Settings) and set it as MASKWRIGHT_LABEL_STUDIO_API_KEY"
)


class Credentials:
    """Authorization headers for one Label Studio server, valid when they are asked for.

    A key belongs to the origin (scheme, host, port) it was given with: ``headers`` must not be sent elsewhere. Threads
    may share an instance; however many ask at once, a personal access token is exchanged once.

    Args:
        api_key: Legacy token (40 hexadecimal digits) or personal access token (a JWT of type ``refresh``).
        base_url: Base URL of the Label Studio server that issued it.
        policy: How the server may be reached to exchange the token; by default only if it is a public host.
        clock: Seconds that never go back.

    Raises:
        InvalidInput: If the key is neither, or ``base_url`` is no http(s) URL.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str,
        *,
        policy: FetchPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.origin = Origin.of(base_url)
        self._key = api_key.strip()
        self._refresh_url = base_url.rstrip("/") + "/api/token/refresh/"
        self._policy = replace(policy or FetchPolicy(), max_bytes=_MAX_ANSWER_BYTES, timeout_s=_EXCHANGE_TIMEOUT_S)
        self._clock = clock
        self._lock = threading.Lock()
        self._access = ""
        self._renew_at = float("-inf")
        self.is_legacy = bool(_LEGACY.fullmatch(self._key))
        if not self.is_legacy:
            _check_personal_token(self._key)

    @classmethod
    def of_operator(cls, settings: Settings) -> Credentials | None:
        """The operator's key, or None where none is set.

        The key goes to ``label_studio_url`` only. Where that is not set the key is not used at all: a server named
        in a request body must never receive it.

        Raises:
            InvalidInput: If a key is set without ``label_studio_url``, or either is malformed.
        """
        key = settings.label_studio_api_key.get_secret_value()
        if not key:
            return None
        if not settings.label_studio_url:
            raise InvalidInput("MASKWRIGHT_LABEL_STUDIO_API_KEY needs MASKWRIGHT_LABEL_STUDIO_URL: whose key it is")
        trusted = (Origin.of(settings.label_studio_url),)
        return cls(key, settings.label_studio_url, policy=FetchPolicy.from_settings(settings, trusted))

    @classmethod
    def of_setup(cls, settings: Settings, hostname: str, access_token: str) -> Credentials:
        """What a ``/setup`` request brought: its token, for its host, which is reached like any untrusted host.

        Raises:
            InvalidInput: If either is malformed.
        """
        return cls(access_token, hostname, policy=FetchPolicy.from_settings(settings))

    def __repr__(self) -> str:
        kind = "legacy" if self.is_legacy else "personal"
        return f"Credentials({kind} token for {self.origin.host}:{self.origin.port})"

    def headers(self) -> dict[str, str]:
        """The Authorization header; exchanges or renews the access token where necessary.

        Raises:
            Refused: If Label Studio does not accept the personal access token.
            Unreachable: If Label Studio does not answer.
        """
        if self.is_legacy:
            return {"Authorization": f"Token {self._key}"}
        # The lock is held over the exchange on purpose: late comers wait for the one answer.
        with self._lock:
            if self._clock() >= self._renew_at:
                asked_at = self._clock()
                self._access = self._exchange()
                self._renew_at = asked_at + max(1.0, _lifetime(self._access) - _MARGIN_S)
            return {"Authorization": f"Bearer {self._access}"}

    def invalidate(self, rejected: Mapping[str, str] | None = None) -> bool:
        """Forget the access token after a 401, so that the next ``headers`` renews it.

        Args:
            rejected: The headers that were refused; a token renewed by another thread meanwhile is kept.

        Returns:
            Whether another attempt makes sense: False for a legacy token, which cannot be renewed.
        """
        if self.is_legacy:
            return False
        with self._lock:
            if rejected is None or rejected.get("Authorization") == f"Bearer {self._access}":
                self._renew_at = float("-inf")
        return True

    def rejection(self) -> str:
        """What to tell the user after a 401 that renewing did not cure."""
        if self.is_legacy:
            return (
                "Label Studio refuses the legacy token: it is wrong, or legacy tokens are disabled for the "
                f"organization (the default); {HOW_TO_GET_A_KEY}"
            )
        return f"Label Studio refuses the personal access token: it is wrong, expired or revoked; {HOW_TO_GET_A_KEY}"

    def _exchange(self) -> str:
        try:
            answer = post_json(self._refresh_url, {"refresh": self._key}, self._policy)
        except AccessDenied as error:
            raise Refused(self.rejection()) from error
        except NotFound as error:
            raise Unreachable(
                f"{self.origin.host!r} knows no personal access tokens: check MASKWRIGHT_LABEL_STUDIO_URL"
            ) from error
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            raise Unreachable(f"{self.origin.host!r} did not answer with an access token as Label Studio does")
        return access


def _check_personal_token(key: str) -> None:
    if not key:
        raise InvalidInput(f"the Label Studio key is empty; {HOW_TO_GET_A_KEY}")
    kind = _claims(key).get("token_type")
    if kind == "access":
        raise InvalidInput(f"the Label Studio key is an access token, which lives a few minutes; {HOW_TO_GET_A_KEY}")
    if kind != "refresh":
        raise InvalidInput(
            "the Label Studio key is neither a legacy token (40 hexadecimal digits) nor a personal access token "
            f"(three parts with dots between); {HOW_TO_GET_A_KEY}"
        )


def _claims(token: str) -> dict[str, Any]:
    """The payload of a JWT, its signature unchecked (only the server that issued it can); empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _lifetime(access: str) -> float:
    """Seconds that an access token lives, by its own claims; clocks of two machines are never compared."""
    claims = _claims(access)
    issued, expires = claims.get("iat"), claims.get("exp")
    if isinstance(issued, int | float) and isinstance(expires, int | float) and expires > issued:
        return min(float(expires - issued), _LONGEST_LIFETIME_S)
    return _LIFETIME_S
