"""What was suggested, borne out and accepted is counted per class, with honest intervals."""

import math

import pytest

from maskwright.assist.suggestion.rates import ImageOutcome, Rate, skew, suggestion_rates, wilson
from maskwright.assist.suggestion.values import Suggestion
from maskwright.errors import InvalidInput


def outcome(final=None, **statuses):
    found = tuple(Suggestion(label, status, 0.5, ()) for label, status in statuses.items())
    return ImageOutcome(found, None if final is None else frozenset(final))


def test_a_hand_counted_case():
    rates = suggestion_rates(
        [
            outcome(["dog"], dog="confirmed", cat="plausible"),
            outcome(["dog", "bird"], dog="rejected", cat="confirmed"),
            outcome(None, dog="confirmed"),
            outcome([]),
        ]
    )
    assert [one.label for one in rates] == ["dog", "cat", "bird"]
    dog, cat, bird = rates
    assert (dog.suggested, dog.supported, dog.rejected) == (Rate(3, 4), Rate(2, 3), Rate(1, 3))
    assert (dog.accepted, dog.accepted_when_supported, dog.wrongly_rejected) == (Rate(2, 2), Rate(1, 1), Rate(1, 1))
    assert (cat.suggested, cat.supported, cat.accepted) == (Rate(2, 4), Rate(1, 2), Rate(0, 2))
    assert (bird.suggested, bird.accepted, bird.missed) == (Rate(0, 4), Rate(0, 0), Rate(1, 1))
    assert dog.to_json()["accepted"] == {
        "count": 2,
        "of": 2,
        "share": 1.0,
        "low": pytest.approx(0.342, abs=1e-3),
        "high": 1.0,
    }
    assert bird.to_json()["accepted"]["share"] is None


def test_wilson_is_that_of_the_books():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    for count, of in ((3, 2), (-1, 2)):
        with pytest.raises(InvalidInput):
            wilson(count, of)


def test_suggesting_what_is_there_is_no_skew_and_favourites_are():
    fair = [outcome(["dog"], dog="confirmed"), outcome(["cat"], cat="confirmed")] * 10
    biased = [outcome(["dog"], dog="confirmed"), outcome(["cat"], dog="confirmed")] * 10
    assert skew(suggestion_rates(fair)) == pytest.approx(0)
    # 21 of 22 suggestions were dogs, half of what is there.
    expected = 21 / 22 * math.log(21 / 22 * 2) + 1 / 22 * math.log(1 / 22 * 2)
    assert skew(suggestion_rates(biased)) == pytest.approx(expected)
    assert skew([]) == 0
