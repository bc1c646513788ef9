"""What ``maskwright doctor`` finds out about Label Studio, without changing anything there."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from maskwright.checks import Finding
from maskwright.errors import Refused, Unreachable
from maskwright.settings import Settings
from maskwright_label_studio.client import ApiError, LabelStudioClient

# An address that nobody answers, and that Label Studio's protection refuses before it is asked.
_LOOPBACK_URL = "http://127.0.0.1:9"
_PROBES = (
    ("connections on private addresses", "/api/ml/", "LABEL_STUDIO_ML_BLOCK_LOCAL_IP"),
    ("webhooks to private addresses", "/api/webhooks/", "LABEL_STUDIO_SSRF_PROTECTION_ENABLED"),
)


def check_label_studio(settings: Settings) -> Iterator[Finding]:
    """Whether the configured Label Studio answers, takes our token, and would call a backend on a private address."""
    key = settings.label_studio_api_key.get_secret_value()
    if not settings.label_studio_url:
        yield Finding(
            "label studio", "warn", "no address is configured, so images come from whoever asks with its own token",
            "set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY",
        )  # fmt: skip
        return
    if urlsplit(settings.label_studio_url).scheme not in ("http", "https"):
        yield Finding("label studio", "fail", "the configured address is not http(s)",
                      "set MASKWRIGHT_LABEL_STUDIO_URL to the address that a browser shows")  # fmt: skip
        return
    client = LabelStudioClient.of_operator(settings.label_studio_url, key)
    try:
        release = client.version()
    except Unreachable as error:
        yield Finding("label studio", "fail", str(error), "start it, or correct MASKWRIGHT_LABEL_STUDIO_URL")
        return
    except Refused as error:
        yield Finding("label studio token", "fail", "the token is refused", str(error))
        return
    yield Finding("label studio", "ok", f"{settings.label_studio_url} answers, release {release or 'unknown'}")
    if not key:
        yield Finding("label studio token", "fail", "none is configured",
                      "create one on Label Studio's account page and set MASKWRIGHT_LABEL_STUDIO_API_KEY")  # fmt: skip
        return
    try:
        user = client.get("/api/current-user/whoami")
    except Refused as error:
        yield Finding("label studio token", "fail", "the token is refused", str(error))
        return
    yield Finding("label studio token", "ok", f"works, user {user.get('email') or user.get('username')}")
    for name, path, variable in _PROBES:
        yield _probe(client, name, path, variable)


def _probe(client: LabelStudioClient, name: str, path: str, variable: str) -> Finding:
    # Never creates anything: the body lacks what is required and names an action that does not exist. The address is
    # judged first, with 403 where private ones are refused; all else is answered with 400.
    try:
        client.post(path, {"url": _LOOPBACK_URL, "actions": ["NO_SUCH_ACTION"]})
    except ApiError as error:
        if error.is_private_address_refusal:
            return Finding(
                name, "warn", "refused by Label Studio",
                f"start Label Studio with {variable}=false if this backend has a private address",
            )  # fmt: skip
        if error.remote_status == 403:
            return Finding(name, "warn", "this user may not create any", "use the token of an owner or manager")
    return Finding(name, "ok", "allowed")
