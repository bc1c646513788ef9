"""How a project's images and its API are reached: the operator's settings first, then what /setup told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

from maskwright.errors import InvalidInput
from maskwright.images import Image, ImageLimits, Window, decode_image
from maskwright.settings import Settings
from maskwright.store.remote import FetchPolicy
from maskwright_label_studio.client import GuardedTransport, LabelStudioClient, OperatorTransport
from maskwright_label_studio.credentials import Credentials
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.projects import Project
from maskwright_label_studio.resolver import ImageResolver

_SERVERS = 64
Observe = Callable[[str, float], None]

log = logging.getLogger(__name__)


class Access:
    """Images and API of Label Studio servers. Threads may share it.

    Args:
        settings: The operator's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        self._credentials = lru_cache(maxsize=_SERVERS)(self._new_credentials)
        self._resolver = lru_cache(maxsize=_SERVERS)(self._new_resolver)
        self._client = lru_cache(maxsize=_SERVERS)(self._new_client)

    def fetch(self, project: Project, source: str, task_id: int | None) -> bytes:
        """The encoded bytes of one image of a task; errors are those of ``ImageResolver.fetch``."""
        return self._resolver(project.hostname, project.access_token).fetch(source, task_id)

    def decode(self, data: bytes, options: ProjectOptions) -> Image:
        """Decode with the server's limits and the project's window; errors are those of ``decode_image``."""
        window = None
        if options.window_level is not None and options.window_width is not None:
            window = Window(options.window_level, options.window_width)
        return decode_image(data, limits=self._limits, window=window)

    def client(self, project: Project) -> LabelStudioClient | None:
        """A client for the project's server, or None where no usable token is known."""
        return self._client(project.hostname, project.access_token)

    def _new_credentials(self, hostname: str, token: str) -> Credentials | None:
        operator = Credentials.of_operator(self._settings)
        if operator is not None:
            return operator
        # The token of /setup comes with a claim whose it is. Where the operator names the server, it goes only there.
        server = self._settings.label_studio_url or hostname
        if not server or not token:
            return None
        policy = None if self._settings.label_studio_url else FetchPolicy.from_settings(self._settings)
        try:
            return Credentials(token, server, policy=policy)
        except InvalidInput as error:
            log.warning("the token that /setup brought is of no use: %s", error)
            return None

    def _new_resolver(self, hostname: str, token: str) -> ImageResolver:
        return ImageResolver(self._settings, hostname, self._credentials(hostname, token))

    def _new_client(self, hostname: str, token: str) -> LabelStudioClient | None:
        credentials = self._credentials(hostname, token)
        if credentials is None:
            return None
        if self._settings.label_studio_url:
            return LabelStudioClient(OperatorTransport(self._settings.label_studio_url, credentials))
        return LabelStudioClient(GuardedTransport(hostname, credentials, FetchPolicy.from_settings(self._settings)))
