"""The data card: what a dataset holds, where it comes from and what it lacks, as Markdown beside the data.

After Gebru et al., Datasheets for datasets (2018), as far as an export can know the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskwright.export.agreement import Agreement
from maskwright.export.loading import how_to_load
from maskwright.export.records import Dataset
from maskwright.export.selection import Selection
from maskwright.export.tally import Tally

CONTACT_SHEET = "contact-sheet.png"
_MOST_CHECKSUMS = 50
_MOST_PEOPLE = 30
_NONE_SPLIT = "without a part"

_CONSENSUS = {
    "latest": "The newest submitted annotation of each task counts, whoever made it.",
    "all": "The annotations of all people are put together; an object that several drew occurs several times.",
    "majority": (
        "Where several people annotated an image, objects that more than half of them drew are kept, with the pixels "
        "that more than half of them gave to it. Objects are the same if their IoU is at least 0.5."
    ),
    "staple": (
        "Where several people annotated an image, objects that more than half of them drew are kept, with the pixels "
        "that are most likely true (STAPLE). Objects are the same if their IoU is at least 0.5."
    ),
}
_REASONS = {
    "overlap": "covered by an object drawn later",
    "holes": "holes filled or cut open",
    "parts": "parts beyond the first",
    "simplified": "outline simplified",
    "outline": "outline rounded, or filled by another rule",
    "grid": "rounded to the grid of descriptors",
    "crowd": "a crowd, which this format does not know",
    "duplicate": "the same object drawn twice, written once",
}


def write_card(
    tally: Tally,
    dataset: Dataset,
    files: Mapping[str, str],
    source: str,
    selection: Selection,
    created_at: str,
    *,
    format_name: str = "",
    index: str = "",
    has_contact_sheet: bool = True,
) -> str:
    """The card's text. Equal arguments give equal texts.

    Args:
        tally: What the export counted.
        dataset: What is true of all images.
        files: SHA-256 in hex by relative path.
        source: Where the annotations come from, e.g. ``snapshot spring of project 3``.
        selection: What of them was taken.
        created_at: ISO 8601 time, better that of the newest annotation than the present, so that the same data give
            the same card.
        format_name: As ``--format`` names it.
        index: Relative path of the file that a loader opens.
        has_contact_sheet: Whether ``contact-sheet.png`` lies beside the card.
    """
    sections = [
        _summary(tally, dataset, source, created_at, format_name),
        [f"![Sample images with their regions]({CONTACT_SHEET})"] if has_contact_sheet else [],
        _section("Classes", _classes(tally, dataset)),
        _section("Splits", _splits(tally, selection)),
        _section("How it was annotated", _people(tally, selection)),
        _section("Agreement between annotators", _agreement(tally.agreement)),
        _section("What this format cannot hold", _losses(tally, format_name)),
        _section("What is not in it", _left_out(tally)),
        _section(
            "Licence", [_text(dataset.licence) or "Not stated. Ask whoever owns the images before you share them."]
        ),
        _section("How to load it", how_to_load(format_name, index)),
        _section("Checksums", _checksums(files)),
    ]
    return "\n\n".join(line for section in sections for line in section) + "\n"


def _section(title: str, blocks: Sequence[str]) -> list[str]:
    return [f"## {title}", *blocks] if blocks else []


def _summary(tally: Tally, dataset: Dataset, source: str, created_at: str, format_name: str) -> list[str]:
    rows = [
        ("Images", _number(tally.images) + (f", {_number(tally.empty_images)} of them without a region"
                                            if tally.empty_images else "")),
        ("Regions", _number(tally.regions)),
        ("Classes", _number(len(dataset.categories))),
        ("Format", _code(format_name) if format_name else ""),
        ("Source", _text(source)),
        ("State of", _text(created_at)),
    ]  # fmt: skip
    title = _text(dataset.description) or "Dataset"
    return [f"# {title}", _table(("", ""), [row for row in rows if row[1]])]


def _classes(tally: Tally, dataset: Dataset) -> list[str]:
    if not dataset.categories:
        return ["The dataset has no class."]
    rows = []
    for name, number in dataset.categories.items():
        figures = tally.classes.get(name)
        if figures is None or not figures.regions:
            rows.append((str(number), _text(name), "0", "0", "", "", "", ""))
            continue
        few, middle, many = (_number(figures.quantile(share)) for share in (0.1, 0.5, 0.9))
        counts = (_number(figures.regions), _number(figures.images))
        rows.append((str(number), _text(name), *counts, _number(figures.pixels), few, middle, many))
    heads = ("id", "class", "regions", "images", "pixels", "area: 10 %", "50 %", "90 %")
    blocks = [_table(heads, rows, numbers=(0, 2, 3, 4, 5, 6, 7))]
    blocks.append("Areas are in pixels: that share of the regions is not larger, to about 10 %.")
    crowds = {name: figures.crowds for name, figures in tally.classes.items() if figures.crowds}
    if crowds:
        blocks.append(f"Regions that stand for uncounted groups (`iscrowd`): {_listed(crowds)}.")
    return blocks


def _splits(tally: Tally, selection: Selection) -> list[str]:
    parts = dict(tally.splits)
    rest = tally.images - sum(parts.values())
    if not parts:
        return ["The dataset is not split."]
    wanted = {name for name, share in selection.split.shares if share} if selection.split is not None else set()
    order = [name for name in ("train", "val", "test") if name in parts or name in wanted]
    rows: list[tuple[str, ...]] = []
    for name in order:
        regions = sum(figures.splits.get(name, 0) for figures in tally.classes.values())
        rows.append((name, _number(parts.get(name, 0)), _percent(parts.get(name, 0) / tally.images), _number(regions)))
    if rest:
        rows.append((_NONE_SPLIT, _number(rest), _percent(rest / tally.images), ""))
    blocks = [_table(("part", "images", "share", "regions"), rows, numbers=(1, 2, 3))]
    labels = [name for name, figures in sorted(tally.classes.items()) if figures.regions]
    per_class = [(_text(n), *(_number(tally.classes[n].splits.get(part, 0)) for part in order)) for n in labels]
    if len(labels) > 1:
        blocks.append(_table(("regions of", *order), per_class, numbers=range(1, len(order) + 1)))
    rule = selection.split
    if rule is not None:
        shares = ", ".join(f"{name} {float(share):g}" for name, share in rule.shares)
        together = {"content": "Near-duplicate images are in the same part", "task": "Each task is for itself"}
        by = together.get(rule.by, f"Tasks with the same {_code(rule.field)} are in the same part")
        blocks.append(f"Shared out by hash: {shares}; seed {rule.seed}. {by}.")
    return blocks


def _people(tally: Tally, selection: Selection) -> list[str]:
    person = selection.annotator
    rule = _CONSENSUS.get(selection.consensus, f"Only the annotations of {_text(person)} count.")
    blocks = [rule + (" Unsubmitted drafts count too." if selection.include_drafts else " Drafts do not count.")]
    if selection.since:
        blocks.append(f"Annotations from before {_text(selection.since)} do not count.")
    if tally.annotators:
        rows = [(_text(name), _number(n)) for name, n in _most(tally.annotators)]
        if len(tally.annotators) > _MOST_PEOPLE:
            rows.append((f"and {_number(len(tally.annotators) - _MOST_PEOPLE)} more", ""))
        blocks.append(_table(("annotator", "images"), rows, numbers=(1,)))
    if tally.model_versions:
        rows = [(_text(name), _number(n)) for name, n in _most(tally.model_versions)]
        blocks.append("Models whose proposals people began from:")
        blocks.append(_table(("model version", "images"), rows, numbers=(1,)))
    else:
        blocks.append("No annotation is known to have begun from a model's proposal.")
    changed = selection.mapping.to_json()
    if changed["rename"] or changed["merge"]:
        pairs = {**changed["rename"], **changed["merge"]}
        blocks.append("Classes changed: " + ", ".join(f"{_text(a)} → {_text(b)}" for a, b in pairs.items()) + ".")
    if changed["exclude"]:
        blocks.append("Classes left out: " + ", ".join(map(_text, changed["exclude"])) + ".")
    return blocks


def _agreement(found: Agreement) -> list[str]:
    if not found.images:
        return ["No image was annotated by several people."]
    kappas = found.cohen_kappas
    several = len(kappas) > 1
    rows = [
        ("images with several annotators", _number(found.images)),
        ("mean IoU of matched objects", _figure(found.mean_iou)),
        ("objects found by both (F1 at IoU 0.5)", _figure(found.f1)),
        ("same class, of matched objects", _figure(found.class_agreement)),
        ("class beyond chance (Fleiss' kappa)" if several else "class beyond chance (Cohen's kappa)",
         _figure(found.fleiss_kappa if several else next(iter(kappas.values()), None))),
    ]  # fmt: skip
    blocks = [_table(("", ""), rows, numbers=(1,))]
    if several:
        pairs = [(_text(a), _text(b), _figure(value)) for (a, b), value in sorted(kappas.items())[:_MOST_PEOPLE]]
        blocks.append(_table(("annotator", "and", "Cohen's kappa"), pairs, numbers=(2,)))
    dice = [(_text(name), _figure(value)) for name, value in found.dice.items()]
    if dice:
        blocks.append(_table(("class", "Dice of pixels"), dice, numbers=(1,)))
    return blocks


def _losses(tally: Tally, format_name: str) -> list[str]:
    rows = [
        (_text(name), _REASONS.get(reason, reason), _number(regions), _number(pixels),
         _percent(pixels / figures.pixels) if figures.pixels else "")
        for name, figures in sorted(tally.classes.items())
        for reason, (regions, pixels) in sorted(figures.losses.items())
    ]  # fmt: skip
    if not rows:
        return ["Nothing: every region is in the files to the pixel."]
    what = f"The format {_code(format_name)}" if format_name else "This format"
    heads = ("class", "why", "regions", "pixels", "of the class")
    return [f"{what} holds {_number(tally.lost_pixels)} pixels otherwise than they were drawn.",
            _table(heads, rows, numbers=(2, 3, 4))]  # fmt: skip


def _left_out(tally: Tally) -> list[str]:
    reasons = dict(tally.left_out)
    if tally.unsized:
        reasons["the size of the image is not known"] = tally.unsized
    rows = [(_text(reason), _number(n)) for reason, n in sorted(reasons.items())]
    blocks = (
        [_table(("images left out, because", "images"), rows, numbers=(1,))] if rows else ["No image was left out."]
    )
    if tally.missing_images:
        first = f" The first: {_text(tally.first_missing)}" if tally.first_missing else ""
        blocks.append(f"The files of {_number(tally.missing_images)} images could not be had.{first}")
    if tally.problem_count:
        shown = "\n".join(f"- {_text(problem)}" for problem in tally.problems)
        more = tally.problem_count - len(tally.problems)
        blocks.append(f"{_number(tally.problem_count)} parts could not be read or used:\n\n{shown}")
        if more > 0:
            blocks.append(f"... and {_number(more)} more.")
    return blocks


def _checksums(files: Mapping[str, str]) -> list[str]:
    if not files:
        return []
    shown = sorted(files.items(), key=lambda item: (item[0].count("/"), item[0]))[:_MOST_CHECKSUMS]
    listing = "\n".join(f"{digest}  {path}" for path, digest in shown)
    more = len(files) - len(shown)
    note = f" Those of {_number(more)} more files are in `dataset.json`." if more else ""
    return [f"SHA-256, to be checked with `sha256sum -c`.{note}", f"```\n{listing}\n```"]


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PEOPLE]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    right = set(numbers)
    rule = ["---:" if n in right else "---" for n in range(len(heads))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 or share == 0 else f"{100 * share:.2g} %"


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_text(name)} {_number(n)}" for name, n in sorted(counts.items()))


def _code(text: str) -> str:
    flat = " ".join(text.replace("`", "'").split())
    return f"`{flat}`"


def _text(text: str) -> str:
    """A text of somebody else's, so that Markdown shows it and does nothing else with it."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!" else c for c in flat)
