"""What a person types into a text area on an image: phrases that name things, and wishes for more of the same.

Label Studio sends the text alone. A wish such as "similar" or "similar cup" therefore means what is drawn on the image
already (see ``drawn``): the regions of the class that it names, else those of the class drawn last.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskwright.assist.fewshot import Support
from maskwright.assist.finding import Finding, Wanted
from maskwright.assist.refer import Referred
from maskwright.assist.referring.grammar import bare, of_kind, parse_phrase, split_phrases
from maskwright.assist.suggestion.names import ClassNames, find_run
from maskwright.assist.suggestion.stager import ProjectStages
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.regions import Region
from maskwright_label_studio.context import PromptGroup
from maskwright_label_studio.drawn import drawn_regions
from maskwright_label_studio.projects import Project
from maskwright_label_studio.results import as_score, region_to_result
from maskwright_label_studio.tasks import PredictRequest

MOST_REGIONS = 100
"""Answered to one text, the first ones: people accept or refuse them one by one."""
MOST_EXAMPLES = 20
"""Regions drawn on an image that likes are learnt from, the last ones."""
SAME = 0.5
"""IoU from which a like is a thing that is drawn already."""

_WISH = re.compile(
    r"(?:find |show |select )?(?:all )?(?:the )?(?:more )?(?:similar|like this|like these|of the same|of this|of these)"
    r"(?: (?:ones?|objects?|things?|regions?))?(?P<named>(?:[ :].+)?)"
)
_BEHIND_NOUN = re.compile(r" (?:with|without|of|in|on|from|at|wearing|holding|carrying) ")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """A wish for more of what is drawn: of the class that it names, or None where it names none."""

    label: str | None


def wish_of(phrase: str, labels: LabelSet) -> Wish | None:
    """The wish for likes that a phrase says; None where it names things, as "similar houses" does without a class."""
    if labels.find(phrase) is not None:
        return None
    said = _WISH.fullmatch(" ".join(phrase.casefold().replace("-", " ").strip(" .!").split()))
    if said is None:
        return None
    name = said["named"].strip(" :")
    if not name:
        return Wish(None)
    meant = ClassNames(labels).find(name)
    return Wish(meant.name) if meant is not None else None


def meant_class(phrase: str, labels: LabelSet) -> LabelClass | None:
    """The class that a phrase names: "the dogs next to the bench" are of the class dog, whatever stands by them."""
    names = ClassNames(labels)
    found = labels.find(phrase) or names.find(phrase)
    if found is not None:
        return found
    noun = _noun(phrase).casefold()
    head = _BEHIND_NOUN.split(noun, maxsplit=1)[0]
    return names.find(noun) or _said_last(head, labels) or _said_last(noun, labels)


class PhraseAnswers:
    """Answers to what people type. Threads may share it.

    Args:
        finding: Finds things.
    """

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    def answer(
        self,
        request: PredictRequest,
        group: PromptGroup,
        project: Project,
        image: Image,
        stages: ProjectStages,
        version: str,
    ) -> dict[str, Any]:
        """``result`` with an item or more for every region, each with an id of its own, and the least ``score``.

        What was not found is told in the log: Label Studio shows nothing of it.

        Args:
            request: Its first task is the one in hand.
            group: The text, on its image.
            project: The project.
            image: The image.
            stages: What the project says of the models that find things.
            version: The model version of the project.

        Raises:
            InvalidInput: If no phrase says what is wanted, the image is too large, or a model may not be used.
            MaskwrightError: If a model cannot answer.
        """
        options, config = project.options, request.config
        offered = config.labels_on(group.image.name)
        found = self._found(request, group, offered, image, project, stages, version)
        for reason in found.reasons:
            log.info("project %s, typed on image %s: %s", project.key, image.key, reason)
        result: list[dict[str, Any]] = []
        item_index = (group.item_index or 0) if group.image.is_list else None
        regions = found.regions[:MOST_REGIONS]
        for region in regions:
            output = config.output_for(group.image.name, region.label, options.output)
            # What was chosen names what was typed; a wish for another class, or for a region's own, names that.
            chosen = group.labels if region.label in group.labels else ()
            labels = [label for label in chosen if output.naming.offers(label)]
            result += region_to_result(region, output, options, item_index=item_index, labels=labels)
        return {"result": result, "score": min((as_score(region.score) for region in regions), default=0.0)}

    def _found(
        self,
        request: PredictRequest,
        group: PromptGroup,
        offered: LabelSet,
        image: Image,
        project: Project,
        stages: ProjectStages,
        version: str,
    ) -> Referred:
        model = project.options.model
        wanted: list[Wanted] = []
        wishes: list[Wish] = []
        reasons: list[str] = []
        for phrase in split_phrases(group.phrase or ""):
            wish = wish_of(phrase, offered)
            if wish is not None:
                wishes.append(Wish(wish.label or next(iter(group.labels), None)))
            elif (meant := _wanted(phrase, group.labels, offered)) is not None:
                wanted.append(meant)
            else:
                reasons.append(f"the phrase {phrase!r} names no label of this image")
        if not wanted and not wishes:
            raise InvalidInput("; ".join(reasons) or "the phrase is empty; name what you look for")
        regions: list[Region] = []
        if wanted:
            described = project.options.phrases == "text4seg"
            named = self._finding.by_words(
                image, wanted, labels=offered, model=model, stages=stages, described=described, model_version=version
            )
            regions += named.regions
            reasons += named.reasons
        drawn = drawn_regions(request, group, image.size) if wishes else []
        for wish in dict.fromkeys(wishes):
            examples = _examples(drawn, wish, str(group.items[-1][1].get("id")))
            if not examples:
                of = f" of the label {wish.label!r}" if wish.label else ""
                reasons.append(f"nothing{of} is drawn on this image yet; outline one, then ask for similar ones")
                continue
            label_name = examples[-1].label
            support = Support(image, tuple(region.mask for region in examples[-MOST_EXAMPLES:]))
            likes = self._finding.by_example(
                image, [support], label=label_name, model=model, stages=stages, model_version=version
            )
            fresh = [like for like in likes.regions if all(like.mask.iou(old.mask) < SAME for old in drawn)]
            regions += [replace(like, provenance=replace(like.provenance, source="interactive")) for like in fresh]
            reasons += likes.warnings
            reasons += [] if fresh else [f"nothing more was found that looks like {label_name!r}"]
        return Referred(tuple(regions), tuple(reasons))


def _wanted(phrase: str, chosen: Sequence[str], offered: LabelSet) -> Wanted | None:
    """What a phrase asks for: of the label chosen, or that it names, or the only one there is."""
    said = meant_class(phrase, offered)
    if chosen:
        label: LabelClass | None = offered.find(chosen[0]) or LabelClass(chosen[0])
    else:
        label = said or (offered.classes[0] if len(offered) == 1 else None)
    if label is None:
        return None
    # Where the label is only implied, its words must not find a cat for the phrase "elephant".
    noun = _noun(phrase)
    helps = bool(chosen) or said is not None or not noun or of_kind(noun, label.name) is not None
    named = bool(noun) and ClassNames(LabelSet((label,))).find(bare(noun)) is not None
    return Wanted(phrase, label.name, (*label.phrases, *([noun] if named else [])) if helps else ())


def _noun(phrase: str) -> str:
    """What a phrase calls the thing; empty for "the left one"."""
    try:
        return parse_phrase(phrase).noun
    except InvalidInput:
        return phrase


def _examples(drawn: Sequence[Region], wish: Wish, own_id: str) -> list[Region]:
    """The regions that a wish means: the one that the text was typed for; else those of its class, or of the last."""
    own = [region for region in drawn if region.key == own_id and region.label is not None]
    if own and wish.label in (None, own[0].label):
        return own
    label = wish.label or next((region.label for region in reversed(drawn) if region.label is not None), None)
    return [region for region in drawn if region.label == label] if label is not None else []


def _said_last(text: str, labels: LabelSet) -> LabelClass | None:
    """Of the classes that a text says, the one said last, since English nouns end in what the thing is; the longest."""
    best: tuple[tuple[int, int], LabelClass] | None = None
    for item in labels:
        for word in (item.name, *item.aliases):
            run = find_run(word, text)
            if run is not None:
                end = text.rfind(run) + len(run)
                if best is None or (end, len(run)) > best[0]:
                    best = (end, len(run)), item
    return best[1] if best is not None else None
