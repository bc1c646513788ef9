"""Which models can play each part: those that are set, public ones, those on this machine; and how weights get here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint, Fingerprints, fetch, locate
from maskwright.models.device import choose_device
from maskwright.models.families import FAMILIES, Family
from maskwright.models.stages import STAGES, StageFamily, is_reader
from maskwright.models.uri import ROLES, SCHEMES, Role, known_form, parse_model_uri
from maskwright.settings import Settings

_CLIP = ("openai/clip-vit-large-patch14", "openai/clip-vit-base-patch32@refs/pr/15")
_SIGLIP = ("google/siglip2-base-patch16-224", "google/siglip-so400m-patch14-384")
_FLORENCE = ("florence-community/Florence-2-base", "florence-community/Florence-2-large")
_READERS = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen3-VL-2B-Instruct")
PUBLIC: Mapping[tuple[Role, str], tuple[str, ...]] = MappingProxyType(
    {
        ("segmenter", "sam"): ("facebook/sam-vit-base", "facebook/sam-vit-large", "facebook/sam-vit-huge"),
        ("segmenter", "sam-hq"): ("syscv-community/sam-hq-vit-base",),
        ("segmenter", "sam2"): ("facebook/sam2.1-hiera-tiny", "facebook/sam2.1-hiera-large"),
        ("segmenter", "sam3"): ("facebook/sam3",),
        ("tagger", "clip"): _CLIP,
        ("tagger", "siglip"): _SIGLIP,
        ("tagger", "florence2"): _FLORENCE,
        ("tagger", "hf"): _READERS,
        ("captioner", "blip"): ("Salesforce/blip-image-captioning-large",),
        ("captioner", "blip2"): ("Salesforce/blip2-opt-2.7b",),
        ("captioner", "florence2"): _FLORENCE,
        ("captioner", "hf"): _READERS,
        ("language", "hf"): ("Qwen/Qwen2.5-1.5B-Instruct", *_READERS),
        ("detector", "grounding-dino"): (
            "IDEA-Research/grounding-dino-tiny",
            "IDEA-Research/grounding-dino-base",
            "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        ),
        ("detector", "owlv2"): ("google/owlv2-base-patch16-ensemble", "google/owlv2-large-patch14-ensemble"),
        ("detector", "omdet-turbo"): ("omlab/omdet-turbo-swin-tiny-hf",),
        ("detector", "sam3"): ("facebook/sam3",),
        **dict.fromkeys((("dense", scheme) for scheme in ("maskclip", "gem", "sclip", "naclip", "clearclip")), _CLIP),
        ("dense", "siglip"): _SIGLIP,
        ("dense", "clipseg"): ("CIDAS/clipseg-rd64-refined",),
        ("dense", "dino"): ("facebook/dino-vits16",),
        ("dense", "dinov2"): ("facebook/dinov2-base", "facebook/dinov2-with-registers-base"),
        ("dense", "dinov3"): ("facebook/dinov3-vits16-pretrain-lvd1689m",),
        ("dense", "diffusion"): ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    }
)
"""Hub ids of the classes that each family loads, with the revision that holds safetensors where ``main`` does not."""
RESTRICTED = frozenset({"facebook/sam3", "facebook/dinov3-vits16-pretrain-lvd1689m"})
"""Ids whose terms have to be accepted on the hub first."""
_BY_FIRST: tuple[Role, ...] = ("segmenter", "language", "tagger", "captioner", "detector", "dense")


@dataclass(frozen=True)
class Cached:
    """A model in this machine's hub cache.

    Attributes:
        uri: With its commit, so that it stays what it is.
        nbytes: Of its files.
    """

    uri: str
    nbytes: int


@dataclass(frozen=True)
class Pulled:
    """A model whose files are on this machine, or that needs none.

    Attributes:
        uri: Its canonical name.
        path: Its folder or file; None where it has no files of its own.
        fingerprint: Changes with their content; empty without files.
    """

    uri: str
    path: Path | None = None
    fingerprint: str = ""


def configured(settings: Settings) -> dict[Role, str]:
    """The URI that is set for each part."""
    return {
        "segmenter": settings.model,
        "tagger": settings.tagger,
        "captioner": settings.captioner,
        "language": settings.language,
        "detector": settings.detector,
        "dense": settings.dense,
    }


def asks_for_stages(named: Mapping[Role, str]) -> bool:
    """Whether any part around the segmenter is played by another model than on a fresh machine."""
    return any(uri != ROLES[role][0] for role, uri in named.items() if role != "segmenter")


def setting_of(role: Role) -> str:
    """Environment variable that sets the model of a part."""
    return "MASKWRIGHT_MODEL" if role == "segmenter" else f"MASKWRIGHT_{role.upper()}"


def first_role(uri: str) -> Role:
    """The part that is meant where a URI is given alone, since a scheme may play several.

    Raises:
        InvalidInput: If its scheme plays none.
    """
    scheme = uri.strip().partition(":")[0].partition("+")[0]
    for role in _BY_FIRST:
        if scheme in ROLES[role]:
            return role
    near = get_close_matches(scheme, SCHEMES, 1)
    meant = f" (did you mean {known_form(near[0], next(r for r in _BY_FIRST if near[0] in ROLES[r]))}?)" if near else ""
    raise InvalidInput(f"unknown model {uri!r}{meant}; 'maskwright models list' shows the known forms")


def pull(settings: Settings, role: Role, uri: str) -> Pulled:
    """Bring a model's files to this machine, if they are not there.

    Raises:
        InvalidInput: If the URI is malformed.
        ModelUnavailable: If they cannot be had, or are another family's; the message says what to do.
    """
    parsed = parse_model_uri(uri, role)
    if parsed.kind in ("none", "server") or (parsed.kind == "packaged" and role != "segmenter"):
        return Pulled(str(parsed))
    family, device, fingerprints = _family(role, parsed.scheme), choose_device(settings), Fingerprints()
    found = locate(parsed, fingerprints)
    family.describe(found, device)  # refuses another family's folder before anything is downloaded
    checkpoint = fetch(found, fingerprints, offline=settings.offline)
    family.describe(checkpoint, device)
    return Pulled(str(parsed), checkpoint.path, checkpoint.fingerprint)


def cached_models() -> dict[tuple[Role, str], list[Cached]]:
    """What the hub's cache on this machine holds wholly, by the parts and schemes that can use it."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda repository: repository.repo_id)
    except CacheNotFound:
        return {}
    found: dict[tuple[Role, str], list[Cached]] = {}
    for repository in repositories:
        for revision in sorted(repository.revisions, key=lambda revision: revision.commit_hash):
            for role, scheme in _uses(revision.snapshot_path):
                uri = f"{scheme}:{repository.repo_id}@{revision.commit_hash}"
                if repository.repo_type == "model" and _is_whole(role, uri):
                    found.setdefault((role, scheme), []).append(Cached(uri, revision.size_on_disk))
    return found


def _family(role: Role, scheme: str) -> Family | StageFamily:
    if role == "segmenter":
        return FAMILIES[scheme]
    return STAGES["language" if is_reader(role, scheme) else role, scheme]


def _uses(folder: Path) -> Iterator[tuple[Role, str]]:
    """Parts and schemes that a snapshot's configuration speaks for."""
    if (folder / "model_index.json").is_file():
        yield "dense", "diffusion"
    config = _config(folder)
    kind = config.get("model_type")
    families: list[tuple[Role, str, Family | StageFamily]] = [
        *(("segmenter", scheme, family) for scheme, family in FAMILIES.items()),
        *((role, scheme, family) for (role, scheme), family in STAGES.items()),
    ]
    fitting = [(role, scheme) for role, scheme, family in families if kind in family.model_types]
    yield from fitting
    classes = str(config.get("architectures"))
    if "ForCausalLM" in classes:
        yield "language", "hf"
    elif "ForConditionalGeneration" in classes and "vision_config" in config and not fitting:
        yield from (("language", "hf"), ("tagger", "hf"), ("captioner", "hf"))


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _is_whole(role: Role, uri: str) -> bool:
    try:
        checkpoint: Checkpoint = locate(parse_model_uri(uri, role), Fingerprints())
    except ModelUnavailable:
        return False
    return checkpoint.path is not None
