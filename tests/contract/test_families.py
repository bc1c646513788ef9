"""Every family through the whole pipeline: real classes of tiny random weights, from disk to Label Studio's JSON.

Weights that were never trained find nothing sensible. What is promised is that each family is loaded as a user's
checkpoint is, truly asked, and that what it says ends as regions and reasons that Label Studio shows.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Services
from maskwright.assist.suggestion.suggest import LEAST_TAG
from maskwright.models.families import FAMILIES
from maskwright.models.language.answers_cache import CachedModel
from maskwright.models.learning_classifier import tag_classifier
from maskwright.models.registry import ModelRegistry
from maskwright.models.stages import STAGES, Stages, is_reader
from maskwright.models.uri import ROLES, Role
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright_label_studio.platform import PLATFORM
from maskwright_label_studio.results import results_to_regions

from .. import torchvision_stand_in
from ..models import (
    tiny_clip,
    tiny_dense,
    tiny_describers,
    tiny_detectors,
    tiny_language,
    tiny_readers,
    tiny_segmenters,
)
from ..models.describers import ram_stand_in
from ..models.tiny_clipseg import save_tiny_clipseg
from ..models.tiny_omdet import save_tiny_omdet
from .conftest import SIZE, TOKEN, disc, png

CLASSES = ("cat", "dog", "person", "ping-pong ball")
"""The last is what the embedded tagger takes the picture for."""
CONFIG = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image">{"".join(f'<Label value="{name}"/>' for name in CLASSES)}</BrushLabels>
<TextArea name="suggestions" toName="image"/></View>"""
PICTURE = png(np.where(disc()[..., None], (240, 180, 30), (150, 40, 40)).astype(np.uint8))

Save = Callable[[Path], Path]


def save_original_sam(folder: Path) -> Path:
    return saved_alone(tiny_segmenters.tiny_original_sam().state_dict(), folder / "sam_tiny.pth")


def save_ram(folder: Path) -> Path:
    return saved_alone({"model": ram_stand_in.weights()}, folder / "ram_tiny.pth")


def saved_alone(content: Any, path: Path) -> Path:
    """A checkpoint that is one file."""
    import torch

    path.parent.mkdir()
    torch.save(content, path)
    return path


@dataclass(frozen=True)
class Row:
    """A class in a part that it plays.

    Attributes:
        role: The part.
        scheme: What its URI begins with.
        kind: The class.
        save: Writes it into a folder that is not there yet; None = it needs none.
        package: What has to be installed beside ours.
    """

    role: Role
    scheme: str
    kind: str
    save: Save | None = None
    package: str = ""

    def __str__(self) -> str:
        return f"{self.role}-{self.scheme}-{self.kind}"

    @property
    def is_possible(self) -> bool:
        """Whether its package can be imported."""
        try:
            importlib.import_module(self.package or "maskwright")
        except (ImportError, RuntimeError):  # a build for another torch fails with RuntimeError
            return False
        return True


CLIP, METACLIP = tiny_clip.save_tiny_clip, tiny_clip.save_tiny_metaclip2
SIGLIP, SIGLIP2 = tiny_clip.save_tiny_siglip, tiny_clip.save_tiny_siglip2
FLORENCE, OWL = tiny_describers.save_tiny_florence2, tiny_detectors.save_tiny_owlv2
GROUNDING_DINO, QWEN_VL = tiny_detectors.save_tiny_grounding_dino, tiny_language.save_tiny_qwen2_5_vl
SEGMENTER, FILM_SEGMENTER = tiny_segmenters.save_tiny_segmenter, tiny_segmenters.save_tiny_video_segmenter
OWLV2 = Row("detector", "owlv2", "Owlv2ForObjectDetection", OWL)
ROWS = (
    Row("segmenter", "classical", "ClassicalSegmenter"),
    Row("segmenter", "embedded", "EmbeddedSegmenter"),
    Row("segmenter", "embedded-no-nuclei", "EmbeddedSegmenter"),
    Row("segmenter", "sam", "SamModel", partial(SEGMENTER, "sam")),
    Row("segmenter", "sam-hq", "SamHQModel", partial(SEGMENTER, "sam-hq")),
    Row("segmenter", "sam2", "Sam2Model", partial(SEGMENTER, "sam2")),
    Row("segmenter", "sam2", "Sam2VideoModel", partial(FILM_SEGMENTER, "sam2")),
    Row("segmenter", "sam3", "Sam3TrackerModel", partial(SEGMENTER, "sam3")),
    Row("segmenter", "sam3", "Sam3TrackerVideoModel", partial(FILM_SEGMENTER, "sam3")),
    Row("segmenter", "sam3", "Sam3VideoModel", tiny_detectors.save_tiny_sam3_video),
    Row("segmenter", "segment-anything", "Sam", save_original_sam, "segment_anything"),
    Row("segmenter", "segment-anything-package", "Sam", save_original_sam, "segment_anything"),
    Row("tagger", "embedded", "ImageNetTagger"),
    Row("tagger", "clip", "CLIPModel", CLIP),
    Row("tagger", "clip", "MetaClip2Model", METACLIP),
    Row("tagger", "siglip", "SiglipModel", SIGLIP),
    Row("tagger", "siglip", "Siglip2Model", SIGLIP2),
    Row("tagger", "florence2", "Florence2ForConditionalGeneration", FLORENCE),
    Row("tagger", "ram", "stand-in for RAM_plus", save_ram),
    Row("tagger", "hf", "LlavaForConditionalGeneration", tiny_language.save_tiny_llava),
    Row("tagger", "hf", "Qwen2_5_VLForConditionalGeneration", QWEN_VL),
    Row("tagger", "hf", "Qwen3VLForConditionalGeneration", tiny_readers.save_tiny_qwen3_vl),
    Row("tagger", "hf", "InternVLForConditionalGeneration", tiny_readers.save_tiny_internvl),
    Row("tagger", "hf", "SmolVLMForConditionalGeneration", tiny_readers.save_tiny_smolvlm),
    Row("tagger", "hf", "PaliGemmaForConditionalGeneration", tiny_readers.save_tiny_paligemma),
    Row("captioner", "blip", "BlipForConditionalGeneration", tiny_describers.save_tiny_blip),
    Row("captioner", "blip2", "Blip2ForConditionalGeneration", tiny_describers.save_tiny_blip2),
    Row("captioner", "florence2", "Florence2ForConditionalGeneration", FLORENCE),
    Row("captioner", "hf", "Qwen2_5_VLForConditionalGeneration", QWEN_VL),
    Row("language", "sentence-matcher", "SentenceMatcher"),
    Row("language", "hf", "Qwen2ForCausalLM", tiny_language.save_tiny_qwen2),
    Row("language", "hf", "Qwen2_5_VLForConditionalGeneration", QWEN_VL),
    Row("detector", "embedded", "EmbeddedDetector"),
    Row("detector", "grounding-dino", "GroundingDinoForObjectDetection", GROUNDING_DINO),
    Row("detector", "grounding-dino", "MMGroundingDinoForObjectDetection", partial(GROUNDING_DINO, modern=True)),
    OWLV2,
    Row("detector", "omdet-turbo", "OmDetTurboForObjectDetection", save_tiny_omdet),
    Row("detector", "sam3", "Sam3Model", tiny_detectors.save_tiny_sam3_concepts, "torchvision"),
    Row("detector", "sam3", "Sam3VideoModel", tiny_detectors.save_tiny_sam3_video, "torchvision"),
    *(Row("dense", scheme, "CLIPModel", CLIP) for scheme in ("maskclip", "gem", "sclip", "naclip", "clearclip")),
    *(Row("dense", scheme, "MetaClip2Model", METACLIP) for scheme in ("maskclip", "gem")),
    Row("dense", "siglip", "SiglipModel", SIGLIP),
    Row("dense", "siglip", "Siglip2Model", SIGLIP2),
    Row("dense", "clipseg", "CLIPSegForImageSegmentation", save_tiny_clipseg),
    Row("dense", "dino", "ViTModel", partial(tiny_dense.save_tiny_dino, name="dino")),
    Row("dense", "dinov2", "Dinov2Model", partial(tiny_dense.save_tiny_dino, name="dinov2")),
    Row("dense", "dinov2", "Dinov2WithRegistersModel", partial(tiny_dense.save_tiny_dino, name="registers")),
    Row("dense", "dinov3", "DINOv3ViTModel", partial(tiny_dense.save_tiny_dino, name="dinov3")),
    Row("dense", "diffusion", "UNet2DConditionModel", tiny_dense.save_tiny_diffusion, "diffusers"),
)
"""Every class that a family loads, once in each part where it is loaded by other code."""
WORDLESS = ("dino", "dinov2", "dinov3")
"""Dense features that see objects, which join those of the embedded detector."""
QUESTIONS: Mapping[Role, tuple[str, ...]] = {
    "segmenter": ("decode",),
    "tagger": ("tags",),
    "captioner": ("captions",),
    "language": ("answer", "ask"),
    "detector": ("detect",),
    "dense": ("features", "keys", "maps"),
}
"""What a part is asked; a model has one of these at least."""


@pytest.fixture(scope="module")
def uri_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Row], str]:
    """The URI of a row; each checkpoint is written once."""
    place, saved = tmp_path_factory.mktemp("families"), dict[Save, Path]()

    def uri(row: Row) -> str:
        if row.save is None:
            return row.scheme
        if row.save not in saved:
            saved[row.save] = row.save(place / f"{len(saved)}-{row.kind}")
        return f"{row.scheme}:{saved[row.save]}"

    return uri


@dataclass(frozen=True)
class Models:
    """What all tests of this file share, so that nothing is loaded twice."""

    settings: Settings
    registry: ModelRegistry
    stages: Stages
    classifier: Any

    def of(self, row: Row, uri: str) -> Any:
        """The model of a row."""
        model = self.registry.segmenter(uri) if row.role == "segmenter" else self.stages.model(row.role, uri)
        return model.model if isinstance(model, CachedModel) else model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    settings = Settings(
        _env_file=None, home=tmp_path_factory.mktemp("home"), model="classical", device="cpu", cpu_threads=1,
        offline=True, disk_cache_bytes=0, stage_models=len(ROWS), language_max_tokens=24, label_studio_api_key=TOKEN,
    )  # fmt: skip
    return Models(settings, ModelRegistry(settings), Stages(settings), tag_classifier()[0])


@pytest.fixture
def http(models, label_studio, monkeypatch) -> Iterator[FlaskClient]:
    """The server with a real assistant, where the package ``ram`` is a stand-in."""
    for name, module in ram_stand_in.package().items():
        monkeypatch.setitem(sys.modules, name, module)
    # SmolVLM's processor wants the package num2words, which it asks about films alone.
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)
    label_studio.image = PICTURE
    given = models.settings.model_copy(update={"label_studio_url": label_studio.url})
    assistant = Assistant(given, registry=models.registry, classifier=models.classifier, stages=models.stages)
    jobs, metrics = BackgroundJobs(), Metrics()
    app = create_app(Services(given, assistant, jobs, metrics.observe), metrics, [PLATFORM])
    yield app.test_client()
    for end in (app.blueprints["label_studio"].close, jobs.close, assistant.close):
        end()


@pytest.fixture(scope="module", autouse=True)
def segment_anything() -> None:
    """The package segment_anything works without torchvision, where it is installed."""
    try:
        torchvision_stand_in.install()
    except ImportError:
        warnings.warn("segment_anything cannot be imported", stacklevel=1)


def watched(model: Any, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a model's class answers from now on."""
    answers: list[Any] = []

    def watch(name: str) -> None:
        answer = getattr(type(model), name)

        def told(self: Any, *arguments: Any, **more: Any) -> Any:
            made = answer(self, *arguments, **more)
            answers.append(made)
            return made

        monkeypatch.setattr(type(model), name, told)

    for name in names:
        if hasattr(type(model), name):
            watch(name)
    return answers


def reasons(row: Row, answers: list[Any]) -> list[str]:
    """What has to be read somewhere, if this is what a row answered."""
    if row.role == "tagger":
        sure = [tag.word for tag in answers[0][0] if tag.confidence >= LEAST_TAG]
        return [f"tag '{word}'" for word in sure if any(map(str.isalnum, word))]
    if row.role == "detector":
        return ["detector "] if any(len(found.boxes) for found in answers) else []
    return ["pixels "] if row.role == "dense" and row.scheme not in WORDLESS else []


def connected(http: FlaskClient, payload: Any, row: Row, uri_of: Callable[[Row], str]) -> tuple[str, dict[str, Any]]:
    """The version that /setup tells of a project whose part is played by a row, and a request for a task."""
    detector = uri_of(OWLV2) if row.role != "dense" or row.scheme not in WORDLESS else "embedded"
    part = "model" if row.role == "segmenter" else row.role
    suggestions = {"every_class": True, "language_seconds": 100, "check_pixels": row.role == "dense"}
    extra = {"score_threshold": 0, "detector": detector, part: uri_of(row), "suggestions": suggestions}
    body = payload("setup") | {"schema": CONFIG, "extra_params": extra}
    answer = http.post("/setup", json=body)
    assert answer.status_code == 200, answer.data
    request = payload("predict-single-task-open") | {"label_config": CONFIG, "project": body["project"]}
    return answer.json["model_version"], request


def test_every_scheme_of_every_part_is_here():
    served = {(role, scheme) for role, schemes in ROLES.items() for scheme in schemes if scheme != "none"}
    from_servers = {(role, "openai") for role in ROLES}  # see test_stages: they load no weights
    assert {(row.role, row.scheme) for row in ROWS} == served - from_servers
    assert {scheme for role, scheme in served if role == "segmenter"} == set(FAMILIES)
    assert {pair for pair in served if pair[0] != "segmenter" and not is_reader(*pair)} == set(STAGES)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_a_family_says_ends_as_regions_and_reasons(row, http, models, uri_of, payload, monkeypatch):
    if not row.is_possible:
        warnings.warn(f"{row.package} cannot be imported: {row} is not tested", stacklevel=1)
        pytest.skip(f"{row.package} cannot be imported")
    version, body = connected(http, payload, row, uri_of)
    answers = watched(models.of(row, uri_of(row)), QUESTIONS[row.role], monkeypatch)
    answer = http.post("/predict", json=body)
    assert answer.status_code == 200, answer.data
    (prediction,) = answer.json["results"]
    assert answers, "it was not asked"
    assert prediction["model_version"] == version, "it did not answer"

    *drawn, told = prediction["result"]
    assert (told["type"], told["from_name"]) == ("textarea", "suggestions")
    lines = told["value"]["text"]
    assert not [line for line in lines if line.startswith("problem: ") and "what their boxes gave" not in line]
    for reason in reasons(row, answers):
        assert any(reason in line for line in lines), reason
    for item in drawn:
        assert (item["type"], item["from_name"], item["to_name"]) == ("brushlabels", "brush", "image")
        assert (item["original_height"], item["original_width"]) == SIZE
        assert item["meta"]["text"][0].startswith(f"{item['value']['brushlabels'][0]}: ")
        assert 0 <= item["score"] <= 1
    regions = results_to_regions(prediction["result"])
    assert len(regions) == len(drawn) == len({item["id"] for item in drawn})
    assert regions or row.role == "dense", "nothing was drawn"
    assert all(region.mask.size == SIZE and not region.mask.is_empty for region in regions)
    assert {region.label for region in regions} <= set(CLASSES)


def test_each_family_makes_a_version_of_its_own(http, uri_of, payload):
    rows = [row for row in ROWS if row.save is not None and row.save is not OWL and row.is_possible]
    usual = connected(http, payload, OWLV2, uri_of)[0]
    versions = {str(row): connected(http, payload, row, uri_of)[0] for row in rows}
    assert usual not in versions.values()
    assert len(set(versions.values())) == len(versions)
