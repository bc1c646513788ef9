"""Phrases are read as people mean them, and what is beyond the grammar is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.assist.referring.expressions import EXTREMES, PLACES, RELATIONS, Expression
from maskwright.assist.referring.grammar import (
    MOST_PHRASES,
    NotUnderstood,
    parse_phrase,
    singular,
    split_phrases,
)
from maskwright.errors import InvalidInput

BENCH = (Expression("bench"),)


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("a cup of espresso", Expression("a cup of espresso")),
        ("Man with a red hat", Expression("Man with a red hat")),
        ("the traffic light", Expression("the traffic light")),
        ("dogs", Expression("dogs", None)),
        ("all the dogs", Expression("dogs", None)),
        ("every dog", Expression("dog", None)),
        ("two dogs", Expression("dogs", 2)),
        ("both cups of tea", Expression("cups of tea", 2)),
        ("the left dog", Expression("dog", 1, "left")),
        ("the left-most dog", Expression("dog", 1, "left")),
        ("the left one of the dogs", Expression("dogs", 1, "left")),
        ("the left one", Expression("", 1, "left")),
        ("the two leftmost dogs", Expression("dogs", 2, "left")),
        ("dog on the left", Expression("dog", 1, "left")),
        ("the dog that is on the far right side of the picture", Expression("dog", 1, "right")),
        ("the dogs on the left", Expression("dogs", None, "left")),
        ("the lamp in the top left corner", Expression("lamp", 1, "top left")),
        ("the dog in the middle", Expression("dog", 1, "middle")),
        ("the biggest dog on the left", Expression("dog", 1, "biggest", within="left")),
        ("the two left dogs at the top", Expression("dogs", 2, "left", within="top")),
        ("biggest dog", Expression("dog", 1, "biggest")),
        ("the second largest dog", Expression("dog", 1, "biggest", 2)),
        ("the second dog from the right", Expression("dog", 1, "right", 2)),
        ("second from the right", Expression("", 1, "right", 2)),
        ("dog second from the left", Expression("dog", 1, "left", 2)),
        ("the 3rd car from the top", Expression("car", 1, "top", 3)),
        ("the dog next to the bench", Expression("dog", relation="next to", anchors=BENCH)),
        ("the dog closest to the bench", Expression("dog", relation="next to", anchors=BENCH)),
        ("dog to the left of the bench", Expression("dog", relation="left of", anchors=BENCH)),
        ("dog on the right side of the bench", Expression("dog", relation="right of", anchors=BENCH)),
        ("dog under the bench", Expression("dog", relation="below", anchors=BENCH)),
        ("cat on top of the bench", Expression("cat", relation="on", anchors=BENCH)),
        ("the cat on the bench", Expression("cat", relation="on", anchors=BENCH)),
        ("cat on the left bench", Expression("cat", relation="on", anchors=(Expression("bench", 1, "left"),))),
        ("the lamp near the top", Expression("lamp", 1, "top")),
        ("bird in the cage", Expression("bird", relation="in", anchors=(Expression("cage"),))),
        (
            "the left dog next to the bench",
            Expression("dog", 1, "left", relation="next to", anchors=BENCH),
        ),
        (
            "the dog on the left next to the bench",
            Expression("dog", 1, "left", relation="next to", anchors=BENCH),
        ),
        (
            "dog next to the bench on the left",
            Expression("dog", relation="next to", anchors=(Expression("bench", 1, "left"),)),
        ),
        (
            "the ball between the dog and the bench",
            Expression("ball", relation="between", anchors=(Expression("dog"), *BENCH)),
        ),
        (
            "the ball between the two trees",
            Expression("ball", relation="between", anchors=(Expression("trees", 2),)),
        ),
        (
            "all dogs except the left one",
            Expression("dogs", None, excluded=(Expression("dogs", 1, "left"),)),
        ),
        ("dogs except the brown one", Expression("dogs", None, excluded=(Expression("brown dog"),))),
        (
            "the dog that is not next to the bench",
            Expression("dog", excluded=(Expression("dog", None, relation="next to", anchors=BENCH),)),
        ),
        ("dogs not on the left", Expression("dogs", None, excluded=(Expression("dogs", None, "left"),))),
        ("all but the biggest one", Expression("", None, excluded=(Expression("", 1, "biggest"),))),
    ],
)  # fmt: skip
def test_phrases_mean_what_people_mean_by_them(phrase, meant):
    assert parse_phrase(phrase) == meant


@pytest.mark.parametrize(
    ("phrase", "word"),
    [
        ("what you sit on", "what"),
        ("the dog behind the house", "behind"),
        ("the thing that cuts bread", "that"),
        ("the closest car", "closest"),
    ],
)
def test_what_the_grammar_does_not_know_is_quoted(phrase, word):
    with pytest.raises(NotUnderstood, match=word):
        parse_phrase(phrase)


@pytest.mark.parametrize("phrase", ["the biggest left dog", "the biggest dog from the left"])
def test_two_orders_at_once_are_refused_rather_than_guessed(phrase):
    with pytest.raises(NotUnderstood, match="two orders"):
        parse_phrase(phrase)


@pytest.mark.parametrize("phrase", ["", "  ", "?!"])
def test_an_empty_phrase_is_explained(phrase):
    with pytest.raises(InvalidInput, match="empty"):
        parse_phrase(phrase)


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("dogs", "dog"), ("boxes", "box"), ("benches", "bench"), ("wine glasses", None), ("berries", "berry"),
        ("people", "person"), ("horses", "horse"), ("cups of tea", "cup of tea"), ("bus", None), ("glass", None),
        ("cactus", None), ("men with hats", "man with hats"), ("", None),
    ],
)  # fmt: skip
def test_plurals_are_known_from_words_that_end_like_them(many, one):
    assert singular(many) == one


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("the dog; the cat", ["the dog", "the cat"]),
        ("the dog\n\n the  cat \r\n", ["the dog", "the cat"]),
        ("the dog, the cat and the two birds", ["the dog", "the cat", "the two birds"]),
        ("black and white dog", ["black and white dog"]),
        ("the ball between the dog and the bench", ["the ball between the dog and the bench"]),
        (" ;\n", []),
    ],
)
def test_several_phrases_of_a_text_are_told_apart(text, phrases):
    assert split_phrases(text) == phrases


def test_too_many_and_too_long_phrases_are_refused():
    with pytest.raises(InvalidInput, match="at most"):
        split_phrases("dog;" * (MOST_PHRASES + 1))
    with pytest.raises(InvalidInput, match="characters"):
        split_phrases("dog " * 100)


WORDS = [
    "the", "a", "dog", "dogs", "one", "ones", "of", "on", "left", "right", "not", "except", "between", "and", "second",
    "2nd", "two", "biggest", "next", "to", "in", "corner", "from", "that", "is", "middle", "0", "all", ",", "but",
]  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)))
def test_any_text_is_read_or_refused_in_words(text):
    for phrase in split_phrases(text):
        try:
            found = parse_phrase(phrase)
        except InvalidInput:
            continue
        assert found.order in (None, *PLACES, *EXTREMES)
        assert found.relation in (None, *RELATIONS)
