"""Masks as text: what is written is what the paper's code writes, and what is read is never worse than it must be."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.masks.cells import cell_areas, cell_bounds, cell_middles, cells_by_middle, mask_of_cells
from maskwright.masks.grids import (
    BACKGROUND,
    DescriptorGrid,
    grid_of_label_map,
    grid_of_layers,
    grid_of_mask,
    visible_parts,
    with_instances,
)
from maskwright.masks.text import runs_of, shorter_form, to_answer, to_block, to_text, tokens, words_and_signs
from maskwright.masks.text_grammar import row_wise_grammar, row_wise_pattern
from maskwright.masks.text_parser import MOST_TEXT, parse_text

steady = settings(deadline=None, derandomize=True)

FORMS = ("full", "image-wise", "row-wise")
SIDES = (1, 2, 16, 24, 32)
LABELS = LabelSet((LabelClass("brown dog", ("hound", "mutt")), LabelClass("cat"), LabelClass("cart")))
EXAMPLE = DescriptorGrid.from_words(
    [
        ["others", "others", "others", "others"],
        ["others", "dog", "dog", "others"],
        ["dog", "dog", "dog", "dog"],
        ["others", "others", "cat", "cat"],
    ]
)
WRITTEN = "others *4\n others *1| dog *2| others *1\n dog *4\n others *2| cat *2\n"


def random_grid(side, seed, names=("brown dog", "cat")):
    """Blobs: neighbouring cells are mostly alike, as in real masks."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, len(names) + 1, (max(1, side // 3), max(1, side // 3)))
    at = np.arange(side) * len(coarse) // side
    return DescriptorGrid((BACKGROUND, *names), coarse[np.ix_(at, at)])


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(lambda t: t.strip())
awkward = st.sampled_from(
    ["a|b", "a *3", "x3", "dog x3", "*", "a*b", "</seg>", "a\\", "\\n", "```", "ol\\name", "#1", "1. dog", "<seg>"]
)

ANY_NAME = st.one_of(names, awkward)


@st.composite
def grids(draw, any_name=ANY_NAME):
    side = draw(st.one_of(st.sampled_from(SIDES), st.integers(1, 40)))
    chosen = draw(st.lists(any_name.map(lambda t: " ".join(t.split())), max_size=5, unique_by=str.casefold))
    chosen = [name for name in chosen if name.casefold() != BACKGROUND]
    flat = np.array(draw(st.lists(st.integers(0, len(chosen)), min_size=1, max_size=60)))
    return DescriptorGrid((BACKGROUND, *chosen), np.resize(flat, (side, side)))


# --- cells -----------------------------------------------------------------------------------------------------------


def by_hand(mask, side):
    """Each cell's pixels by the definition, without run lengths."""
    array = mask.to_array()
    rows = [(2 * y + 1) * side // (2 * mask.height) for y in range(mask.height)]
    columns = [(2 * x + 1) * side // (2 * mask.width) for x in range(mask.width)]
    areas = np.zeros((side, side), dtype=int)
    np.add.at(areas, (np.array(rows)[:, None], np.array(columns)), array)
    return areas, np.array(rows), np.array(columns)


@steady
@given(st.from_type(Mask), st.integers(1, 40))
def test_cells_worked_out_from_run_lengths_are_those_counted_pixel_by_pixel(mask, side):
    areas, rows, columns = by_hand(mask, side)
    assert (cell_areas(mask, side) == areas).all()
    middle = [int(np.floor((c + 0.5) * mask.height / side)) for c in range(side)]
    across = [int(np.floor((c + 0.5) * mask.width / side)) for c in range(side)]
    cells = cells_by_middle(mask, side)
    assert (cells == mask.to_array()[np.ix_(middle, across)]).all()
    assert (mask_of_cells(cells, mask.size).to_array() == cells[np.ix_(rows, columns)]).all()


@steady
@given(st.integers(1, 3000), st.integers(1, 128))
def test_cells_cover_every_pixel_once_and_hold_their_own_middle(length, side):
    bounds, middles = cell_bounds(length, side), cell_middles(length, side)
    assert bounds[0] == 0
    assert bounds[-1] == length
    sizes = np.diff(bounds)
    assert sizes.min() >= 0
    assert sizes.max() - sizes.min() <= 1
    held = sizes > 0
    assert ((bounds[:-1] <= middles) & (middles < bounds[1:]))[held].all()


@steady
@given(grids(), st.integers(1, 5), st.integers(1, 5), st.sampled_from(["nearest", "majority", "any"]))
def test_a_grid_made_pixels_gives_the_same_grid_whatever_the_sampling(grid, tall, wide, sampling):
    size = (grid.side * tall, grid.side * wide)
    assert grid_of_layers(list(grid.masks(size).items()), grid.side, sampling) == grid
    assert grid_of_label_map(grid.label_map(size), dict(enumerate(grid.names)), grid.side, sampling) == grid


def test_later_layers_lie_on_top():
    size = (32, 32)
    layers = [("road", Mask.full(size)), ("car", Mask.from_box((8, 8, 24, 24), size))]
    for sampling in ("nearest", "majority", "any"):
        grid = grid_of_layers(layers, 4, sampling)
        assert (grid.marked("car").sum(), grid.marked("road").sum()) == (4, 12)
        assert grid_of_layers(layers[::-1], 4, sampling).present == ("road",)


def test_the_class_others_is_the_background():
    size = (8, 8)
    grid = grid_of_layers([("dog", Mask.full(size)), ("Others", Mask.from_box((0, 0, 4, 8), size))], 2)
    assert grid.words() == [[BACKGROUND, "dog"], [BACKGROUND, "dog"]]


def test_small_objects_vanish_by_the_nearest_pixel_and_stay_if_any_pixel_counts():
    speck = Mask.from_box((3, 3, 5, 5), (64, 64))
    assert grid_of_mask(speck, "speck", 4).present == ()
    assert grid_of_mask(speck, "speck", 4, "majority").present == ()
    assert grid_of_mask(speck, "speck", 4, "any").present == ("speck",)


def test_majority_names_a_cell_after_the_class_with_most_of_its_pixels():
    label_map = np.zeros((4, 4), dtype=np.uint8)
    label_map[:, :3] = 7
    label_map[1:3, 1:3] = 200  # the middle, but only a quarter
    assert grid_of_label_map(label_map, {7: "a", 200: "b"}, 1).words() == [["b"]]
    assert grid_of_label_map(label_map, {7: "a", 200: "b"}, 1, "majority").words() == [["a"]]
    assert grid_of_label_map(label_map, {200: "b"}, 1, "majority").words() == [["others"]]


def test_instances_of_a_class_are_numbered():
    size = (8, 8)
    left, right = Mask.from_box((0, 0, 4, 8), size), Mask.from_box((4, 0, 8, 8), size)
    grid = grid_of_layers(with_instances([("dog", left), ("dog", right)]), 2)
    assert to_text(grid) == "dog#1 *1| dog#2 *1\n dog#1 *1| dog#2 *1\n"
    assert parse_text(to_text(grid), 2, LabelSet.of(["dog"])).grid == grid


@steady
@given(st.lists(st.integers(0, 255), min_size=1, max_size=6))
def test_visible_parts_are_what_painting_one_over_the_other_leaves(seeds):
    size = (12, 9)
    masks = [Mask.from_array(np.random.default_rng(seed).random(size) < 0.3) for seed in seeds]
    painted = np.full(size, -1)
    for number, mask in enumerate(masks):
        painted[mask.to_array()] = number
    assert visible_parts(masks) == [Mask.from_array(painted == number) for number in range(len(masks))]


@pytest.mark.parametrize(
    ("names_", "cells"),
    [
        (("dog",), [[0]]),
        ((BACKGROUND,), [[1]]),
        ((BACKGROUND, "a", "a"), [[0]]),
        ((BACKGROUND, " "), [[0]]),
        ((BACKGROUND,), [[0, 0]]),
        ((BACKGROUND, "a" * 1001), [[0]]),
        ((BACKGROUND,), [[0.5]]),
    ],
)
def test_what_is_no_grid_is_refused(names_, cells):
    with pytest.raises(InvalidInput):
        DescriptorGrid(names_, np.array(cells))


@pytest.mark.parametrize("side", [0, -1, 129, 1.5])
def test_sides_out_of_bounds_are_refused(side):
    with pytest.raises(InvalidInput, match="1 to 128"):
        grid_of_mask(Mask.full((4, 4)), "a", side)
    with pytest.raises(InvalidInput, match="1 to 128"):
        parse_text("a *1", side)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_worked_example_is_written_byte_for_byte():
    assert to_text(EXAMPLE) == WRITTEN
    assert to_answer("Here it is.", EXAMPLE) == f"Here it is.\n<seg>{WRITTEN}</seg>"
    assert to_text(EXAMPLE, "image-wise") == "others *5| dog *2| others *1| dog *4| others *2| cat *2"
    assert to_text(EXAMPLE, "full").startswith("others| others| others| others| others| dog| dog| others| dog")


@steady
@given(grids())
def test_counts_of_a_row_sum_to_the_side_and_no_two_neighbours_are_alike(grid):
    for runs in runs_of(grid):
        assert sum(count for _, count in runs) == grid.side
        assert all(a != b for (a, _), (b, _) in pairwise(runs))


@steady
@given(grids(), st.sampled_from(FORMS))
def test_what_is_written_is_read_back(grid, form):
    read = parse_text(to_answer("Sure.", grid, form), grid.side)
    assert read.grid == grid
    assert (read.confidence, sum(read.repairs), read.warnings) == (1.0, 0, ())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", FORMS)
def test_a_known_label_set_reads_back_every_size(side, form):
    for seed in range(10):
        grid = random_grid(side, seed)
        read = parse_text(to_block(grid, form), side, LABELS)
        assert read.grid == grid
        assert read.confidence == 1


@steady
@given(grids(any_name=st.sampled_from(["dog", "cat", "tree", "car"])))
def test_the_token_formula_counts_what_is_written(grid):
    for form in FORMS:
        assert tokens(grid, form) == tokens(grid, form, words_and_signs)
    runs = sum(len(row) for row in runs_of(grid))
    assert tokens(grid) == 4 * runs
    assert tokens(grid, "full") == 2 * grid.side**2 - 1


def test_a_chequerboard_is_shorter_in_full():
    board = DescriptorGrid((BACKGROUND, "dog"), np.indices((16, 16)).sum(axis=0) % 2)
    assert (tokens(board, "full"), tokens(board)) == (511, 1024)
    assert shorter_form(board) == "full"
    assert shorter_form(random_grid(16, 0)) == "row-wise"


def test_an_unknown_form_is_refused():
    with pytest.raises(InvalidInput, match="row-wise"):
        to_text(EXAMPLE, "columns")


# --- how much is lost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "expected"), [(16, 0.33), (32, 0.61), (64, 0.78), (96, 0.84), (128, 0.89), (192, 0.92)]
)
def test_sixteen_cells_lose_of_a_disc_what_the_specification_measured(radius, expected):
    rng = np.random.default_rng(radius)
    size = (512, 512)
    found = []
    for _ in range(60):
        x, y = rng.uniform(radius, 512 - radius, 2)
        disc = Mask.from_ellipse(x, y, radius, radius, 0, size)
        found.append(disc.iou(grid_of_mask(disc, "disc").mask("disc", size)))
    assert np.mean(found) == pytest.approx(expected, abs=0.06 if radius < 32 else 0.02)


# --- reading what a language model wrote -----------------------------------------------------------------------------

DOGS = WRITTEN.replace("dog", "brown dog")
TRUTH = [[word.replace("dog", "brown dog") for word in row] for row in EXAMPLE.words()]


@pytest.mark.parametrize(
    "text",
    [
        DOGS,
        f"<seg>{DOGS}</seg>",
        f"<SEG> {DOGS} < /seg >",
        f"Sure, here it is!\n\n```text\n<seg>{DOGS}</seg>\n```\nThe dog is in the middle.",
        f"I will write a <seg> block as asked.\n<seg>{DOGS}</seg>",
        f"<seg>{DOGS}",
        f"<seg>{DOGS}\nI hope this helps!",
        f"```\n{DOGS}```",
        DOGS.replace("\n", "\r\n"),
        DOGS.replace("\n ", "\n\n"),
        DOGS.replace("\n ", "\\n "),
        DOGS.replace(" *", " * "),
        DOGS.replace(" *", "*"),
        DOGS.replace(" *", " x"),
        DOGS.replace(" *", " × "),
        DOGS.replace("|", " |"),
        DOGS.replace("| ", "|"),
        DOGS.replace("\n", "|\n"),
        DOGS.replace(" *1|", "|"),
        DOGS.replace("brown dog", "Brown  DOG").replace("others", "Others"),
        DOGS.replace("brown dog", "hound"),
        DOGS.replace("brown dog", "**brown dog**"),
        DOGS.replace("others", "background"),
        "".join(f"Row {n}: {row.strip()}\n" for n, row in enumerate(DOGS.splitlines(), 1)),
        DOGS.replace("brown dog *4", "brown dog 4"),
    ],
)
def test_what_means_the_same_is_read_without_a_repair(text):
    read = parse_text(text, 4, LABELS)
    assert read.grid.words() == TRUTH
    assert read.repairs == (0, 0, 0, 0)
    assert read.confidence == 1


@pytest.mark.parametrize(
    ("text", "row", "expected", "repaired", "told"),
    [
        (DOGS.replace("| brown dog *2| others *1", "| brown dog *2"), 1, None, 1, "filled up"),
        (DOGS.replace("brown dog *4", "brown dog *9"), 2, None, 4, "cut"),
        (DOGS.replace("brown dog *4", "brown dog *5"), 2, None, 1, "cut"),
        (DOGS.replace("brown dog *4", "brown dog *99999999"), 2, None, 4, "cut"),
        (DOGS.replace("brown dog *4", "brown dog *" + "9" * 5000), 2, None, 4, "cut"),
        (DOGS.replace("brown dog *2", "brown dog *two"), 1, TRUTH[1], 2, "could not be read"),
        (DOGS.replace("brown dog *2", "brown dog *-2"), 1, TRUTH[1], 2, "could not be read"),
        (DOGS.replace("brown dog *4", "brown dg *4"), 2, TRUTH[2], 4, "taken for 'brown dog'"),
        (DOGS.replace("brown dog *4", "broom dog *4"), 2, None, 4, "unknown label"),
        (DOGS.replace("cat", "caxt"), 3, None, 2, "unknown label"),  # as near to cat as to cart
        (DOGS.replace("brown dog *4", "zebra *4"), 2, ["others"] * 4, 4, "unknown label 'zebra'"),
        (DOGS.replace("\n brown dog *4", ""), 3, TRUTH[3], 4, "3 rows instead of 4"),
        (DOGS + " cat *4\n", 3, TRUTH[3], 4, "5 rows instead of 4"),
    ],
)
def test_repairs_are_made_in_their_row_and_told(text, row, expected, repaired, told):
    read = parse_text(text, 4, LABELS)
    if expected is not None:
        assert read.grid.words()[row] == expected
    assert read.repairs[row] == repaired
    assert sum(read.repairs) == repaired
    assert read.confidence == 1 - repaired / 16
    assert any(told in warning for warning in read.warnings)


def test_one_bad_row_costs_no_other_row():
    read = parse_text(DOGS.replace("others *1| brown dog *2| others *1", "oops"), 4, LABELS)
    assert [read.grid.words()[i] for i in (0, 2)] == [TRUTH[0], TRUTH[2]]


@pytest.mark.parametrize("text", ["", "   \n", "I cannot see a dog.", "<seg></seg>", "<seg>", "</seg>", "```\n```"])
def test_no_descriptors_are_an_empty_grid_without_confidence(text):
    read = parse_text(text, 16, LABELS)
    assert (read.grid.side, read.grid.present, read.confidence) == (16, (), 0.0)
    assert read.repairs == (16,) * 16
    assert read.warnings


def changed(text, chance):
    """Pieces of a text lost, doubled or moved, as a language model does."""
    pieces = re.findall(r"\w+|\s|[^\w\s]", text)
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(len(pieces))
        kind = chance.randrange(4)
        if kind == 0 and len(pieces) > 1:
            del pieces[place]
        elif kind == 1:
            pieces.insert(place, pieces[place])
        elif kind == 2:
            pieces.insert(
                place, chance.choice(["|", "*", "\n", "99999999999", "\\", "<seg>", "</seg>", "zebra", "\x00"])
            )
        else:
            other = chance.randrange(len(pieces))
            pieces[place], pieces[other] = pieces[other], pieces[place]
    return "".join(pieces)


@pytest.mark.parametrize("side", SIDES)
def test_texts_with_lost_and_doubled_tokens_never_raise_and_keep_the_shape(side):
    chance = random.Random(side)
    known = {BACKGROUND, *LABELS.names}
    for seed in range(120):
        grid = random_grid(side, seed)
        text = changed(to_answer("Sure.", grid, chance.choice(FORMS)), chance)
        read = parse_text(text, side, LABELS)
        assert read.grid.cells.shape == (side, side)
        assert {name.partition("#")[0] for name in read.grid.names} <= known
        assert len(read.repairs) == side
        assert read.confidence == pytest.approx(1 - sum(read.repairs) / side**2)
        assert all(0 <= repaired <= side for repaired in read.repairs)


@steady
@given(st.text(st.sampled_from("ab|*x3 \n\\<>/segothrs9`#")), st.integers(1, 20), st.booleans())
def test_any_text_gives_a_grid(text, side, with_labels):
    read = parse_text(text, side, LABELS if with_labels else None)
    assert read.grid.cells.shape == (side, side)
    assert 0 <= read.confidence <= 1


@pytest.mark.parametrize(
    "text",
    [
        "<seg>cat *" + "9" * MOST_TEXT,
        "cat *0|" * 200_000,
        "|" * MOST_TEXT,
        "\\" * MOST_TEXT,
        "< " * (MOST_TEXT // 2),
        "\n" * MOST_TEXT,
        "* " * (MOST_TEXT // 2),
        "cat" + " " * MOST_TEXT + "*3",
        "|".join(f"w{n}" for n in range(200_000)),
        "\n".join(f"wo{n}d *3" for n in range(100_000)),
        ("cat " + "* " * 1400 + "|") * 400,
        "ﷺ" * MOST_TEXT,
    ],
    ids=["digits", "zeros", "bars", "backslashes", "tags", "lines", "stars", "blanks", "words", "rows", "runs", "wide"],
)
def test_megabytes_of_hostile_text_take_seconds_at_most(text):
    start = time.process_time()
    assert parse_text(text, 128, LABELS).grid.side == 128
    assert time.process_time() - start < 10
    assert len(parse_text(text, 16).warnings) <= 21


# --- grammars --------------------------------------------------------------------------------------------------------


def accepts(grammar, text):
    """A small reader of the grammars that we write: literals, names, blanks and bars."""
    rules = {}
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        words = re.findall(r'"(?:[^"\\]|\\.)*"|[a-z0-9]+|\|', body)
        alternatives = [[]]
        for word in words:
            if word == "|":
                alternatives.append([])
            else:
                alternatives[-1].append(word)
        rules[name] = alternatives

    def ends(name, start):
        found = set()
        for alternative in rules[name]:
            places = {start}
            for word in alternative:
                if word[0] == '"':
                    literal = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], word[1:-1])
                    places = {p + len(literal) for p in places if text.startswith(literal, p)}
                else:
                    places = {end for p in places for end in ends(word, p)}
            found |= places
        return found

    return len(text) in ends("root", 0)


@pytest.mark.parametrize("side", [1, 2, 9, 10, 16, 24])
def test_grammars_accept_what_is_written_and_refuse_other_sums(side):
    labels = ("brown dog", "cat", 'odd "\\ |name')
    pattern, grammar = re.compile(row_wise_pattern(labels, side)), row_wise_grammar(labels, side)
    for seed in range(5):
        block = to_block(random_grid(side, seed, labels))
        assert pattern.fullmatch(block)
        assert accepts(grammar, block)
    assert not pattern.fullmatch(to_block(random_grid(side, 0, ("zebra", "gnu", "eel"))).replace("others", "zebra"))
    row = f"cat *{side}"
    block = "<seg>" + "\n ".join([row] * side) + "\n</seg>"
    assert accepts(grammar, block)
    assert not accepts(grammar, block.replace(row, f"cat *{side + 1}", 1))
    assert not accepts(grammar, block.replace(f"\n {row}", "", 1) if side > 1 else block + " ")
    assert not pattern.fullmatch(block.replace(row, f"cat *{side + 1}", 1))


def test_the_pattern_takes_exactly_the_counts_of_a_side():
    for side in (1, 9, 10, 16, 20, 99, 100, 128):
        (numbers,) = re.findall(r"\\\*(\(\?:[^)]*\))", row_wise_pattern([], side))[:1]
        assert [n for n in range(300) if re.fullmatch(numbers, str(n))] == list(range(1, side + 1))
