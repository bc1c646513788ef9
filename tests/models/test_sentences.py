from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.models.sentences import TOKENIZER, WEIGHTS, SentenceEncoder
from maskwright.models.word_vectors import word_vectors, words_of_concepts


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_like_meanings_lie_closer_than_unlike_ones(encoder):
    cat, kitten, car, automobile = encoder.embed(["cat", "kitten", "car", "automobile"])
    assert cat @ kitten > 0.6 > cat @ car
    assert car @ automobile > 0.6 > car @ kitten


def test_vectors_are_units_in_the_order_asked_and_do_not_depend_on_company(encoder):
    phrases = ["a photo of a cat", "Kätzchen 猫", "", "cat", "cat", "word " * 600]
    together = encoder.embed(phrases)
    assert together.shape == (6, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    alone = np.concatenate([SentenceEncoder.embed(encoder, [p]) for p in phrases])
    assert together == pytest.approx(alone)
    fresh = SentenceEncoder()
    assert np.concatenate([fresh.embed([p]) for p in phrases]) == pytest.approx(together, abs=1e-5)
    assert encoder.embed([]).shape == (0, 384)


def test_it_agrees_with_transformers_own_network(encoder):
    import torch
    from tokenizers import Tokenizer
    from transformers.models.bert.modeling_bert import BertModel

    tokenizer = Tokenizer.from_file(str(TOKENIZER.locate()))
    tokenizer.no_padding()
    network = BertModel.from_pretrained(WEIGHTS.locate().parent, local_files_only=True, add_pooling_layer=False).eval()
    phrases = ["tabby", "a steam locomotive on a long bridge", "éà 猫 dog"]
    for phrase, vector in zip(phrases, encoder.embed(phrases), strict=True):
        ids = torch.tensor([tokenizer.encode(phrase).ids])
        with torch.no_grad():
            mean = network(input_ids=ids).last_hidden_state.mean(dim=1)[0]
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_known_phrases_are_remembered_within_a_bound(monkeypatch):
    encoder = SentenceEncoder(cache_size=2)
    first = encoder.embed(["cat", "dog"])
    network, seen = encoder._load(), []
    monkeypatch.setattr(encoder, "_network", lambda phrases: seen.append(list(phrases)) or network(phrases))
    assert np.array_equal(encoder.embed(["dog", "cat"]), first[::-1])
    assert seen == []
    encoder.embed(["bird"])  # the least recently used of the two leaves
    encoder.embed(["cat", "bird"])
    assert seen in ([["bird"]], [["bird"], ["cat"]])
    assert len(encoder._cache) == 2


def test_threads_get_the_answers_of_one_alone(encoder):
    phrases = [f"phrase number {i % 7}" for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda p: encoder.embed([p])[0], phrases))
    assert np.array(answers) == pytest.approx(encoder.embed(phrases), abs=1e-5)


def test_heavy_libraries_stay_out(encoder):
    code = (
        "import sys; from maskwright.models.sentences import SentenceEncoder; SentenceEncoder().embed(['cat']); "
        "assert not {'transformers', 'torchvision', 'sentence_transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_the_stored_word_vectors_are_this_encoders(encoder, monkeypatch):
    words, concepts = words_of_concepts()
    assert len(words) == len(concepts)
    with monkeypatch.context() as patch:
        patch.setattr(SentenceEncoder, "embed", lambda *_: pytest.fail("the stored vectors should have been used"))
        stored = word_vectors(encoder)
    sample = slice(0, len(words), 97)
    fresh = encoder.embed(words[sample])
    assert (stored[sample] * fresh).sum(axis=1) == pytest.approx(np.ones(len(fresh)), abs=2e-3)


def test_another_encoder_is_asked_for_the_words():
    class Other:
        name = version = "other"

        def embed(self, phrases):
            return np.full((len(phrases), 2), len(phrases), dtype=np.float32)

    count = len(words_of_concepts()[0])
    assert word_vectors(Other()).shape == (count, 2)


def test_the_version_names_the_pinned_weights():
    assert WEIGHTS.fingerprint in SentenceEncoder.version
