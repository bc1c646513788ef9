"""What was suggested of a task's images, all together."""

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.values import Suggestion
from maskwright_label_studio.suggested import together


def page(*suggestions, problems=(), support="s-1"):
    return Preannotation((), 0.0, "m-1", suggestions, problems, support)


def suggestion(label, status, confidence):
    return Suggestion(label, status, confidence, ())


def test_of_each_class_the_surest_is_kept_and_every_problem_once():
    weak, strong = suggestion("dog", "plausible", 0.9), suggestion("dog", "confirmed", 0.4)
    whole = together([page(weak, problems=("late",)), page(strong, suggestion("cat", "rejected", 0.1)), page()])
    assert [(one.label, one.status) for one in whole.suggestions] == [("dog", "confirmed"), ("cat", "rejected")]
    assert whole.problems == ("late",)


def test_that_nothing_was_suggested_is_kept_too():
    """Else a class that is never suggested would never count as missed, and old suggestions would stay."""
    assert together([page()]) == page()


def test_images_for_which_no_classes_were_asked_for_have_no_suggestions_to_learn_from():
    assert together([page(problems=("nothing like it was found",), support="")]) is None
    assert together([]) is None
