"""The checks behind ``maskwright doctor``. Each looks at one thing and says in one sentence what to do about it."""

from __future__ import annotations

import os
import platform as system
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from maskwright.checks import Finding
from maskwright.errors import MaskwrightError
from maskwright.settings import LOOPBACK_HOSTS, MEGABYTE, Settings

SPARE_BYTES = 512 * MEGABYTE


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check of the core and of the installed platforms, in order, none of them able to stop the others."""
    from maskwright.server.platforms import broken_platforms, installed_platforms

    checks: list[tuple[str, Callable[[Settings], Iterable[Finding]]]] = [
        ("python", _python), ("packages", _packages), ("device", _device), ("cache folder", _cache_folder),
        ("disk space", _disk_space), ("credentials", _credentials), ("model", _model),
        ("stages", stage_findings), ("work queue", work_queue_findings),
    ]  # fmt: skip
    for platform in installed_platforms():
        own = getattr(platform, "checks", None)
        if own is not None:
            checks.append((platform.name, own))
    for name, check in checks:
        try:
            yield from check(settings)
        except MaskwrightError as error:
            yield Finding(name, "fail", "the check was refused", str(error))
        except Exception as error:  # noqa: BLE001 - a broken installation fails in ways nobody listed; report, go on
            yield Finding(name, "fail", f"{type(error).__name__}: {error}", "reinstall with 'make install'")
    for problem in broken_platforms():
        yield Finding("platforms", "fail", problem, "reinstall the package that brings this platform")


def _python(_settings: Settings) -> Iterator[Finding]:
    yield Finding("python", "ok", system.python_version())


def _packages(_settings: Settings) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    for name in ("torch", "transformers"):
        wanted = next(
            (r for r in map(Requirement, requires("maskwright") or []) if r.name == name and r.marker is None), None
        )
        try:
            seen = version(name)
        except PackageNotFoundError:
            yield Finding(name, "fail", "not installed", "run 'make install'")
            continue
        if wanted is not None and not wanted.specifier.contains(seen, prereleases=True):
            yield Finding(name, "fail", f"{seen}, needed {wanted.specifier}", f"pip install '{wanted}'")
        else:
            yield Finding(name, "ok", seen)


def _device(settings: Settings) -> Iterator[Finding]:
    import torch

    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if re.match(r"cuda", settings.device) and not names:
        yield Finding("device", "fail", f"{settings.device} is set, and torch sees no GPU",
                      "set MASKWRIGHT_DEVICE=auto, or install the driver and a CUDA build of torch")  # fmt: skip
    elif names and settings.device != "cpu":
        yield Finding("device", "ok", ", ".join(names))
    else:
        yield Finding("device", "ok", f"CPU, {os.cpu_count()} cores")


def _cache_folder(settings: Settings) -> Iterator[Finding]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        yield Finding("cache folder", "fail", f"{settings.home}: {error.strerror}",
                      "make it writable, or set MASKWRIGHT_HOME to a folder that is")  # fmt: skip
        return
    yield Finding("cache folder", "ok", str(settings.home))


def _disk_space(settings: Settings) -> Iterator[Finding]:
    place = next((p for p in (settings.home, *settings.home.parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    needed = settings.disk_cache_bytes + SPARE_BYTES
    detail = (
        f"{free / MEGABYTE:,.0f} MB free, the embedding cache may take {settings.disk_cache_bytes / MEGABYTE:,.0f} MB"
    )
    if free < SPARE_BYTES:
        yield Finding("disk space", "fail", detail, "free some space, or set MASKWRIGHT_HOME to a disk that has it")
    elif free < needed:
        yield Finding("disk space", "warn", detail, "lower MASKWRIGHT_DISK_CACHE_BYTES or free some space")
    else:
        yield Finding("disk space", "ok", detail)


def _credentials(settings: Settings) -> Iterator[Finding]:
    from maskwright.server.serve import check_bind

    try:
        check_bind(settings)
    except MaskwrightError as error:
        yield Finding("credentials", "fail", f"listening on {settings.host} without any", str(error))
        return
    if settings.has_credentials:
        yield Finding("credentials", "ok", f"set, listening on {settings.host}")
    elif settings.host in LOOPBACK_HOSTS:
        yield Finding("credentials", "ok", f"none, listening on {settings.host} only")
    else:
        yield Finding("credentials", "warn", f"none, listening on {settings.host}",
                      "make sure that a proxy in front checks who asks")  # fmt: skip


def stage_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the models of the stages that are set are on this machine; nothing is loaded or fetched."""
    from maskwright.models.roles import configured, pull, setting_of

    offline = settings.model_copy(update={"offline": True})
    for role, uri in configured(settings).items():
        if role == "segmenter" or uri in ("none", "embedded"):
            continue
        try:
            pulled = pull(offline, role, uri)
        except MaskwrightError as error:
            yield Finding(role, "fail", f"{setting_of(role)} cannot be used", str(error))
        else:
            where = f", in {pulled.path}" if pulled.path else ""
            yield Finding(role, "ok", f"{pulled.uri}{where}; 'maskwright models check' tries it")


def work_queue_findings(settings: Settings) -> Iterator[Finding]:
    """Whether messages would reach the workers."""
    from maskwright.server.work_queue import WorkQueue

    queue = WorkQueue(settings)
    try:
        waiting = queue.count()
    except MaskwrightError as error:
        yield Finding("work queue", "fail", f"{queue.kind} does not answer", str(error))
        return
    yield Finding("work queue", "ok", f"{queue.kind}, {waiting} messages wait for a worker")


def _model(settings: Settings) -> Iterator[Finding]:
    import io

    import numpy as np
    from PIL import Image as Pillow

    from maskwright.assist.assistant import Assistant
    from maskwright.images import decode_image
    from maskwright.prompts import Prompt

    pixels = np.full((96, 128, 3), 40, np.uint8)
    pixels[24:72, 40:88] = (220, 90, 60)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    assistant = Assistant(settings)
    try:
        began = time.perf_counter()
        # A box as well as a click: every family answers this with one mask.
        prompt = Prompt.from_points([(64.0, 48.0, 1)], (38.0, 22.0, 90.0, 74.0))
        answer = assistant.answer(decode_image(buffer.getvalue()), prompt)
        seconds = time.perf_counter() - began
    except MaskwrightError as error:
        yield Finding("model", "fail", f"{settings.model} does not answer", str(error))
        return
    finally:
        assistant.close()
    detail = f"{answer.model_version}: first click answered in {seconds:.1f} s"
    if answer.mask.is_empty:
        yield Finding("model", "warn", f"{detail}, with an empty mask on a plain square",
                      "check that these are trained weights of this model")  # fmt: skip
    else:
        yield Finding("model", "ok", detail)
