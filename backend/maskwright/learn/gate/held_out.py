"""Which images of a project are held out: decided once by hashing, never trained on.

An image belongs to the held-out part or not by the rule of ``export.splits``: a hash of the project's key and the
SHA-256 of the image's encoded bytes. So the parts are the same wherever and whenever they are worked out, and images
that are labelled later move none of the earlier ones. Near-duplicates (``images.similar``) go together, or the model
would be judged on pictures that it has all but seen.

The share is that of many images. The rule does not know how many there are, for else images would have to move as a
project grows; so a small project may have no held-out image at all, or hardly another one. With a share of 0.2, five
held-out images (what a verdict needs) are there with probability 0.37 at 20 images, 0.58 at 25, 0.86 at 35 and 0.98 at
50: below 25 images the usual verdict is "not enough data".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.export.splits import SplitRule, leaders
from maskwright.images.similar import Fingerprint, near_duplicates

DEFAULT_SHARE = 0.2
_NAMED = 20
"""How many images an error names."""


@dataclass(frozen=True)
class HeldOutRule:
    """How the images of one project are shared out.

    Attributes:
        project: The project's key.
        share: Of images to hold out, above 0 and below 1.

    Raises:
        InvalidInput: If the share is not.
    """

    project: str
    share: float = DEFAULT_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InvalidInput(f"the held-out share is {self.share}; give a number above 0 and below 1, e.g. 0.2")

    def holds_out(self, name: str) -> bool:
        """Whether an image, or a group of near-duplicates, is held out; its name is a SHA-256 in hex."""
        share = Fraction(str(self.share))
        rule = SplitRule((("train", 1 - share), ("test", share)))
        return rule.split_of(f"{self.project}\x1f{name}") == "test"


@dataclass(frozen=True)
class Parts:
    """The images of a project, each by the SHA-256 of its encoded bytes in hex, sorted.

    Attributes:
        training: What a round may learn from.
        held_out: What it is judged on.
        set_aside: Near-duplicates of both trained and held-out images, which are used for neither.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    set_aside: tuple[str, ...] = ()

    def to_json(self) -> dict[str, list[str]]:
        """As JSON-able values, to be given to :func:`share_out` as ``earlier`` next time."""
        return {"training": [*self.training], "held_out": [*self.held_out], "set_aside": [*self.set_aside]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Parts:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            return cls(*(tuple(map(str, value[name])) for name in ("training", "held_out", "set_aside")))
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"these are no parts of a project: {error}") from error


def duplicate_groups(fingerprints: Sequence[Fingerprint]) -> list[list[str]]:
    """Groups of near-duplicates by their SHA-256; images that resemble no other are left out."""
    groups = ([fingerprints[i].sha256 for i in group] for group in near_duplicates(fingerprints))
    return [group for group in groups if len(set(group)) > 1]


def share_out(
    rule: HeldOutRule,
    images: Iterable[str],
    groups: Iterable[Sequence[str]] = (),
    earlier: Parts | None = None,
) -> Parts:
    """Share images out; the order of images and groups does not matter.

    A new group goes by the hash of the first of its SHA-256s. An image that resembles earlier ones goes where they
    are; one that resembles both trained and held-out ones is set aside. Without groups nothing need be remembered;
    with groups, give what was said before as ``earlier``, for a newcomer may otherwise give its group another name.

    Args:
        rule: Of the project.
        images: SHA-256 of each image in hex.
        groups: Of near-duplicates, see :func:`duplicate_groups`; they may name other images too.
        earlier: What was said before; images in it keep their part for ever.
    """
    kept: dict[str, str] = {}
    if earlier is not None:
        kept = {image: part for part, found in earlier.to_json().items() for image in found}
    together = [list(group) for group in groups]
    known = {*images, *kept, *(image for group in together for image in group)}
    leader = leaders(known, together)
    members: dict[str, list[str]] = {}
    for image in sorted(known):
        members.setdefault(leader[image], []).append(image)
    parts: dict[str, list[str]] = {"training": [], "held_out": [], "set_aside": []}
    for group in members.values():
        before = {kept[image] for image in group if image in kept} - {"set_aside"}
        if len(before) == 1:
            (follow,) = before
        elif before:
            follow = "set_aside"
        else:
            follow = "held_out" if rule.holds_out(group[0]) else "training"
        for image in group:
            parts[kept.get(image, follow)].append(image)
    return Parts(*(tuple(sorted(parts[name])) for name in ("training", "held_out", "set_aside")))


@dataclass(frozen=True)
class Leak:
    """A held-out image that was trained on: the same one, or a near-duplicate of it.

    Attributes:
        held_out: SHA-256 of the held-out image.
        trained: SHA-256 of the one trained on.
    """

    held_out: str
    trained: str


def leaks(training: Iterable[str], held_out: Iterable[str], groups: Iterable[Sequence[str]] = ()) -> tuple[Leak, ...]:
    """Held-out images that are on the side of training too, sorted; each with one image that it leaks through.

    Args:
        training: SHA-256 in hex of every image that the candidate or one of its parents was trained on.
        held_out: Those it is judged on.
        groups: Of near-duplicates among these images, see :func:`duplicate_groups`. Leave images that were set aside
            out when working them out: what resembles both sides would join images that do not resemble each other.
    """
    trained, judged = set(training), sorted(set(held_out))
    together = [list(group) for group in groups]
    leader = leaders({*trained, *judged, *(image for group in together for image in group)}, together)
    first: dict[str, str] = {}
    for image in sorted(trained):
        first.setdefault(leader[image], image)
    found = ((image, image if image in trained else first.get(leader[image])) for image in judged)
    return tuple(Leak(image, other) for image, other in found if other is not None)


def refuse_leaks(
    training: Iterable[str],
    held_out: Iterable[str],
    groups: Iterable[Sequence[str]] = (),
    names: Mapping[str, str] | None = None,
) -> None:
    """Raise if a held-out image was trained on; arguments as in :func:`leaks`.

    Args:
        training: As there.
        held_out: As there.
        groups: As there.
        names: What people call the images, by SHA-256.

    Raises:
        InvalidInput: Naming the images on both sides.
    """
    found = leaks(training, held_out, groups)
    if not found:
        return
    called = names or {}

    def name(image: str) -> str:
        return called.get(image, image[:12])

    told = [
        name(leak.held_out)
        if leak.held_out == leak.trained
        else f"{name(leak.held_out)} (like {name(leak.trained)}, which was trained on)"
        for leak in found[:_NAMED]
    ]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise InvalidInput(
        f"{len(found)} held-out image{'s were' if len(found) > 1 else ' was'} trained on, so no comparison would be "
        f"fair: {', '.join(told)}{more}; train again without them"
    )
