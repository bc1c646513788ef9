"""English phrases to expressions, by a small grammar and no model.

    phrase     = thing [exception]
    thing      = [determiner] [number] [ordinal] [order] noun [place] [relation thing]
    relation   = "next to", "left of", "above", "under", "on", "in", "between ... and ..." and other words for them
    place      = "on the left", "second from the right", "at the bottom", "in the top left corner"; behind another
                 order ("the biggest dog on the left") the part of the picture in which things are counted
    exception  = "except" thing | "that is not" (place | order | relation thing)

Whatever stands between is the noun: "man with a red hat", "traffic light". Plurals ask for all there are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from maskwright.assist.referring.expressions import PLACES, Expression, Order, Place, Relation
from maskwright.errors import InvalidInput

MOST_PHRASES, MOST_CHARACTERS = 20, 300
_DEEPEST = 4

_ORDERS: dict[str, Order] = {
    **{place: place for place in PLACES},
    "leftmost": "left", "rightmost": "right", "left hand": "left", "right hand": "right",
    "topmost": "top", "upper": "top", "uppermost": "top", "highest": "top", "upper left": "top left",
    "upper right": "top right", "bottommost": "bottom", "lower": "bottom", "lowest": "bottom",
    "lower left": "bottom left", "lower right": "bottom right", "central": "middle", "centre": "middle",
    "center": "middle", "biggest": "biggest", "largest": "biggest", "bigger": "biggest", "larger": "biggest",
    "smallest": "smallest", "littlest": "smallest", "tiniest": "smallest", "smaller": "smallest",
    "tallest": "tallest", "taller": "tallest", "shortest": "shortest", "shorter": "shortest", "widest": "widest",
    "wider": "widest", "narrowest": "narrowest", "narrower": "narrowest", "thinnest": "narrowest",
}  # fmt: skip
_RELATIONS: dict[Relation, str] = {
    "left of": r"(?:(?:on|to|at) )?(?:the )?left(?: hand)?(?: side)? of",
    "right of": r"(?:(?:on|to|at) )?(?:the )?right(?: hand)?(?: side)? of",
    "next to": r"next to|beside|besides|near|nearest to|closest to|close to|by|adjacent to|at the side of",
    "between": r"(?:in )?between",
    "on": r"on top of|on|atop|upon",
    "above": r"above|over",
    "below": r"below|under|underneath|beneath",
    "in": r"in|inside(?: of)?|within",
}
_NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip
_SINGULARS = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "shelves": "shelf",
    "loaves": "loaf", "calves": "calf", "buses": "bus", "oxen": "ox",
}  # fmt: skip
_NO_PLURALS = frozenset(
    {"bus", "gas", "lens", "canvas", "atlas", "glasses", "sunglasses", "jeans", "trousers", "pants", "shorts",
     "scissors", "pliers", "binoculars", "headphones", "goggles", "tongs", "stairs"}
)  # fmt: skip
_BEYOND = frozenset(
    {"that", "which", "who", "whom", "whose", "where", "what", "you", "someone", "something", "anything", "behind",
     "front", "nearest", "closest", "farthest", "furthest", "not", "except", "if", "because", "used", "than",
     "without", "and", "or", "facing", "opposite"}
)  # fmt: skip
"""Words that mean more than this grammar knows, where they are left over."""


def _words(table: dict[str, Order] | dict[str, int]) -> str:
    return "|".join(sorted(table, key=len, reverse=True))


_PLACE = "|".join(
    sorted((word for word, order in _ORDERS.items() if order in PLACES and word != "upper"), key=len, reverse=True)
)
_THIS_PICTURE = re.compile(r" (?:of|in) (?:the|this) (?:image|picture|photo|photograph|frame|scene|screen)\b")
_PART = r"(?: (?:side|corner|half|edge|part|end))"
_AT_A_PLACE = rf"(?:(?:far|very) )?(?P<place>{_PLACE}){_PART}?"
_ENDS_IN_PLACE = re.compile(rf"(?:^|(?<= ))(?:(?:on|at|in|to|near|towards?) (?:the )?)?{_AT_A_PLACE}$")
_COUNTED_FROM = re.compile(rf"(?:(?P<rank>{_words(_ORDINALS)}) )?from (?:the )?{_AT_A_PLACE}$")
_RELATION = "|".join(f"(?P<r{i}>{words})" for i, words in enumerate(_RELATIONS.values()))
_PLAIN_RELATION = "|".join(_RELATIONS.values())
# "On the left bench" is a relation; "on the left", and "on the left next to the bench", say a place.
_NO_PLACE = rf"(?! (?:the )?(?:(?:far|very) )?(?:{_PLACE})(?:{_PART}|$| (?:{_PLAIN_RELATION}|that|which|who)\b))"
_RELATED = re.compile(rf"\b(?:{_RELATION})\b{_NO_PLACE}")
_EXCEPT = re.compile(r"\b(?:except(?: for)?|other than|apart from|but not|excluding|but)\b")
_NOT = re.compile(r"\b(?:(?:that|which|who) (?:is|are) )?not\b")
_LINK = re.compile(r"\b(?:that|which|who) (?:is|are)$|,$")
_SEVERAL = re.compile(r"(?:,| and|, and) (?=(?:the|a|an|all|both|every|each|two|three|four|five) )")


class NotUnderstood(InvalidInput):
    """A phrase says more than the grammar knows; the message quotes what."""


def split_phrases(text: str) -> list[str]:
    """The phrases of a text: one a line, or between semicolons, or listed as in "the cat and the dog".

    Raises:
        InvalidInput: If a phrase is longer than ``MOST_CHARACTERS``, or there are more than ``MOST_PHRASES``.
    """
    lines = [" ".join(line.split()) for line in re.split(r"[\n\r;；]", text)]
    found = [phrase for line in lines for phrase in _listed(line) if phrase]
    if len(found) > MOST_PHRASES:
        raise InvalidInput(f"{len(found)} phrases at once; at most {MOST_PHRASES} are read")
    for phrase in found:
        if len(phrase) > MOST_CHARACTERS:
            raise InvalidInput(f"a phrase has at most {MOST_CHARACTERS} characters; {phrase[:40]!r}... is longer")
    return found


def parse_phrase(phrase: str) -> Expression:
    """What a phrase asks for.

    Args:
        phrase: As ``split_phrases`` gives it.

    Returns:
        Its noun is the phrase as it stands where it says nothing but what the thing is.

    Raises:
        NotUnderstood: If the phrase says more than the grammar knows.
        InvalidInput: If it says nothing.
    """
    text = re.sub(r"[-\u2010\u2011]", " ", phrase.casefold())
    text = re.sub(r"\b(left|right|top|bottom) most\b", r"\1most", " ".join(text.split()))
    text = _THIS_PICTURE.sub("", text.strip(" .!?,"))
    if not text:
        raise InvalidInput("the phrase is empty; name what you look for")
    found = _phrase(text, 0)
    return replace(found, noun=" ".join(phrase.split())) if found == Expression(found.noun) and found.noun else found


def bare(noun: str) -> str:
    """A noun without its article, in lower case."""
    return re.sub(r"^(?:the|an?|this|these|those|my|some) ", "", noun.casefold())


def of_kind(noun: str, kind: str) -> str | None:
    """The red cup for "the red one" and the kind "cup"; None for a noun that names a kind itself."""
    found = re.fullmatch(r"(.+ )ones?", noun)
    return None if found is None else found[1] + kind


def singular(noun: str) -> str | None:
    """The same noun for one of them, or None if it is no plural; "cups of tea" are counted by their cups."""
    whole = re.fullmatch(r"(.*?)(\w+)((?: (?:with|of|in|from|without)\b.*)?)", noun)
    if whole is None:
        return None
    before, word, after = whole.groups()
    if word in _SINGULARS:
        return before + _SINGULARS[word] + after
    if word in _NO_PLURALS or len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return None
    if word.endswith("ies") and len(word) > 4:
        one = word[:-3] + "y"
    elif word.endswith(("sses", "xes", "ches", "shes", "zzes")):
        one = word[:-2]
    else:
        one = word[:-1]
    return before + one + after


def _listed(line: str) -> list[str]:
    """The phrases of a line; what follows "between" is one."""
    head, between, tail = line.partition("between ")
    parts = _SEVERAL.split(head)
    return [*parts[:-1], parts[-1] + between + tail]


def _phrase(text: str, depth: int) -> Expression:
    if depth > _DEEPEST:
        raise NotUnderstood(f"{text!r} is too deep inside the phrase")
    for pattern in (_EXCEPT, _NOT):
        cut = pattern.search(text)
        if cut and cut.end() < len(text):
            what, rest = text[: cut.start()].strip(" ,"), text[cut.end() :].strip()
            found = _thing(what, depth) if what not in ("all", "everything", "") else Expression("", None)
            return replace(found, excluded=(_excluded(rest, found.noun, depth),))
    return _thing(text, depth)


def _excluded(text: str, noun: str, depth: int) -> Expression:
    """What stands behind "not" or "except"; a place or a relation alone is that of all things of the noun."""
    found = _phrase(text, depth + 1)
    if found.noun:
        kind = of_kind(found.noun, singular(noun) or noun) if noun else None
        return replace(found, noun=kind or found.noun)
    alone = text.split()[0] not in ("the", "a", "an")
    return replace(found, noun=noun, count=None if alone else found.count)


def _thing(text: str, depth: int) -> Expression:
    related = _RELATED.search(text)
    if related and related.end() < len(text):
        relation = next(name for i, name in enumerate(_RELATIONS) if related[f"r{i}"])
        tail = text[related.end() :].strip()
        parts = tail.split(" and ", 1) if relation == "between" else [tail]
        anchors = tuple(_phrase(part, depth + 1) for part in parts)
        if all(anchor.noun for anchor in anchors):
            head = _LINK.sub("", text[: related.start()].strip()).strip()
            return replace(_placed(head), relation=relation, anchors=anchors)
    return _placed(text)


def _placed(text: str) -> Expression:
    """A thing without relations."""
    for pattern in (_COUNTED_FROM, _ENDS_IN_PLACE):
        cut = pattern.search(text)
        if cut:
            found = _named(_LINK.sub("", text[: cut.start()].strip()).strip())
            counted = (cut.groupdict().get("rank") or "").strip()
            rank = _ORDINALS[counted] if counted else found.rank
            place = cast(Place, _ORDERS[cut["place"]])
            if found.order is None:
                return replace(found, order=place, rank=rank)
            if pattern is _COUNTED_FROM:
                raise NotUnderstood(f"two orders at once ({found.order} and {place}) are not understood")
            return replace(found, within=place)
    return _named(text)


def _named(text: str) -> Expression:
    """Determiner, number, ordinal, order and noun."""
    rest, count, rank, order, every = text, None, 1, None, False
    pattern = re.compile(
        rf"(?:(?P<determiner>the|a|an|this|these|those|my|some)|(?P<all>all|every|each|both)|(?P<ordinal>{_words(_ORDINALS)})"
        rf"|(?P<digits>\d{{1,2}})(?:st|nd|rd|th)|(?P<number>\d{{1,2}}|{_words(_NUMBERS)})(?= (?!of\b))"
        rf"|(?P<order>{_words(_ORDERS)})|(?P<of>(?:ones? )?of(?: the| all)?(?= )))(?: |$)"
    )
    while rest and (found := pattern.match(rest)):
        if found["order"]:
            if order is not None:
                raise NotUnderstood(f"two orders at once ({order} and {found['order']}) are not understood")
            order = _ORDERS[found["order"]]
        elif found["ordinal"] or found["digits"]:
            rank = _ORDINALS[found["ordinal"]] if found["ordinal"] else max(int(found["digits"]), 1)
        elif found["number"]:
            count = max(int(found["number"]) if found["number"].isdigit() else _NUMBERS[found["number"]], 1)
        elif found["all"]:
            every, count = found["all"] != "both", 2 if found["all"] == "both" else count
        elif found["of"]:
            count = count or 1
        rest = rest[found.end() :]
    rest = rest.strip()
    beyond = [word for word in re.findall(r"\w+", rest) if word in _BEYOND]
    if beyond:
        raise NotUnderstood(f"{beyond[0]!r} in {text!r} is not understood")
    noun = "" if rest in ("one", "ones", "it", "them") else rest
    many = rest in ("ones", "them") or singular(noun) is not None or every
    return Expression(noun, count or (None if many and rank == 1 else 1), order, rank)
