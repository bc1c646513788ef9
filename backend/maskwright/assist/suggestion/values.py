"""What the staged pre-annotation hands on from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from maskwright.errors import InvalidInput
from maskwright.models.protocols import Captioner, DenseFeatures, Detector, LanguageModel, Tag, Tagger

SourceKind = Literal["tag", "caption", "language", "detector", "region"]
"""What speaks for a class: a tagger's word, a run of the caption's words, a language model that infers it, a box that
a detector found, pixels that look like it."""
Status = Literal["confirmed", "plausible", "rejected"]
"""Whether pixels support a suggested class: they do; nobody has looked; they do not."""
PointRule = Literal["none", "top20", "spread"]
"""Which points go with a box in the second pass: none, the paper's twenty, or a few that are spread."""
DescriptorKind = Literal["none", "written", "classes", "image"]
"""How classes are described beside their names: not at all; as the labelling configuration does (``hint``); those that
it leaves out by the language model, asked once for each class; or by the language model, asked for the classes
suggested in each image with its caption as context."""
OutputKind = Literal["regions", "instance", "semantic", "panoptic"]
"""What regions mean: whatever was found; objects of countable classes; one area per class; objects, and one area for
each uncountable class, none sharing a pixel. See ``whole_picture``."""


@dataclass(frozen=True)
class Source:
    """One thing that speaks for a class.

    Attributes:
        kind: Of what sort.
        text: The word, the run of the caption, the detector's phrase.
        confidence: In [0, 1]; 1 where its kind knows no degrees.
    """

    kind: SourceKind
    text: str
    confidence: float = 1.0


@dataclass(frozen=True)
class Suggestion:
    """A class believed to be in an image.

    Attributes:
        label: A class of the label set, or a name outside of it (then ``is_known`` is False).
        status: Whether pixels support it.
        confidence: In [0, 1]: that of the strongest source, after the check of the pixels where there was one.
        sources: What speaks for it, strongest first.
        implied: Whether nothing names it and only the kind of scene suggests it.
        is_known: Whether it is a class of the label set.
    """

    label: str
    status: Status
    confidence: float
    sources: tuple[Source, ...]
    implied: bool = False
    is_known: bool = True


@dataclass(frozen=True)
class Reading:
    """What describers read off an image, before any class is thought of.

    Attributes:
        tags: Most probable first.
        caption: A sentence or two, or empty.
        problems: Why a stage gave nothing, in words for the log and for the person; empty if all went well.
    """

    tags: tuple[Tag, ...] = ()
    caption: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageModels:
    """The models of a staged pre-annotation; None = the stage is switched off."""

    tagger: Tagger | None = None
    captioner: Captioner | None = None
    language: LanguageModel | None = None
    detector: Detector | None = None
    dense: DenseFeatures | None = None


@dataclass(frozen=True)
class StageOptions:
    """How a project's images are pre-annotated in stages. Every switch is one of the ablations of the method.

    Attributes:
        domain: Set of prompts; see ``maskwright.models.language.prompt_sets``.
        prompts: The project's own words in place of the package's.
        caption: Whether a caption is read.
        pre_refinement: Whether the language model is asked which classes tags and caption speak for.
        post_refinement: Whether it is asked which class a detector's phrase is.
        every_class: Look for all classes of the label set, whatever is suggested ("find all").
        descriptors: Which descriptors of classes are looked for and compared with pixels, beside names.
        multi_scale: Whether dense features see the image in four tiles too: small objects are found, for five looks.
        check_pixels: Whether a suggested class must be supported by pixels to be kept.
        proposals: Whether proposals of the whole image join what the embedded detector finds, which sees a crowd as
            one box; other detectors need no such help.
        point_rule: Points of the second pass.
        points: How many, with ``spread``.
        negative_points: Whether peaks of other objects inside a box become negative points.
        box_iou: Of two boxes with a higher IoU, the less sure one goes, whatever their phrases.
        box_iou_per_class: The same among boxes of one class.
        language_seconds: Longest time for a language model's answers about one image.
        language_tokens: Most tokens for one image, or None.
        language_money: Most money for one image, or None; only a server with a price costs any.
        output: What the regions mean.
        stuff: Classes whose objects nobody counts, such as sky; None = those of ``countable.USUAL_STUFF``.

    Raises:
        InvalidInput: If a number is out of bounds.
    """

    domain: str = "general"
    prompts: Mapping[str, Any] = field(default_factory=dict)
    caption: bool = True
    pre_refinement: bool = True
    post_refinement: bool = True
    every_class: bool = False
    descriptors: DescriptorKind = "written"
    multi_scale: bool = False
    check_pixels: bool = True
    proposals: bool = True
    point_rule: PointRule = "spread"
    points: int = 5
    negative_points: bool = False
    box_iou: float = 0.8
    box_iou_per_class: float = 0.5
    language_seconds: float = 10.0
    language_tokens: int | None = None
    language_money: float | None = None
    output: OutputKind = "regions"
    stuff: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("box_iou", self.box_iou), ("box_iou_per_class", self.box_iou_per_class)):
            if not 0 <= value <= 1:
                raise InvalidInput(f"{name} is {value}; it must lie between 0 and 1")
        # Projects set these over the network: neither memory nor time may be had without end.
        if not 1 <= self.points <= 100:
            raise InvalidInput(f"points is {self.points}; it must lie between 1 and 100")
        if not 0 < self.language_seconds <= 600:
            raise InvalidInput(f"language_seconds is {self.language_seconds}; it must be above 0 and at most 600")
        if self.language_tokens is not None and self.language_tokens < 1:
            raise InvalidInput(f"language_tokens is {self.language_tokens}; it must be at least 1")
        if self.language_money is not None and not self.language_money > 0:
            raise InvalidInput(f"language_money is {self.language_money}; it must be above 0")
        if self.stuff is not None and len(self.stuff) > 10_000:
            raise InvalidInput(f"stuff has {len(self.stuff)} names; 10000 at most")
