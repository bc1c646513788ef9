"""Where a model's weights lie, what identifies their content, and how they are fetched.

Nothing here imports PyTorch, so that a model can be named and versioned without being loaded.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.errors import ModelUnavailable
from maskwright.models.uri import ModelURI, is_path

PACKAGED_WEIGHTS = Path(__file__).parent / "embedded" / "weights"
"""Folder of the weights that travel with the package, a file per scheme."""
_SAMPLE_BLOCKS = 256
_SAMPLE_BYTES = 64 * 1024
_CONFIG = "config.json"
_PIPELINE = "model_index.json"
"""Of a diffusion model: names the folders beside it, each a model or a tokenizer of its own."""
_READ_BESIDE = ("*.json", "*merges.txt", "*vocab.txt", "*.model", "*.jinja")
"""What configurations, processors and tokenizers are made of."""
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_WEIGHTS = "model.safetensors"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_GATED_HINT = "; if access is restricted, accept its terms on the hub and log in with 'hf auth login' first"


@dataclass(frozen=True)
class Checkpoint:
    """The weights that a URI names.

    Attributes:
        uri: The URI.
        path: Folder or file that holds them, or None for a hub model that is not in the local cache.
        fingerprint: Text that changes with their content: the hub's commit, or a digest of files.
        config: The model's own ``config.json``; empty for single files and for what is not there yet.
        processor: The image processor's configuration beside it; empty where there is none.
    """

    uri: ModelURI
    path: Path | None
    fingerprint: str
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)


class Fingerprints:
    """Digests of files, computed once for each (path, size, modification time). Safe under threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """Digest of a file's size and content.

        Files up to 16 MiB are read whole; larger ones are sampled at 256 evenly spaced blocks of 64 KiB, first and
        last included, so that naming a model of gigabytes takes milliseconds.

        Raises:
            OSError: If the file cannot be read.
        """
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        with self._lock:
            if key in self._known:
                return self._known[key]
        digest = hashlib.blake2b(str(status.st_size).encode(), digest_size=16)
        with path.open("rb") as file:
            if status.st_size <= _SAMPLE_BLOCKS * _SAMPLE_BYTES:
                digest.update(file.read())
            else:
                for index in range(_SAMPLE_BLOCKS):
                    file.seek((status.st_size - _SAMPLE_BYTES) * index // (_SAMPLE_BLOCKS - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
        with self._lock:
            self._known[key] = digest.hexdigest()
        return digest.hexdigest()


def locate(uri: ModelURI, fingerprints: Fingerprints) -> Checkpoint:
    """Find a model's weights on this machine without opening a connection.

    A hub model that is not (or not wholly) in the local cache comes back with ``path`` None and its revision as
    fingerprint.

    Raises:
        ModelUnavailable: If a file or folder is missing, cannot be read, or holds only pickled weights.
    """
    if uri.kind in ("file", "packaged"):
        return _locate_file(uri, fingerprints)
    folder = Path(uri.location).expanduser()
    if is_path(uri.location) or (uri.revision is None and folder.is_dir()):
        return _locate_folder(uri, folder, fingerprints)
    if not uri.is_hub_id:
        raise ModelUnavailable(f"model {uri}: no folder {uri.location!r}, and a hub id has the form owner/name")
    cached = _cached_snapshot(uri)
    if cached is None:
        return Checkpoint(uri, None, f"revision:{_revision(uri)}")
    return Checkpoint(
        uri,
        cached,
        f"commit:{cached.name}",
        _read_json(_config_of(cached) or cached / _CONFIG),
        _read_processor(cached),
    )


def fetch(checkpoint: Checkpoint, fingerprints: Fingerprints, *, offline: bool) -> Checkpoint:
    """The same checkpoint with its files on this machine; only a hub model that is not cached is downloaded.

    Only safetensors weights and JSON files are fetched, never pickles.

    Raises:
        ModelUnavailable: If it cannot be had; the message names the id, the revision and what to do.
    """
    if checkpoint.path is not None:
        return checkpoint
    uri = checkpoint.uri
    import huggingface_hub
    from huggingface_hub import errors

    if offline or huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ModelUnavailable(f"{_not_cached(uri)}, and the model hub is switched off here{_remedy(uri)}")
    try:
        huggingface_hub.snapshot_download(
            uri.location,
            revision=_revision(uri),
            allow_patterns=["*.safetensors", *_READ_BESIDE],
        )
    except errors.GatedRepoError as error:
        raise ModelUnavailable(
            f"model {uri}: access to {uri.location} is restricted; accept its terms on the hub, log in with "
            f"'hf auth login', then run '{_command(uri)}'"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailable(f"model {uri}: {uri.location} has no revision {_revision(uri)!r} on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"model {uri}: the hub knows no model {uri.location!r}, or it is private; check the id{_GATED_HINT}"
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(f"{_not_cached(uri)}, and the model hub cannot be reached{_remedy(uri)}") from error
    found = locate(uri, fingerprints)
    if found.path is None:
        raise ModelUnavailable(f"model {uri}: {uri.location} holds no safetensors weights at {_revision(uri)!r}")
    return found


def _locate_file(uri: ModelURI, fingerprints: Fingerprints) -> Checkpoint:
    path = Path(uri.location).expanduser() if uri.location else PACKAGED_WEIGHTS / f"{uri.scheme}.safetensors"
    if not path.is_file():
        remedy = (
            "download one and give its path" if uri.location else "its weights come with maskwright: install it again"
        )
        raise ModelUnavailable(f"model {uri}: no such checkpoint file; {remedy}")
    try:
        return Checkpoint(uri, path, f"file:{fingerprints.of(path)}")
    except OSError as error:
        raise ModelUnavailable(f"model {uri}: the checkpoint cannot be read ({error.strerror})") from error


def _locate_folder(uri: ModelURI, folder: Path, fingerprints: Fingerprints) -> Checkpoint:
    if not folder.is_dir():
        raise ModelUnavailable(f"model {uri}: no such folder; give a folder that holds {_CONFIG} and {_WEIGHTS}")
    config = _config_of(folder)
    if config is None:
        raise ModelUnavailable(f"model {uri}: the folder holds no {_CONFIG}")
    if not _has_weights(folder):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        reason = "only pickled weights, which can run code when opened and are refused" if pickled else "no weights"
        raise ModelUnavailable(
            f"model {uri}: the folder holds {reason}; save the model as {_WEIGHTS} (save_pretrained writes it)"
        )
    digest = hashlib.blake2b(digest_size=16)
    try:
        for path in sorted(_files_of(folder)):
            digest.update(f"{path.relative_to(folder)}={fingerprints.of(path)};".encode())
    except OSError as error:
        raise ModelUnavailable(f"model {uri}: its files cannot be read ({error.strerror})") from error
    return Checkpoint(uri, folder, f"folder:{digest.hexdigest()}", _read_json(config), _read_processor(folder))


def _cached_snapshot(uri: ModelURI) -> Path | None:
    """Folder of the hub's local cache that holds this revision wholly, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in (_CONFIG, _PIPELINE):
        config = try_to_load_from_cache(uri.location, name, revision=_revision(uri))
        if isinstance(config, str) and _has_weights(Path(config).parent):
            return Path(config).parent
    return None


def _config_of(folder: Path) -> Path | None:
    return next((folder / name for name in (_CONFIG, _PIPELINE) if (folder / name).is_file()), None)


def _files_of(folder: Path) -> list[Path]:
    """Everything that changes what a model answers."""
    depths = ("", "*/") if (folder / _PIPELINE).is_file() else ("",)
    patterns = ("*.safetensors", *_READ_BESIDE)
    return [path for depth in depths for one in patterns for path in folder.glob(depth + one) if path.is_file()]


def _has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors weights with every shard that its index names."""
    if (folder / _PIPELINE).is_file():
        models = [config.parent for config in folder.glob(f"*/{_CONFIG}")]
        return bool(models) and all(any(model.glob("*.safetensors")) for model in models)
    if (folder / _WEIGHTS).is_file():
        return True
    shards = set(_read_json(folder / _WEIGHTS_INDEX).get("weight_map", {}).values())
    return bool(shards) and all((folder / str(shard)).is_file() for shard in shards)


def _read_processor(folder: Path) -> Mapping[str, Any]:
    """Configuration of the image processor: a file of its own, or a part of the processor's file."""
    own, whole = (_read_json(folder / name) for name in _PROCESSOR_FILES)
    part = whole.get("image_processor")
    return own or (part if isinstance(part, dict) else {})


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file or no object in it."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _revision(uri: ModelURI) -> str:
    return uri.revision or "main"


def _command(uri: ModelURI) -> str:
    return f"maskwright models pull {uri}"


def _not_cached(uri: ModelURI) -> str:
    return f"model {uri}: weights of {uri.location} at revision {_revision(uri)!r} are not on this machine"


def _remedy(uri: ModelURI) -> str:
    gated = _GATED_HINT if uri.scheme == "sam3" else ""
    return (
        f"; run '{_command(uri)}' where the hub can be reached{gated}, "
        f"or give a folder that holds the model: {uri.scheme}:/path/to/folder"
    )
