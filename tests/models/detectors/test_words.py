"""A tokenizer shared by threads answers as it does alone."""

from concurrent.futures import ThreadPoolExecutor

import transformers

from maskwright.models.detectors.words import Words


def test_threads_that_ask_for_different_lengths_do_not_disturb_each_other(clip_tokenizer):
    words = Words(clip_tokenizer(transformers, 32))
    phrases = ["cat", "red car", "a long phrase of many words"]

    def ask(index):
        if index % 2:
            return words.pieces(phrases)
        return words.padded(phrases, 8 + index % 3)[0].tolist()

    alone = [ask(index) for index in range(60)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(60))) == alone
