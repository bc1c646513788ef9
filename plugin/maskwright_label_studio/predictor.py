"""The assistant as Label Studio sees it: a task in, a prediction as JSON out."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from maskwright.assist.assistant import Priority
from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.services import Services
from maskwright.assist.suggestion.stager import PARTS, ProjectStages
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.regions import Provenance, Region
from maskwright_label_studio.access import Access
from maskwright_label_studio.config import LabelingConfig, Output
from maskwright_label_studio.context import PromptGroup, prompt_group
from maskwright_label_studio.corrected import CorrectedExamples
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.pages import Page, degraded_version, is_degraded
from maskwright_label_studio.phrases import PhraseAnswers
from maskwright_label_studio.projects import Project
from maskwright_label_studio.remarks import remarks_item, with_remark
from maskwright_label_studio.results import as_score, region_to_result
from maskwright_label_studio.suggested import SuggestionLessons
from maskwright_label_studio.tasks import PredictRequest, Task


def everything(project: Project) -> Callable[[Region], bool]:
    """Keeps every region of every project."""
    return lambda region: True


class Predictor:
    """Answers for single tasks. Threads may share it.

    Args:
        services: The assistant and its surroundings.
        access: How images are reached.
        shows: Tells which regions of a project's pre-annotations people see.
        lessons: Knows what projects' corrections taught of suggested classes, and keeps what is suggested.
        examples: Adds likes of corrected regions, where projects want them.
    """

    def __init__(
        self,
        services: Services,
        access: Access,
        shows: Callable[[Project], Callable[[Region], bool]] = everything,
        lessons: SuggestionLessons | None = None,
        examples: CorrectedExamples | None = None,
    ) -> None:
        self._shows, self._lessons, self._examples = shows, lessons, examples
        self._assistant = services.assistant
        self._observe = services.observe
        self._access = access

    def version(self, config: LabelingConfig, options: ProjectOptions) -> str:
        """The model version of a project: the same for /setup, batch and clicks. Loads nothing."""
        version = self._assistant.model_version(config.labels_on(), options.model, stages=project_stages(options))
        # Which examples there are is no part of it: else each correction would make every prediction an old one.
        name, _, digest = version.rpartition("-")  # a queue knows its model's versions by their form
        return f"{name}+similar-{digest}" if options.find_similar else version

    def is_staged(self, options: ProjectOptions) -> bool:
        """Whether a project's images are pre-annotated in stages, some of which wait for answers from elsewhere."""
        return self._assistant.is_staged(project_stages(options))

    def click(self, request: PredictRequest, project: Project) -> dict[str, Any]:
        """Answer what an annotator pointed at in the first task of the request.

        Raises:
            InvalidInput: If the context, the label or the task does not fit the configuration.
            MaskwrightError: If the image cannot be had or the model cannot answer.
        """
        if not request.tasks:
            raise InvalidInput("'tasks' is empty")
        task = Task.of(request.tasks[0])
        config, options = request.config, project.options
        version = self.version(config, options)
        answer: dict[str, Any] = {"result": [], "score": 0.0, "model_version": version}
        group = prompt_group(request.context, config)
        if group is None:
            return answer
        if group.control.shape == "textarea":
            if group.phrase is None:
                return answer
            image, stages = self._image_of(group, task, project), project_stages(options)
            return answer | PhraseAnswers(self._assistant.finding).answer(
                request, group, project, image, stages, version
            )
        output, labels = _output(group, config, options)
        image = self._image_of(group, task, project)
        prompt = group.prompt(image.size, request.body)
        # Without anything that says what is wanted there is nothing to find.
        wanted = prompt.box is not None or (prompt.point_labels == 1).any()
        if not wanted and not any(stroke.positive for stroke in prompt.scribbles):
            return answer
        found = self._assistant.answer(
            image,
            prompt,
            labels=output.labels if len(output.labels) else LabelSet.of(labels[:1]),
            label=labels[0],
            model=options.model,
            region_key=f"{project.key}/{task.id}/{image.key}/{output.control.name}/{'/'.join(labels)}",
            outline=group.outline(image.size),
        )
        provenance = Provenance("interactive", version, prompt.content_hash())
        region = Region(found.mask, labels[0], as_score(found.score), provenance)
        item_index = (group.item_index or 0) if group.image.is_list else None
        result = region_to_result(region, output, options, item_index=item_index, labels=labels)
        return answer | {"result": result, "score": region.score if result else 0.0}

    def preannotation(
        self,
        task: Task,
        config: LabelingConfig,
        project: Project,
        *,
        priority: Priority = Priority.BACKGROUND,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Pre-annotate every image of a task.

        Its score is the lowest of its images', since one doubtful page makes a task worth a look. Where a language
        model gave no answer its version is ``degraded_version``, so that Label Studio asks again some minutes later,
        when the task is opened or predictions are retrieved.

        Args:
            task: The task.
            config: Its project's labelling configuration.
            project: Its project.
            priority: Interactive where a person waits.
            cancelled: Asked between steps.

        Raises:
            InvalidInput: If the task or the configuration does not name images or controls.
            MaskwrightError: If an image cannot be had or the model cannot answer.
            Cancelled: If ``cancelled`` said so.
        """
        pages = list(self.pages(task, config, project, priority=priority, cancelled=cancelled))
        return self.prediction(pages, config, project)

    def pages(
        self,
        task: Task,
        config: LabelingConfig,
        project: Project,
        *,
        priority: Priority = Priority.BACKGROUND,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Page]:
        """The images of a task with what is proposed for each, one after the other; errors as ``preannotation``."""
        config.require_outputs()
        stages, limits, pages = project_stages(project.options), preannotation_options(project.options), []
        if self._lessons is not None:
            stages = replace(stages, thresholds=partial(self._lessons.thresholds, project))
        for tag in config.images:
            labels = config.labels_on(tag.name)
            if not len(labels):
                continue
            for index, source in enumerate(tag.sources(task.data)):
                image = self.image(project, task, source)
                found = self._assistant.preannotate(
                    image,
                    labels,
                    limits,
                    model=project.options.model,
                    stages=stages,
                    priority=priority,
                    cancelled=cancelled,
                )
                if self._examples is not None and project.options.find_similar:
                    found = self._examples.added(
                        found, image, labels, limits, tag=tag.name, config=config, project=project,
                        load=self.image, stages=stages, priority=priority, cancelled=cancelled,
                    )  # fmt: skip
                pages.append(Page(tag.name, index if tag.is_list else None, image, found))
                yield pages[-1]
        if self._lessons is not None:
            self._lessons.keep(project, task, [page.found for page in pages])

    def prediction(
        self,
        pages: Sequence[Page],
        config: LabelingConfig,
        project: Project,
        shows: Callable[[Region], bool] | None = None,
    ) -> dict[str, Any]:
        """What is stored of the images of a task: ``result``, ``score`` and ``model_version``.

        Args:
            pages: From ``pages``.
            config: The project's labelling configuration.
            project: The project.
            shows: Which regions are in it; None = as the project's mode says.
        """
        options = project.options
        keeps = shows or self._shows(project)
        result: list[dict[str, Any]] = []
        for page in pages:
            for region in filter(keeps, page.found.regions):
                output = config.output_for(page.image_name, region.label, options.output)
                items = region_to_result(region, output, options, item_index=page.item_index)
                result += with_remark(items, region, page.found.suggestions)
            result += remarks_item(page.found, config, page.image_name, page.item_index)
        score = min((as_score(page.found.score) for page in pages), default=0.0)
        version = self.version(config, options)
        if is_degraded(pages):
            version = degraded_version(version)
        return {"result": result, "score": score, "model_version": version}

    def image(self, project: Project, task: Task, source: str) -> Image:
        """One image of a task, fetched and decoded at most once at a time."""
        return self._assistant.image(image_key(project, source), lambda: self._load(project, task, source))

    def warm(self, project: Project, config: LabelingConfig, task: Task) -> bool:
        """Have the images of a task encoded in the background; False as soon as the queue takes no more."""
        taken = True
        for tag in config.images:
            for source in tag.sources(task.data):

                def load(source: str = source) -> Image:
                    return self.image(project, task, source)

                key = repr(image_key(project, source))
                taken = self._assistant.warm(load, model=project.options.model, key=key) and taken
        return taken

    def _image_of(self, group: PromptGroup, task: Task, project: Project) -> Image:
        """The image of a task that a prompt is about."""
        sources, index = group.image.sources(task.data), group.item_index or 0
        if not 0 <= index < len(sources):
            raise InvalidInput(f"item_index {index} is outside the task's {len(sources)} images")
        return self.image(project, task, sources[index])

    def _load(self, project: Project, task: Task, source: str) -> Image:
        started = time.perf_counter()
        data = self._access.fetch(project, source, task.id)
        self._observe("fetch", time.perf_counter() - started)
        started = time.perf_counter()
        image = self._access.decode(data, project.options)
        self._observe("decode_image", time.perf_counter() - started)
        return image


def image_key(project: Project, source: str) -> Hashable:
    """What identifies the pixels of a task's image before they were fetched."""
    return project.key, source, project.options.window_level, project.options.window_width


def preannotation_options(options: ProjectOptions) -> PreannotationOptions:
    """The project's options for ``preannotate``; what it leaves open keeps the assistant's defaults."""
    given: dict[str, Any] = {
        "score_threshold": options.score_threshold,
        "min_area": options.min_area,
        "max_regions": options.max_regions,
    }
    return PreannotationOptions(
        enabled=options.preannotate,
        class_thresholds=dict(options.class_thresholds),
        **{name: value for name, value in given.items() if value is not None},
    )


def project_stages(options: ProjectOptions) -> ProjectStages:
    """What the project says of pre-annotation in stages."""
    uris = {part: uri for part in PARTS if (uri := getattr(options, part)) is not None}
    return ProjectStages(uris, options.suggestions)


def _output(group: PromptGroup, config: LabelingConfig, options: ProjectOptions) -> tuple[Output, list[str]]:
    """Where the answer goes and the labels it gets."""
    labels = list(group.labels) or _implied(group, config)
    output = config.output_for(group.image.name, labels[0], options.output)
    return output, [label for label in labels if output.naming.offers(label)]


def _implied(group: PromptGroup, config: LabelingConfig) -> list[str]:
    """The label of a prompt that has none: the only one there is."""
    offered = config.labels_on(group.image.name)
    if len(offered) != 1:
        raise InvalidInput("select a label before pointing: the prompt has none, and there are several")
    return list(offered.names)
