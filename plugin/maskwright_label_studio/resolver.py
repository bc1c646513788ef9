"""Task image values to bytes: uploads, local files, web addresses, cloud links, data URIs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

from maskwright.errors import InvalidInput, NotFound, Refused, TooLarge
from maskwright.settings import Settings
from maskwright.store.remote import AccessDenied, FetchPolicy, Origin, fetch_bytes
from maskwright_label_studio.credentials import HOW_TO_GET_A_KEY, Credentials
from maskwright_label_studio.local_files import check_relative, read_local_file

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CLOUD_SCHEMES = frozenset({"s3", "s3s", "gs", "azure-blob"})
_LOCAL_FILES = "/data/local-files"
# Where Label Studio keeps task data. The token accompanies requests for these only: a task must not be able to make us
# call the rest of its API in the operator's name.
_DATA_PATHS = re.compile(r"/(data|storage-data)/|/(tasks|projects)/\d+/(resolve|presign)/?$")


class ImageResolver:
    """Fetches what a task's image value names.

    The rules of trust: a host that the operator configured (``settings.label_studio_url``) may be on a private network
    and is exempt from the host allow-list. A host that only a request names (``base_url`` from ``/setup``) is treated
    like any host in a task. Credentials go to the origin that they belong to, for task data only, and redirects to
    other origins travel without them: whatever a request claims, the operator's key stays with the operator's server.

    Args:
        settings: The operator's settings.
        base_url: What Label Studio believes its own address to be (``hostname`` of ``/setup``), or empty. Links with
            this origin are fetched from ``settings.label_studio_url`` where that is set.
        credentials: For one Label Studio server, or None.
        policy: What may be fetched; by default derived from the settings.
    """

    def __init__(
        self,
        settings: Settings,
        base_url: str,
        credentials: Credentials | None,
        *,
        policy: FetchPolicy | None = None,
    ) -> None:
        self._server = (settings.label_studio_url or base_url).rstrip("/")
        self._own = frozenset(Origin.of(url) for url in (settings.label_studio_url, base_url) if url)
        self._credentials = credentials
        self._local_files_root = settings.local_files_root
        trusted = (Origin.of(settings.label_studio_url),) if settings.label_studio_url else ()
        self._policy = policy or FetchPolicy.from_settings(settings, trusted)

    def fetch(self, value: str, task_id: int | None = None) -> bytes:
        """Fetch one image.

        Args:
            value: The task's image value: a path or URL of Label Studio, another http(s) URL, a cloud URI, a data URI.
            task_id: The task; needed for cloud URIs, which Label Studio resolves per task.

        Raises:
            InvalidInput: If the value is malformed or of an unknown scheme.
            Refused: If policy, or Label Studio, forbids it.
            NotFound: If nothing is there.
            TooLarge: If it exceeds ``settings.max_image_bytes``.
            Unreachable: If the server that has it does not answer properly.
        """
        value = value.strip()
        if not value:
            raise InvalidInput("the task's image value is empty; it must be a path, a URL or a cloud URI")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInput("the task's image value is not valid Unicode")
        scheme = _SCHEME.match(value)
        if scheme is None or value.startswith("//"):
            return self._from_server(value)
        name = scheme[1].lower()
        if name in ("http", "https"):
            return self._from_web(value)
        if name in _CLOUD_SCHEMES:
            return self._from_cloud(value, task_id)
        if name == "data":
            return self._from_data_uri(value)
        raise InvalidInput(f"the task's image value starts with {name[:20]!r}:, which is no scheme of images")

    def _from_web(self, url: str) -> bytes:
        if Origin.of(url) not in self._own:
            return self._fetched(url, {})
        parts = urlsplit(url)
        return self._from_server(parts.path + (f"?{parts.query}" if parts.query else ""))

    def _from_server(self, path: str) -> bytes:
        """Fetch a path of Label Studio (or read the local file that it names)."""
        if not path.startswith("/") or path.startswith("//"):
            raise InvalidInput("the task's image value is neither an absolute path, nor a URL, nor a cloud URI")
        if "\0" in path or ".." in unquote(unquote(path.partition("?")[0])).replace("\\", "/").split("/"):
            raise Refused("the task's image path must not contain '..' or NUL")
        base = urlsplit(self._server).path
        if base and path.startswith(f"{base}/"):
            path = path[len(base) :]  # Label Studio below a sub-path may write it into the value
        if path.partition("?")[0].rstrip("/") == _LOCAL_FILES:
            relative = parse_qs(path.partition("?")[2]).get("d", [""])[-1]
            check_relative(relative)
            if self._local_files_root is not None:
                return read_local_file(self._local_files_root, relative, self._policy.max_bytes)
        if not self._server:
            raise Refused(
                "the image is on Label Studio, whose address is not known: set MASKWRIGHT_LABEL_STUDIO_URL "
                "(for local files MASKWRIGHT_LOCAL_FILES_ROOT serves too)"
            )
        return self._authorized(self._server + path)

    def _from_cloud(self, uri: str, task_id: int | None) -> bytes:
        if task_id is None:
            raise InvalidInput("a cloud URI is resolved by Label Studio for a task, but the request names no task id")
        encoded = base64.urlsafe_b64encode(uri.encode()).decode()
        try:
            return self._from_server(f"/tasks/{int(task_id)}/resolve/?fileuri={encoded}")
        except NotFound as error:
            raise NotFound(
                f"the cloud object of task {int(task_id)} is missing, or Label Studio has no storage connected to the "
                "project that covers it"
            ) from error

    def _from_data_uri(self, uri: str) -> bytes:
        header, comma, body = uri.partition(",")
        if not comma:
            raise InvalidInput("the data URI has no comma; expected data:image/png;base64,...")
        limit = self._policy.max_bytes
        # Base64 needs 4 characters for 3 bytes, percent-encoding at most 3 for 1.
        if len(body) > limit * 3 + 4:
            raise TooLarge(f"the data URI holds more than the {limit} bytes accepted (MASKWRIGHT_MAX_IMAGE_BYTES)")
        data = unquote_to_bytes(body)
        if header.lower().endswith(";base64"):
            try:
                data = base64.b64decode(b"".join(data.split()), validate=True)
            except binascii.Error as error:
                raise InvalidInput("the data URI is not valid base64") from error
        if len(data) > limit:
            raise TooLarge(f"the data URI holds more than the {limit} bytes accepted (MASKWRIGHT_MAX_IMAGE_BYTES)")
        return data

    def _authorized(self, url: str, *, may_renew: bool = True) -> bytes:
        """Fetch with the token where it belongs, renewing it once."""
        headers = self._headers_for(url)
        try:
            return self._fetched(url, headers)
        except AccessDenied as error:
            if error.remote_status != 401:
                raise
            renewed = may_renew and headers and self._credentials and self._credentials.invalidate(headers)
            if not renewed:
                raise Refused(self._rejection(url, headers)) from error
        return self._authorized(url, may_renew=False)

    def _fetched(self, url: str, headers: Mapping[str, str]) -> bytes:
        try:
            return fetch_bytes(url, self._policy, headers)
        except AccessDenied:
            raise
        except Refused as error:
            if not self._is_task_data(url) or Origin.of(url) in self._policy.trusted_origins:
                raise
            raise Refused(
                f"{error}; if this is your Label Studio, set MASKWRIGHT_LABEL_STUDIO_URL to its address instead"
            ) from error

    def _headers_for(self, url: str) -> Mapping[str, str]:
        if self._credentials is None or Origin.of(url) != self._credentials.origin or not self._is_task_data(url):
            return {}
        return self._credentials.headers()

    def _is_task_data(self, url: str) -> bool:
        path, base = urlsplit(url).path, urlsplit(self._server).path
        return bool(_DATA_PATHS.match(path[len(base) :] if base and path.startswith(f"{base}/") else path))

    def _rejection(self, url: str, headers: Mapping[str, str]) -> str:
        """What to tell the user after a 401."""
        if self._credentials is None:
            return f"Label Studio asks for a token; {HOW_TO_GET_A_KEY}"
        if headers:
            return self._credentials.rejection()
        if Origin.of(url) == self._credentials.origin:
            return "Label Studio asks for a token at a path where it keeps no task data; the token is not sent there"
        return (
            "Label Studio asks for a token, and the key we hold belongs to another address; "
            "set MASKWRIGHT_LABEL_STUDIO_URL to the address of Label Studio as seen from here"
        )
