"""Whose regions of a task go into a dataset, under which name, and what is told of the rest."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.annotated import AnnotatedTask, Annotation, TaskImage
from maskwright.errors import InvalidInput
from maskwright.export.file_names import file_name
from maskwright.export.label_mapping import LabelMapping
from maskwright.export.selection import Chosen, Selection, choose, select
from maskwright.export.splits import SplitRule
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (40, 50)


def box(x0: int, label: str | None = "cat", size: tuple[int, int] = SIZE, key: str = "r1") -> Region:
    return Region(Mask.from_box((x0, 5, x0 + 10, 15), size), label, 1.0, Provenance("person"), key=key)


def left(
    key: str, person: str | None, updated_at: str, *regions: Region, kind: Any = "submitted", **more: Any
) -> Annotation:
    return Annotation(key, person, kind, updated_at=updated_at, regions={0: regions}, **more)


def task(*annotations: Annotation, images: tuple[TaskImage, ...] | None = None, **data: object) -> AnnotatedTask:
    images = images or (TaskImage("image", 0, "/data/upload/3/ab-x.png", SIZE),)
    return AnnotatedTask("3", "12", data, images, annotations)


def starts(chosen: Chosen) -> list[int]:
    return [int(region.mask.box[0]) for record in chosen.records for region in record.regions]


ANN = left("1", "ann", "2026-01-01T00:00:00Z", box(1))
ANN_LATER = left("2", "ann", "2026-01-03T00:00:00Z", box(2))
BOB = left("3", "bob", "2026-01-02T00:00:00Z", box(3))


def test_latest_is_the_newest_annotation_whoever_made_it():
    chosen = choose(task(ANN_LATER, ANN, BOB), Selection())
    assert starts(chosen) == [2]
    (record,) = chosen.records
    assert (record.key, record.task, record.file_name) == ("3/12/0", "12", "ab-x.png")
    assert record.annotators == ("ann",)
    assert chosen.newest == "2026-01-03T00:00:00Z"
    assert record.regions[0].provenance.person == "ann"


def test_a_mark_as_ground_truth_does_not_make_an_annotation_the_latest():
    truth = left("9", "eve", "2025-01-01T00:00:00Z", box(9), is_ground_truth=True)
    assert starts(choose(task(truth, BOB), Selection())) == [3]


def test_fractions_of_a_second_decide_too():
    whole = left("1", "ann", "2026-01-01T00:00:00Z", box(1))
    later = left("2", "bob", "2026-01-01T00:00:00.5Z", box(2))
    zone = left("3", "eve", "2026-01-01T01:00:00.2+01:00", box(3))
    assert starts(choose(task(later, whole, zone), Selection())) == [2]


def test_of_one_person_only_the_newest_annotation_counts_in_any_consensus():
    assert starts(choose(task(ANN, BOB, ANN_LATER), Selection("all"))) == [3, 2]
    chosen = choose(task(ANN, ANN_LATER), Selection("majority"))
    assert starts(chosen) == [2]
    assert chosen.records[0].agreement is None


def test_people_without_a_name_are_different_people():
    first, second = left("1", None, "2026-01-01", box(1)), left("2", None, "2026-01-02", box(3))
    chosen = choose(task(first, second), Selection("all"))
    assert chosen.records[0].annotators == ("#2", "#1")
    assert {region.provenance.person for region in chosen.records[0].regions} == {"#1", "#2"}


def test_a_named_annotator_is_taken_and_images_without_one_are_counted():
    assert starts(choose(task(ANN, ANN_LATER, BOB), Selection("annotator:bob"))) == [3]
    assert choose(task(ANN), Selection("annotator:bob")) == Chosen((), (("no annotation by bob", 1),))


def test_skipped_work_never_counts_and_drafts_only_on_request():
    skipped = left("4", "ann", "2026-02-01T00:00:00Z", box(4), kind="skipped")
    draft = left("5", "bob", "2026-02-02T00:00:00Z", box(5), kind="draft")
    assert starts(choose(task(ANN, skipped, draft), Selection())) == [1]
    assert starts(choose(task(ANN, skipped, draft), Selection(include_drafts=True))) == [5]
    assert choose(task(skipped), Selection(include_drafts=True)).left_out == (("skipped", 1),)
    assert choose(task(draft), Selection()).left_out == (("only drafts", 1),)
    assert choose(task(), Selection()).left_out == (("no annotation", 1),)


def test_annotations_from_before_a_time_do_not_count():
    assert starts(choose(task(ANN, BOB), Selection("all", since="2026-01-02"))) == [3]
    assert choose(task(ANN), Selection(since="2026-01-02")).left_out == (("no annotation since 2026-01-02", 1),)


def test_an_image_that_was_looked_at_and_left_empty_stays():
    chosen = choose(task(left("1", "ann", "2026-01-01")), Selection())
    assert [record.regions for record in chosen.records] == [()]


def test_classes_change_before_people_are_compared():
    ann, bob = left("1", "ann", "2026-01-01", box(1, "bus")), left("2", "bob", "2026-01-02", box(1, "tram"))
    mapping = LabelMapping.parse(merge=["bus,tram=public"], exclude=["sky"])
    sky = left("3", "eve", "2026-01-03", box(1, "sky"))
    (record,) = choose(task(ann, bob), Selection("majority", mapping)).records
    assert [region.label for region in record.regions] == ["public"]
    assert record.agreement is not None
    assert record.agreement.class_agreement == 1.0
    assert starts(choose(task(sky), Selection(mapping=mapping))) == []


def test_what_cannot_be_used_is_told_by_name():
    empty = Region(Mask.empty(SIZE), "cat", 1.0, Provenance("person"), key="e")
    odd = left("1", "ann", "2026-01-01", box(1), box(2, None, key="n"), empty, box(3, size=(9, 20), key="s"))
    (record,) = choose(task(odd), Selection()).records
    assert len(record.regions) == 1
    assert [problem.split(" ")[3] for problem in record.problems] == ["n", "e", "s"]
    assert all(problem.startswith("annotation 1, region ") for problem in record.problems)


def test_what_the_reader_could_not_read_is_told_once_and_as_it_said_it():
    images = tuple(TaskImage(name, 0, f"{name}.png", SIZE) for name in "ab")
    said = "annotation 1, region x: it has no points"
    chosen = choose(task(left("1", "ann", "2026-01-01", box(1), problems=(said,)), images=images), Selection())
    assert [record.problems for record in chosen.records] == [(said,), ()]
    assert chosen.problems == ()


def test_an_image_without_a_known_size_is_left_out_and_the_regions_own_message_stays():
    said = "annotation 1, region x: a region needs 'original_width'"
    images = (TaskImage("image", 0, "a.png", None),)
    broken = left("1", "ann", "2026-01-01", problems=(said,))
    chosen = choose(task(broken, images=images), Selection())
    assert (chosen.records, chosen.left_out, chosen.problems) == ((), (("no size is known", 1),), (said,))
    # That its file tells the size does not make it an image on which nobody saw anything.
    chosen = choose(task(broken, images=images), Selection(), size_of=lambda image: SIZE)
    assert chosen.left_out == (("nothing that was drawn could be read", 1),)
    assert chosen.problems == (said,)


def test_work_on_a_picture_of_another_size_does_not_make_an_image_empty():
    odd = left("4", "eve", "2026-01-09", box(1, size=(9, 20)), box(2, size=(9, 20), key="r2"))
    for selection in (Selection(), Selection("annotator:eve")):
        chosen = choose(task(odd, BOB), selection)
        assert chosen.records == ()
        assert chosen.left_out == (("everything was drawn on a picture of another size", 1),)
        assert [problem.split(" was drawn")[0] for problem in chosen.problems] == [
            "annotation 4, region r1", "annotation 4, region r2",
        ]  # fmt: skip
    (record,) = choose(task(odd, BOB), Selection("majority")).records
    assert [region.mask.box[0] for region in record.regions] == [3], "one of one sees it, not one of two"
    assert record.annotators == ("bob",)
    assert len(record.problems) == 2


def test_each_image_of_a_task_is_a_record_of_its_own():
    images = (TaskImage("left", 0, "a.png", SIZE), TaskImage("right", 0, "b.png", None), TaskImage("c", 0, "c.png"))
    both = Annotation("1", "ann", "submitted", regions={0: (box(1),), 1: (box(2, size=(20, 30)),)})
    chosen = choose(task(both, images=images), Selection())
    assert [(r.key, r.size, r.is_only_image) for r in chosen.records] == [
        ("3/12/0", SIZE, False), ("3/12/1", (20, 30), False),
    ]  # fmt: skip
    assert chosen.left_out == (("no size is known", 1),)
    asked = choose(task(both, images=images), Selection(), size_of=lambda image: (7, 7))
    assert [r.size for r in asked.records] == [SIZE, (20, 30), (7, 7)]


def test_splits_found_beforehand_win_over_the_rule():
    rule = SplitRule.parse("train=1", "task")
    assert select(task(ANN), Selection(split=rule))[0].split == "train"
    assert select(task(ANN), Selection(split=rule), splits={"12": "test"})[0].split == "test"
    assert select(task(ANN), Selection())[0].split is None


def test_staple_and_majority_agree_where_people_do():
    people = [left(str(n), f"p{n}", f"2026-01-0{n + 1}", box(7)) for n in range(3)]
    for rule in ("majority", "staple"):
        (record,) = choose(task(*people), Selection(rule)).records
        assert [region.mask for region in record.regions] == [box(7).mask]
        assert record.agreement is not None
        assert record.agreement.mean_iou == 1.0


@given(
    st.sampled_from(["latest", "all", "majority", "staple", "annotator:ä:1"]),
    st.booleans(),
    st.sampled_from(["", "2026-01-31", "2026-01-31T12:00:00Z"]),
    st.sampled_from([None, SplitRule.parse("train=1/3,val=2/3,seed=-4", "field:x y")]),
    st.dictionaries(st.text(min_size=1).filter(str.strip), st.just("new"), max_size=3),
)
def test_a_selection_survives_json_and_pickling(consensus, drafts, since, split, merged):
    mapping = LabelMapping(merge=tuple(((old,), new) for old, new in merged.items() if old != new))
    selection = Selection(consensus, mapping, include_drafts=drafts, since=since, split=split)
    assert pickle.loads(pickle.dumps(selection)) == selection
    again = Selection.from_json(selection.to_json())
    assert again.to_json() == selection.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"consensus": 3}'])
def test_what_is_no_selection_is_refused(text: str):
    with pytest.raises(InvalidInput):
        Selection.from_json(text)


@pytest.mark.parametrize("settings", [{"consensus": "best"}, {"consensus": "annotator:"}, {"since": "soon"}])
def test_selections_that_make_no_sense_are_refused(settings: dict[str, str]):
    with pytest.raises(InvalidInput):
        Selection(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/upload/12/ff21cd47-img1.png", "ff21cd47-img1.png"),
        ("http://host:8080/data/upload/12/a%20b.png", "a b.png"),
        ("/data/local-files/?d=sub/deep/y.png", "sub/deep/y.png"),
        ("s3://bucket/folder/x.jpg", "folder/x.jpg"),
        ("https://host/a/b.png?token=1#x", "a/b.png"),
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/data/local-files/?d=%2Fetc/..%2F..%2Fx", "etc/_/_/x"),
        ("C:\\pictures\\x.png", "C_/pictures/x.png"),
        ("a//./b", "a/b"),
        ("data:image/png;base64,AAAA", "image"),
        ("", "image"),
    ],
)
def test_names_of_files_come_from_the_address_alone(source: str, name: str):
    assert file_name(source) == name


@given(st.text())
def test_no_address_leads_out_of_the_dataset(source: str):
    name = file_name(source)
    pieces = name.split("/")
    assert name
    assert all(piece not in ("", ".", "..") and len(piece.encode()) <= 255 for piece in pieces)
    assert "\\" not in name
    assert "\0" not in name
