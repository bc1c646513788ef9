"""What people left on tasks becomes what a round learns from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from maskwright.annotated import AnnotatedTask, Annotation, TaskImage
from maskwright.learn.rounds.corrections import WITHOUT_GROUP, corrections_of
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (60, 80)


def box(x0, y0, x1, y1):
    return Mask.from_box((x0, y0, x1, y1), SIZE)


def region(mask, key, label="cell", score=1.0):
    return Region(mask, label, score, Provenance("person"), key=key)


def annotation(key, *regions, **more):
    fields = {"person": "1", "kind": "submitted", "updated_at": "2026-01-01T00:00:00Z", "lead_time": 12.0, **more}
    return Annotation(key, regions={0: regions} if regions else {}, **fields)


def task(*annotations, predictions=(), **data):
    image = TaskImage("image", 0, "/data/1.png", SIZE)
    return AnnotatedTask("7", "1", {"image": "/data/1.png", **data}, (image,), annotations, predictions)


def only(task, **options):
    (found,), problems = corrections_of(task, **options)
    assert not problems
    return found


def test_the_newest_submitted_annotation_counts_and_nothing_else():
    old, new = box(0, 0, 10, 10), box(20, 20, 40, 40)
    found = only(
        task(
            annotation("1", region(old, "a")),
            annotation("2", region(new, "b"), updated_at="2026-01-02T00:00:00Z"),
            annotation("3", region(old, "c"), kind="skipped", updated_at="2026-01-03T00:00:00Z"),
            annotation("draft-4", region(old, "d"), kind="draft", updated_at="2026-01-04T00:00:00Z"),
        )
    )
    assert [one.mask for one in found.objects] == [new]
    assert found.keys == ("b",)


@pytest.mark.parametrize("kind", ["skipped", "draft"])
def test_a_task_with_nothing_submitted_teaches_nothing(kind):
    assert corrections_of(task(annotation("1", region(box(0, 0, 9, 9), "a"), kind=kind))) == ([], [])


def test_what_the_machine_annotated_itself_teaches_nothing_until_a_person_takes_time_over_it():
    untouched = task(annotation("1", region(box(0, 0, 9, 9), "a"), lead_time=0.0))
    assert corrections_of(untouched, machine={"1"}) == ([], [])
    assert len(only(untouched, machine={"2"}).objects) == 1
    reviewed = replace(untouched, annotations=(annotation("1", region(box(0, 0, 9, 9), "a"), lead_time=3.0),))
    assert len(only(reviewed, machine={"1"}).objects) == 1


def test_changed_pixels_and_deleted_proposals_are_told_beside_what_the_proposal_got_right():
    kept, mended, deleted = box(0, 0, 10, 10), box(20, 20, 40, 40), box(60, 5, 70, 15)
    left = box(20, 20, 40, 46)
    prediction = replace(
        annotation("prediction-5", region(kept, "k", score=0.9), region(mended, "m", score=0.6),
                   region(deleted, "d", score=0.3)),
        person=None, model_version="v1",
    )  # fmt: skip
    other = replace(annotation("prediction-4", region(left, "x")), model_version="v0")
    drawn = annotation(
        "1", region(kept, "k"), region(left, "m"), region(box(50, 50, 60, 58), "new"), model_version="v1"
    )
    found = only(task(drawn, predictions=(other, prediction)))
    unchanged, changed, added = (one.changed for one in found.objects)
    assert unchanged is not None
    assert unchanged.is_empty
    assert changed == left.difference(mended)
    assert added is None
    assert found.negatives == (deleted,)
    assert found.outcomes == ((0.9, 1.0), (0.6, pytest.approx(mended.iou(left))), (0.3, 0.0))
    assert (found.effort.regions, found.effort.predicted_iou) == (3, pytest.approx(0.6))


def test_a_proposal_is_found_again_by_its_pixels_where_the_platform_renames_regions():
    proposed = box(20, 20, 40, 40)
    prediction = replace(annotation("prediction-5", region(proposed, "p")), person=None, model_version="v1")
    found = only(task(annotation("1", region(box(20, 20, 40, 41), "q"), model_version="v1"), predictions=(prediction,)))
    assert found.objects[0].changed == box(20, 40, 40, 41)
    assert found.negatives == ()


def test_an_image_emptied_by_a_person_teaches_that_the_proposals_were_wrong():
    prediction = replace(annotation("prediction-5", region(box(1, 1, 9, 9), "p")), person=None, model_version="v1")
    found = only(task(annotation("1", model_version="v1"), predictions=(prediction,)))
    assert found.objects == ()
    assert len(found.negatives) == 1


def test_a_proposal_that_a_neighbour_touches_is_deleted_all_the_same():
    proposed = box(10, 10, 30, 30)
    prediction = replace(annotation("prediction-5", region(proposed, "p")), person=None, model_version="v1")
    found = only(task(annotation("1", region(box(29, 10, 60, 30), "n"), model_version="v1"), predictions=(prediction,)))
    assert found.negatives == (proposed,)


def test_uncounted_groups_are_no_objects_and_make_no_proposal_a_deleted_one():
    crowd = replace(region(box(0, 0, 30, 30), "c"), is_crowd=True)
    prediction = replace(annotation("prediction-5", region(box(5, 5, 12, 12), "p")), person=None, model_version="v1")
    found = only(task(annotation("1", crowd, model_version="v1"), predictions=(prediction,)))
    assert found.objects == ()
    assert found.negatives == ()


def test_groups_come_from_the_tasks_field_and_a_missing_one_has_a_name():
    drawn = annotation("1", region(box(0, 0, 9, 9), "a"))
    assert only(task(drawn, scanner=3), group_field="scanner").group == "3"
    assert only(task(drawn), group_field="scanner").group == WITHOUT_GROUP
    assert only(task(drawn)).group == ""
    assert len(only(task(drawn, image="data:image/png;base64," + 10_000 * "A"), group_field="image").group) == 200


def test_corrections_are_read_from_label_studios_own_documents(make_project):
    project = make_project(pictures=1, held_out=0)
    (document,) = project.store.task_documents(project.row.id)
    assert json.loads(document)["annotations"]
    found = only(project.workshop.reader(project.row)(document), group_field="scanner")
    assert (len(found.objects), found.group, found.lead_time) == (6, "a", 31.0)
    assert all(isinstance(one.mask.area, int | np.integer) and one.label == "thing" for one in found.objects)
