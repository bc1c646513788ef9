"""The staged pre-annotation with scripted words and boxes, and a segmenter that knows the truth."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.context import Context, staged_version
from maskwright.assist.suggestion.in_flight import in_flight
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import Cancelled, InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.language.prompt_sets import read_data
from maskwright.models.protocols import Detections, Tag

SIZE = (60, 100)
HORSE = Mask.from_box((5, 10, 40, 50), SIZE)
PERSON = Mask.from_ellipse(55, 20, 12, 8, 0, SIZE)
DOG = Mask.from_box((75, 30, 95, 55), SIZE)
UNCHECKED, ANY_SIZE = StageOptions(check_pixels=False), PreannotationOptions(min_area=1)
LABELS = LabelSet.of(["background", "horse", "person", "dog"])
BOXES = {
    "horse": [((5, 10, 40, 50), 0.8)],
    "person": [((43, 12, 67, 28), 0.6)],
    "jockey": [((43, 12, 67, 28), 0.7)],
    "dog": [((75, 30, 95, 55), 0.5)],
}


class Tags:
    name, version = "tags", "tags-1"

    def __init__(self, *words: str) -> None:
        self.words = words

    def tags(self, images, *, top=10):
        return [[Tag(word, 0.9) for word in self.words] for _ in images]


class Caption:
    name, version = "caption", "caption-1"

    def __init__(self, text: str) -> None:
        self.text, self.calls = text, 0

    def captions(self, images):
        self.calls += 1
        return [self.text for _ in images]


class Script:
    """A language model: what each phrase is, and the classes of every image with their evidence."""

    name, version = "script", "script-1"

    def __init__(self, labels=None, phrases=None) -> None:
        self.labels, self.phrases, self.asked = labels or {}, phrases or {}, []

    def answer(self, messages, schema):
        phrase = read_data(messages).get("phrase")
        self.asked.append(phrase or "labels")
        if "label" in schema["properties"]:
            return {"label": self.phrases.get(phrase)}
        entries = [{"name": n, "evidence": list(e), "implied": not e} for n, e in self.labels.items()]
        return {"labels": entries}


class Down:
    name, version = "down", "down-1"

    def answer(self, messages, schema):
        raise ModelUnavailable("language model down: the server cannot be reached")


class Boxes:
    name, version = "boxes", "boxes-1"

    def __init__(self, table=BOXES) -> None:
        self.table, self.asked = table, []

    def detect(self, image, phrases):
        self.asked.append(tuple(phrases))
        rows = [(box, score, i) for i, phrase in enumerate(phrases) for box, score in self.table.get(phrase, ())]
        return Detections(
            np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in rows], dtype=np.float32),
            np.array([index for _, _, index in rows], dtype=np.int64),
        )


class Looks:
    """Gives each region its true class, save that it never sees some."""

    name, version = "looks", "looks-1"

    def __init__(self, *unseen: str) -> None:
        self.unseen = unseen

    def classify(self, image, masks, phrases):
        rows = np.zeros((len(masks), len(phrases)), dtype=np.float32)
        for row, mask in zip(rows, masks, strict=True):
            number = int(np.bincount(image[..., 0][mask.to_array()]).argmax())
            if number and (words := phrases[number - 1])[0] not in self.unseen:
                row[number - 1] = 0.9 if words else 0
        return rows


@pytest.fixture
def run(box_oracle, painted):
    """Pre-annotates the scene of a horse, a person and a dog."""

    def of(options=UNCHECKED, limits=ANY_SIZE, masks=(HORSE, PERSON, DOG), labels=LABELS, segmenter=None, **more):
        segmenter = segmenter or box_oracle()
        pixels = painted(SIZE, *masks)
        models = StageModels(**{"detector": Boxes(), **more.pop("models", {})})
        context = Context(
            models,
            segmenter,
            lambda window: segmenter.encode([pixels])[0],
            **{"memo": PhraseMemo(), "model_version": "v1", **more},
        )
        return preannotate_in_stages(Image(pixels, "0" * 64, "0" * 64), labels, limits, options, context)

    return of


def labelled(answer) -> dict[str, Mask]:
    return {region.label: region.mask for region in answer.regions}


def test_words_become_masks_of_the_right_classes(run):
    detector = Boxes()
    models = {
        "tagger": Tags("horse", "jockey", "track"),
        "captioner": Caption("a jockey on a horse"),
        "language": Script({"horse": ["horse"], "person": ["jockey"]}, {"jockey": "person"}),
        "detector": detector,
    }
    answer = run(models=models)
    assert labelled(answer) == {"horse": HORSE, "person": PERSON}
    assert detector.asked == [("horse", "person", "jockey")]
    assert [one.label for one in answer.suggestions if one.is_known] == ["horse", "person"]
    assert [one.label for one in answer.suggestions if not one.is_known] == ["track"]
    assert answer.problems == ()
    assert answer.model_version == "v1"
    assert {r.provenance.source for r in answer.regions} == {"preannotation"}
    assert len({r.provenance.prompt_hash for r in answer.regions} - {None}) == 2
    assert [r.score for r in answer.regions] == pytest.approx([0.8 * 0.9, 0.7 * 0.9])
    assert answer.score == pytest.approx(0.75 * 0.9)


@pytest.mark.parametrize("rule", ["none", "top20", "spread"])
def test_separate_objects_with_boxes_of_their_own_are_all_exact(run, rule):
    answer = run(StageOptions(check_pixels=False, every_class=True, point_rule=rule))
    assert labelled(answer) == {"horse": HORSE, "person": PERSON, "dog": DOG}


@pytest.mark.parametrize("rule", ["top20", "spread"])
def test_a_box_over_two_objects_gets_the_right_one_only_with_points(run, rule):
    models = {"tagger": Tags("horse"), "detector": Boxes({"horse": [((4, 8, 60, 52), 0.8)]})}
    alone = run(StageOptions(check_pixels=False, point_rule="none"), models=models)
    helped = run(StageOptions(check_pixels=False, point_rule=rule), models=models)
    assert alone.regions[0].mask.iou(HORSE) < 0.9
    assert labelled(helped) == {"horse": HORSE}


# --- what fails costs its own share ------------------------------------------------------------------------------


def test_a_language_model_that_is_down_costs_no_masks_and_the_reason_is_logged_and_kept(run, caplog):
    answer = run(models={"tagger": Tags("dog"), "language": Down()})
    assert labelled(answer) == {"dog": DOG}
    assert any("the server cannot be reached" in problem for problem in answer.problems)
    assert "the server cannot be reached" in caplog.text


def test_where_nothing_is_suggested_because_something_failed_all_classes_are_looked_for(run):
    answer = run(models={"tagger": Tags("track"), "language": Down()})
    assert set(labelled(answer)) == {"horse", "person", "dog"}
    assert "nothing suggests a class, so all of them are looked for" in answer.problems


def test_an_image_that_nothing_is_suggested_for_has_no_regions(run):
    detector = Boxes()
    answer = run(models={"tagger": Tags("track"), "detector": detector})
    assert (answer.regions, answer.problems, detector.asked) == ((), (), [])


def test_without_describers_all_classes_are_looked_for(run):
    answer = run()
    assert set(labelled(answer)) == {"horse", "person", "dog"}
    assert answer.problems == ()


class Lists(Tags):
    """A tagger that sees everything that its list has a word for."""

    def knowing(self, words):
        return Lists(*self.words, *words)


def test_a_tagger_finds_what_its_list_lacks_by_the_words_of_the_project(run):
    labels = LabelSet((LabelClass("type A", aliases=("horse",)), LabelClass("person"), LabelClass("dog")))
    models = {"tagger": Lists("meadow"), "captioner": Caption("A meadow."), "language": Script({"person": ["meadow"]})}
    answer = run(labels=labels, models=models)
    assert labelled(answer) == {"type A": HORSE, "person": PERSON, "dog": DOG}
    assert {"horse", "dog"} <= {source.text for one in answer.suggestions for source in one.sources}
    assert set(labelled(run(labels=labels, models=models | {"tagger": Tags("meadow")}))) == {"person"}


def test_a_caption_that_no_language_model_reads_hides_no_class(run):
    models = {"captioner": Caption("a yard")}
    assert set(labelled(run(models=models))) == {"horse", "person", "dog"}
    unread = StageOptions(check_pixels=False, pre_refinement=False)
    assert set(labelled(run(unread, models=models | {"language": Script()}))) == {"horse", "person", "dog"}
    assert run(models=models | {"language": Script()}).regions == ()


def test_a_language_model_that_is_not_there_costs_no_masks_either(run):
    answer = run(models={"tagger": Tags("track")}, lacks_words=True)
    assert set(labelled(answer)) == {"horse", "person", "dog"}
    assert answer.problems == ("nothing suggests a class, so all of them are looked for",)


def test_a_describer_that_fails_leaves_the_others_standing(run):
    class Broken:
        name = version = "broken"

        def tags(self, images, *, top=10):
            raise RuntimeError("out of memory")

    models = {"tagger": Broken(), "captioner": Caption("a dog"), "language": Script({"dog": ["dog"]})}
    answer = run(models=models)
    assert labelled(answer) == {"dog": DOG}
    assert len(answer.problems) == 1


def test_the_version_names_everything_that_changes_answers():
    models, options = ["tags-1", None, None, "boxes-1", None], StageOptions()
    versions = [
        staged_version("sam-1", models, options),
        staged_version("sam-2", models, options),
        staged_version("sam-1", ["tags-1", None, "language-1", "boxes-1", None], options),
        staged_version("sam-1", models, StageOptions(point_rule="none")),
        staged_version("sam-1", models, StageOptions(domain="driving")),
        staged_version("sam-1", models, StageOptions(prompts={"domain": "Pictures of a stable."})),
    ]
    assert len(set(versions)) == len(versions)
    assert {version.rpartition("-")[0] for version in versions} == {"sam+stages"}
    assert staged_version("sam-1", models, StageOptions(language_seconds=3, language_tokens=10)) == versions[0]


# --- switches ----------------------------------------------------------------------------------------------------


def test_without_captions_the_captioner_is_not_asked(run):
    captioner = Caption("a dog")
    run(StageOptions(check_pixels=False, caption=False), models={"tagger": Tags("dog"), "captioner": captioner})
    assert captioner.calls == 0


def test_without_pre_refinement_tags_are_sorted_into_classes_as_objects(run):
    language = Script(phrases={"jockey": "person"})
    models = {"tagger": Tags("horse", "jockey", "track"), "language": language}
    answer = run(StageOptions(check_pixels=False, pre_refinement=False), models=models)
    assert labelled(answer) == {"horse": HORSE, "person": PERSON}
    assert language.asked == ["jockey"]  # nothing was found of a track
    assert [one.label for one in answer.suggestions] == ["horse", "person", "track"]


def test_without_post_refinement_only_the_classes_own_words_are_looked_for(run):
    detector, language = Boxes(), Script({"person": ["jockey"]}, {"jockey": "person"})
    models = {"tagger": Tags("jockey"), "language": language, "detector": detector}
    answer = run(StageOptions(check_pixels=False, post_refinement=False), models=models)
    assert detector.asked == [("person",)]
    assert language.asked == ["labels"]
    assert labelled(answer) == {"person": PERSON}


def test_a_phrase_that_is_none_of_the_classes_is_dropped(run):
    models = {"tagger": Tags("jockey"), "language": Script({"person": ["jockey"]}, {"jockey": "rider"})}
    (region,) = run(models=models).regions
    assert region.label == "person"
    assert region.class_scores == pytest.approx({"person": 0.6})


def test_a_phrase_is_asked_about_once_for_all_images(run):
    language, memo = Script({"person": ["jockey"]}, {"jockey": "person"}), PhraseMemo()
    for _ in range(3):
        run(models={"tagger": Tags("jockey"), "language": language}, memo=memo)
    assert language.asked.count("jockey") == 1


class FewWords(Tags):
    """A tagger that could have said so much and no more."""

    vocabulary = ("horse", "stool")


def test_a_class_that_the_tagger_has_no_word_for_is_looked_for_whatever_it_says(run):
    detector = Boxes({})
    run(models={"tagger": FewWords("horse"), "detector": detector, "language": None, "captioner": None})
    assert detector.asked[-1][0] == "horse"
    assert "dog" in detector.asked[-1]


def test_a_tagger_with_a_word_for_a_class_speaks_against_it_by_silence(run):
    detector = Boxes({})
    silent = FewWords("stool")
    silent.vocabulary = ("horse", "dog", "person", "stool")
    run(models={"tagger": silent, "detector": detector, "language": None, "captioner": None})
    assert not {"horse", "dog", "person"} & {phrase for phrases in detector.asked for phrase in phrases}


def test_find_all_looks_for_every_class_and_lists_what_was_suggested_or_found(run):
    table = {"dog": BOXES["dog"]}
    answer = run(
        StageOptions(every_class=True, check_pixels=False), models={"tagger": Tags("horse"), "detector": Boxes(table)}
    )
    assert labelled(answer) == {"dog": DOG}
    assert [one.label for one in answer.suggestions] == ["horse", "dog"]


# --- pixels ------------------------------------------------------------------------------------------------------


def test_what_pixels_do_not_support_is_rejected_and_not_proposed(run):
    labels = LabelSet.of(["horse", "person", "dog"])
    models = {"tagger": Tags("horse", "person")}
    answer = run(StageOptions(), models=models, labels=labels, classifier=Looks("person"))
    assert labelled(answer) == {"horse": HORSE}
    assert {one.label: one.status for one in answer.suggestions} == {"horse": "confirmed", "person": "rejected"}
    assert answer.regions[0].class_scores == pytest.approx({"horse": 0.9, "person": 0, "dog": 0})
    assert answer.regions[0].score == pytest.approx(np.sqrt(0.8 * 0.9) * 0.9)
    unchecked = run(StageOptions(check_pixels=False), models=models, labels=labels, classifier=Looks("person"))
    assert set(labelled(unchecked)) == {"horse", "person"}
    assert {one.status for one in unchecked.suggestions} == {"plausible"}


def test_pixels_of_two_classes_go_to_the_surer_one(run):
    table = {"horse": [((5, 10, 40, 50), 0.8)], "dog": [((20, 10, 60, 50), 0.4)]}
    models = {"tagger": Tags("horse", "dog"), "detector": Boxes(table)}
    options = StageOptions(check_pixels=False, point_rule="none")
    answer = run(options, models=models)
    assert labelled(answer)["horse"] == HORSE
    assert labelled(answer)["dog"].intersection_area(HORSE) == 0
    assert not labelled(answer)["dog"].is_empty


def test_what_is_not_shown_takes_no_pixels_from_what_is(run, box_oracle):
    class Doubtful(box_oracle):
        """Unsure of the person's mask."""

        def _answer(self, objects, prompt):
            logits, quality = super()._answer(objects, prompt)
            return logits, 0.2 if prompt.box[0] == 43 else quality

    table = {"horse": [((5, 10, 60, 50), 0.4)], "dog": [((20, 20, 24, 24), 0.8)], "person": [((43, 12, 67, 28), 0.9)]}
    options = StageOptions(check_pixels=False, point_rule="none")

    def shown(*names, **limits):
        models = {"detector": Boxes({name: table[name] for name in names})}
        limits = PreannotationOptions(**{"min_area": 1, **limits})
        return labelled(run(options, limits, models=models, segmenter=Doubtful()))

    alone = shown("horse")
    assert shown("horse", "dog", min_area=100) == alone
    assert shown("horse", "person", max_regions=1) == alone
    assert shown("horse", "person")["horse"] != alone["horse"], "what is shown keeps its pixels"


def test_two_boxes_that_lead_to_one_object_give_it_once(run):
    table = {"horse": [((5, 10, 40, 50), 0.8), ((5, 10, 22, 50), 0.4)]}
    answer = run(models={"tagger": Tags("horse"), "detector": Boxes(table)})
    assert [region.mask for region in answer.regions] == [HORSE]


def test_a_mask_that_points_would_have_changed_is_flagged_and_scores_less(run, box_oracle):
    class Wandering(box_oracle):
        def _answer(self, objects, prompt):
            logits, _ = super()._answer(objects, prompt)
            if not len(prompt.point_labels):
                return logits, 0.9
            return np.where(objects == 3, np.float32(8), np.float32(-8)), 0.5

    answer = run(models={"tagger": Tags("horse")}, segmenter=Wandering())
    assert labelled(answer) == {"horse": HORSE}
    assert answer.regions[0].score == 0
    assert answer.problems == ("1 of 1 masks are what their boxes gave: points led to other objects",)


# --- bounds ------------------------------------------------------------------------------------------------------


def test_the_projects_bounds_hold(run):
    def left(**limits):
        return set(labelled(run(limits=PreannotationOptions(**{"min_area": 1, **limits}))))

    assert left(score_threshold=0.5) == {"horse", "person"}
    assert left(class_thresholds={"horse": 0.9}) == {"person", "dog"}
    assert left(min_area=400) == {"horse", "dog"}
    assert left(max_regions=1) == {"horse"}
    assert left(enabled=False) == set()
    assert run(labels=LabelSet(())).regions == ()


def test_cancelled_work_ends_at_the_next_stage(run):
    detector, stop = Boxes(), threading.Event()

    class Stopping(Tags):
        def tags(self, images, *, top=10):
            stop.set()
            return super().tags(images, top=top)

    with pytest.raises(Cancelled):
        run(models={"tagger": Stopping("dog"), "detector": detector}, cancelled=stop.is_set)
    assert detector.asked == []


def test_without_a_detector_proposals_of_the_suggested_classes_stay(run, oracle):
    labels = LabelSet((LabelClass("horse"), LabelClass("person"), LabelClass("dog")))
    answer = run(
        StageOptions(),
        PreannotationOptions(points_per_side=16, min_area=1),
        models={"detector": None, "tagger": Tags("dog")},
        labels=labels,
        segmenter=oracle,
        classifier=Looks(),
    )
    assert labelled(answer) == {"dog": DOG}
    assert [one.status for one in answer.suggestions] == ["confirmed"]


def test_without_a_detector_features_that_know_no_language_cost_nothing(run, oracle):
    class Wordless:
        name = version = "wordless"

        def features(self, image):
            return np.ones((2, 2, 1), dtype=np.float32)

        def text(self, phrases):
            raise InvalidInput("wordless knows no language")

    answer = run(
        StageOptions(),
        PreannotationOptions(points_per_side=16, min_area=1),
        models={"detector": None, "tagger": Tags("dog"), "dense": Wordless()},
        labels=LabelSet.of(["horse", "person", "dog"]),
        segmenter=oracle,
        classifier=Looks(),
    )
    assert labelled(answer) == {"dog": DOG}


# --- turns at the device -----------------------------------------------------------------------------------------


class Turn:
    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *about) -> None:
        self.held = False


def test_the_device_is_held_by_what_uses_it_and_free_while_a_language_model_thinks(run, box_oracle):
    turn, held = Turn(), {}

    def noting(model, *methods):
        def wrap(name, method):
            def call(*args, **more):
                held.setdefault(name, set()).add(turn.held)
                return method(*args, **more)

            return call

        for name in methods:
            setattr(model, name, wrap(name, getattr(model, name)))
        return model

    models = {
        "tagger": noting(Tags("jockey"), "tags"),
        "captioner": noting(Caption("a jockey"), "captions"),
        "language": noting(Script({"person": ["jockey"]}, {"jockey": "person"}), "answer"),
        "detector": noting(Boxes(), "detect"),
    }
    looks = noting(Looks(), "classify")
    run(StageOptions(), models=models, segmenter=noting(box_oracle(), "encode", "decode"), classifier=looks, turn=turn)
    assert held.pop("answer") == {False}
    assert held == {name: {True} for name in ("tags", "captions", "detect", "encode", "decode", "classify")}


def test_many_images_at_once_each_with_its_own_fate(run):
    class Choosy(Tags):
        def tags(self, images, *, top=10):
            if self.words == ("poison",):
                raise Cancelled("this image was withdrawn")
            return super().tags(images, top=top)

    def work(word, turn):
        return run(models={"tagger": Choosy(word), "language": Script()}, turn=turn)

    words = ["dog", "horse", "poison", "person"] * 3
    outcomes = list(in_flight(words, work, workers=4))
    assert [outcome.item for outcome in outcomes] == words
    for outcome in outcomes:
        if outcome.item == "poison":
            assert isinstance(outcome.error, Cancelled)
        else:
            assert list(labelled(outcome.result)) == [outcome.item]


def test_stages_report_their_seconds(run):
    seconds = {}
    run(StageOptions(), classifier=Looks(), observe=lambda stage, spent: seconds.__setitem__(stage, spent))
    assert list(seconds) == ["describe", "suggest", "detect", "refine", "segment", "check"]
    assert all(spent >= 0 for spent in seconds.values())


def test_boxes_beyond_the_most_are_not_drawn(run, box_oracle):
    many = [((float(x), float(y), x + 2.0, y + 2.0), 0.3) for x in range(0, 96, 3) for y in range(0, 57, 3)]
    segmenter = box_oracle()
    run(models={"tagger": Tags("dog"), "detector": Boxes({"dog": many})}, segmenter=segmenter)
    assert {len(prompts) for prompts in segmenter.prompts} == {100}
