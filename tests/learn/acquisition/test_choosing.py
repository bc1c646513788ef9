"""Diversity, cost, the hybrid and chance: which image comes first."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import AcquisitionFunction, Candidate, Context, Signal
from maskwright.learn.acquisition.catalogue import DEFAULT, NAMES, Tools, acquisition_function, needed_signals
from maskwright.learn.acquisition.coreset import CoreSet, pooled
from maskwright.learn.acquisition.cost import CostModel, Effort, learn_cost
from maskwright.learn.acquisition.hybrid import Chance, Hybrid, PerSecond
from maskwright.learn.acquisition.ordering import by_priority
from maskwright.learn.acquisition.typicality import Typicality, typicality
from maskwright.learn.acquisition.uncertainty import PredictedIoU
from maskwright.models.protocols import ImageEmbedding

SIGNALS = ("entropy", "predicted-iou", "disagreement", "bald", "class-entropy")


def stored(key, feature=(0.0,), regions=5, doubt=0.5, **more):
    return Candidate(
        key,
        signals=dict.fromkeys(SIGNALS, doubt),
        feature=np.array(feature, dtype=np.float32),
        effort=Effort(regions, **more),
    )


def order(function, candidates, context=None):
    scores = function.score(candidates, context or Context())
    return by_priority({c.key: float(s) for c, s in zip(candidates, scores, strict=True)})


@pytest.fixture(scope="module")
def tools(segmenter):
    return Tools(segmenter, lambda *_: np.zeros((2, 1, 4, 4), dtype=np.float32), classes=2)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    made = []
    for index in range(30):
        doubt = math.nan if index == 7 else float(rng.random())
        made.append(stored(f"image-{index}", rng.normal(size=3), int(rng.integers(0, 9)), doubt))
    made.append(Candidate("unknown", signals=dict.fromkeys(SIGNALS, math.nan), feature=np.zeros(3)))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_function_gives_the_same_numbers_whatever_the_order_of_the_images(name, tools, pool):
    function = acquisition_function(name, tools)
    assert isinstance(function, AcquisitionFunction)
    assert function.name == name
    context = Context(seed=3, batch=5, labelled=np.ones((2, 3), dtype=np.float32))
    scores = function.score(pool, context)
    assert scores.dtype == np.float64
    assert scores.shape == (31,)
    mixed = np.random.default_rng(1).permutation(31)
    again = function.score([pool[i] for i in mixed], context)
    assert again.tolist() == pytest.approx(scores[mixed].tolist(), nan_ok=True)
    assert function.score([], context).shape == (0,)


@pytest.mark.parametrize("name", ["core-set", "typicality", "hybrid", "correction-cost", "random"])
def test_an_image_given_twice_is_refused(name, tools, pool):
    with pytest.raises(InvalidInput, match="image-0 was given twice"):
        acquisition_function(name, tools).score([pool[0], pool[0]], Context())


def test_the_farthest_point_is_taken_first_then_the_one_between():
    points = [stored("at-1", [1.0]), stored("at-10", [10.0])]
    found = CoreSet().score(points, Context(labelled=np.array([[0.0]])))
    assert found.tolist() == pytest.approx([1.0, 10.0])


def test_of_identical_images_one_is_worth_something():
    pair = [stored("a", [3.0, 1.0]), stored("b", [3.0, 1.0]), stored("c", [0.0, 0.0])]
    found = CoreSet().score(pair, Context(labelled=np.array([[0.0, 1.0]])))
    assert found[0] == pytest.approx(3.0)
    assert found[1] == 0.0


def test_without_labels_the_most_central_image_is_first():
    points = [stored(f"at{x}", [float(x)]) for x in (0, 4, 5, 6, 20)]
    assert order(CoreSet(), points)[:2] == ["at6", "at20"]
    assert CoreSet().score([stored("only")], Context()).shape == (1,)


@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 5))
def test_the_greedy_choice_is_within_twice_the_best_radius(seed, n, k):
    from itertools import combinations

    k = min(k, n)
    points = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    images = [stored(f"{i:02d}", row) for i, row in enumerate(points)]
    chosen = [int(key) for key in order(CoreSet(), images, Context(batch=k))[:k]]
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    radius = apart[:, chosen].min(axis=1).max()
    best = min(apart[:, list(some)].min(axis=1).max() for some in combinations(range(n), k))
    assert radius <= 2 * best + 1e-4


def test_vectors_that_cannot_be_compared_are_refused():
    with pytest.raises(InvalidInput, match="image b: its vector has shape"):
        CoreSet().score([stored("a", [1.0]), stored("b", [1.0, 2.0])], Context())
    with pytest.raises(InvalidInput, match="image a: no vector"):
        CoreSet().score([Candidate("a")], Context())
    with pytest.raises(InvalidInput, match="measure both with the same model"):
        CoreSet().score([stored("a", [1.0])], Context(labelled=np.zeros((1, 2))))


def test_images_alike_have_vectors_alike(segmenter, scenery):
    noisy = np.clip(scenery.astype(int) + np.random.default_rng(0).integers(-2, 3, scenery.shape), 0, 255)
    dark = np.full_like(scenery, 10)
    dark[::7] = 30
    one, same, other = (pooled(e) for e in segmenter.encode([scenery, noisy.astype(np.uint8), dark]))
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(one - same) < np.linalg.norm(one - other)


def test_engines_without_learnt_features_are_compared_by_colour():
    red, blue = np.zeros((8, 8, 3), dtype=np.uint8), np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = blue[..., 2] = 200
    vectors = [pooled(ImageEmbedding({"rgb": rgb}, (8, 8), (8, 8), "plain")) for rgb in (red, blue)]
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(math.sqrt(2))
    with pytest.raises(InvalidInput, match="nothing that images can be compared by"):
        pooled(ImageEmbedding({}, (8, 8), (8, 8), "empty"))


def test_with_equal_information_the_cheaper_image_comes_first():
    images = [stored("many", regions=30), stored("few", regions=3), stored("some", regions=10)]
    assert order(PerSecond(PredictedIoU()), images) == ["few", "some", "many"]


def test_with_equal_cost_the_more_informative_image_comes_first():
    images = [stored("sure", doubt=0.1), stored("unsure", doubt=0.9)]
    assert order(PerSecond(PredictedIoU()), images) == ["unsure", "sure"]


def test_before_any_lead_time_more_and_worse_regions_cost_more():
    prior = CostModel()
    few, many, bad = prior.seconds([Effort(2, 0.8), Effort(20, 0.8), Effort(20, 0.2)])
    assert 1 < few < many < bad < 3600
    assert prior.seconds([]).shape == (0,)


def test_lead_times_teach_what_costs():
    rng = np.random.default_rng(0)
    efforts = [Effort(int(rng.integers(1, 40)), float(rng.random()), float(rng.random())) for _ in range(400)]
    # This team only looks: a region costs a second, however good it is.
    true = np.array([10.0 + e.regions for e in efforts])
    learnt = learn_cost(efforts, true * np.exp(rng.normal(0, 0.2, 400)))
    error = np.abs(np.log(learnt.seconds(efforts) / true)).mean()
    assert error < 0.1
    assert error < np.abs(np.log(CostModel().seconds(efforts) / true)).mean() / 4


def test_breaks_and_missing_lead_times_teach_nothing():
    efforts = [Effort(5)] * 4
    assert learn_cost(efforts, [math.nan, 0.0, 1e6, -3]).coefficients.tolist() == CostModel().coefficients.tolist()
    with pytest.raises(InvalidInput, match="lead times"):
        learn_cost(efforts, [1.0])


def test_one_odd_lead_time_changes_little():
    plain, odd = CostModel(), learn_cost([Effort(5)], [3000.0])
    assert odd.seconds([Effort(30)])[0] < 60 * plain.seconds([Effort(30)])[0]


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 5000)), max_size=20))
def test_costs_are_positive_whatever_was_learnt(rows):
    learnt = learn_cost([Effort(*row[:3]) for row in rows], [row[3] for row in rows])
    assert (learnt.seconds([Effort(0), Effort(1000, 0.0, 1.0), Effort(1, 1.0, 0.0)]) > 0).all()


@pytest.mark.parametrize("wrong", [(-1,), (1, 1.5), (1, 0.5, -0.1), (1, math.nan)])
def test_impossible_efforts_are_refused(wrong):
    with pytest.raises(InvalidInput, match="effort"):
        Effort(*wrong)


def test_the_hybrid_takes_what_is_uncertain_new_and_cheap():
    images = [
        stored("best", [1.0, 0.0], regions=5, doubt=0.9),
        stored("its-repetition", [1.0, 0.0], regions=5, doubt=0.9),
        stored("dear", [0.0, 1.0], regions=60, doubt=0.9),
        stored("cheap", [0.0, 1.0], regions=2, doubt=0.9),
        stored("sure", [-1.0, 0.0], regions=5, doubt=0.1),
    ]
    context = Context(batch=4, labelled=np.array([[0.0, -1.0]], dtype=np.float32))
    found = order(Hybrid((PredictedIoU(),), experienced=0), images, context)
    assert set(found[:2]) == {"best", "cheap"} or set(found[:2]) == {"its-repetition", "cheap"}
    assert found[2] == "sure"


def test_the_hybrid_puts_its_batch_before_all_others(pool):
    function = Hybrid((PredictedIoU(),))
    scores = function.score(pool, Context(batch=5))
    assert (scores > 1).sum() == 5
    assert ((scores >= 0) & (scores <= 2)).all()
    assert len(set(scores[scores > 1])) == 5


def crowd_and_strangers():
    """Twenty-five images alike that the model is sure of, and three strange ones that it doubts."""
    draw = np.random.default_rng(0)
    crowd = [stored(f"alike-{i}", [5 + 0.1 * draw.normal(), 0.1 * draw.normal()], doubt=0.1) for i in range(25)]
    return crowd + [stored(f"strange-{i}", [-5.0 * i, 9.0], doubt=0.9) for i in range(3)]


def test_a_beginner_is_shown_typical_images_first_and_doubtful_ones_with_experience():
    images = crowd_and_strangers()
    labelled = np.full((50, 2), [0.0, -9.0], dtype=np.float32)
    found = {m: order(Hybrid((PredictedIoU(),)), images, Context(batch=4, labelled=labelled[:m])) for m in (0, 50)}
    assert found[0][0].startswith("alike")
    assert found[50][0].startswith("strange")


def test_the_first_batch_of_a_beginner_does_not_repeat_itself():
    found = order(Hybrid((PredictedIoU(),)), crowd_and_strangers(), Context(batch=4))
    assert sum(key.startswith("strange") for key in found[:4]) >= 2


def test_typical_is_what_many_others_are_like_wherever_the_vectors_lie():
    images = crowd_and_strangers()
    scores = Typicality().score(images, Context())
    assert scores[:25].min() > scores[25:].max()
    moved = [replace(image, feature=10 * image.feature + 1000) for image in images]
    again = Typicality().score(moved, Context())
    assert again[:25].min() > again[25:].max()


def test_images_that_are_all_alike_are_equally_typical():
    assert len(set(Typicality().score([stored(f"{i}", [1.0, 2.0]) for i in range(30)], Context()))) == 1


def test_typicality_of_a_large_project_is_compared_with_a_part_of_it():
    vectors = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    vectors[4000:] = vectors[:1000] * 0.05
    found = typicality(vectors)
    assert np.median(found[4000:]) > 2 * np.median(found[:4000])


def test_a_hybrid_of_nothing_is_refused():
    with pytest.raises(InvalidInput, match="hybrid"):
        Hybrid(())


def test_chance_is_seeded_by_image():
    images = [stored(f"{i}") for i in range(50)]
    one, other = Chance().score(images, Context(seed=0)), Chance().score(images, Context(seed=1))
    assert (Chance().score(images[:10], Context(seed=0)) == one[:10]).all()
    assert (one != other).all()
    assert 0.3 < one.mean() < 0.7


def test_a_project_chooses_by_name_and_wrong_names_are_answered_with_the_right_ones(segmenter):
    assert DEFAULT in NAMES
    with pytest.raises(InvalidInput, match="'magic' is unknown; choose one of hybrid, entropy"):
        acquisition_function("magic", Tools(segmenter))
    with pytest.raises(InvalidInput, match="choose 'disagreement'"):
        acquisition_function("bald", Tools(segmenter))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_function_needs_to_be_measured_is_known(name, tools):
    needed = needed_signals(acquisition_function(name, tools))
    assert all(isinstance(signal, Signal) for signal in needed)
    assert bool(needed) == (name not in ("random", "core-set", "typicality"))
    bare = Candidate("bare", feature=np.zeros(1))
    if needed:
        with pytest.raises(InvalidInput, match="image bare"):
            acquisition_function(name, tools).score([bare], Context())


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"batch": 0}])
def test_impossible_contexts_are_refused(wrong):
    with pytest.raises(InvalidInput, match="acquisition"):
        Context(**wrong)


def test_the_hybrid_asks_a_committee_where_there_is_one_and_classes_where_there_are_several(tools, segmenter):
    def names(given):
        return [signal.name for signal in needed_signals(acquisition_function("hybrid", given))]

    assert names(tools) == ["disagreement", "bald", "class-entropy"]
    assert names(Tools(segmenter)) == ["disagreement", "predicted-iou"]
