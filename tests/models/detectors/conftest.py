"""Tiny checkpoints of the detectors' real classes with real tokenizers, saved as a user's would be."""

import string

import pytest

from maskwright.models.stages import Stages

WORDS = ["cat", "dog", "red", "car", "traffic", "light", "shirt", "person", "tree", "wheel"]
SHORT, LONGEST = 128, 200


def bert_tokenizer(transformers):
    """A WordPiece of BERT's form; the marks that Grounding DINO's code knows by number have those numbers."""
    vocabulary = {f"[unused{i}]": i for i in range(1200)}
    marks = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "-": 1011, ".": 1012, "?": 1029}
    letters = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    numbers = marks | {word: 1100 + i for i, word in enumerate([*letters, *WORDS])}
    taken = set(numbers.values())
    vocabulary = {word: i for word, i in vocabulary.items() if i not in taken} | numbers
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=256)


def clip_tokenizer(transformers, length):
    """A byte-pair encoding of CLIP's form; the end of a text has the highest number, as CLIP's pooling needs it."""
    letters = ["!", *string.ascii_lowercase, "-"]
    parts = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={part: i for i, part in enumerate(parts)}, merges=[], pad_token="!", model_max_length=length
    )


def _grounding_dino(transformers, modern=False, **changes):
    prefix = "MMGroundingDino" if modern else "GroundingDino"
    config = getattr(transformers, f"{prefix}Config")(
        backbone_config=transformers.SwinConfig(
            embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, image_size=64,
            out_indices=[2, 3, 4],
        ),
        text_config=transformers.BertConfig(
            vocab_size=1200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        d_model=64, num_queries=30, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, **changes,
    )  # fmt: skip
    return getattr(transformers, f"{prefix}ForObjectDetection")(config)


def _owlv2(transformers, tokenizer):
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Owlv2Config(
        text_config={
            **shape, "vocab_size": len(tokenizer), "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0,
        },
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )  # fmt: skip
    return transformers.Owlv2ForObjectDetection(config)


@pytest.fixture(scope="session")
def grounding_dino_folders(tmp_path_factory, randomise):
    """Folder of a tiny checkpoint with its processor, by whether it is the MM variant."""
    import torch
    import transformers
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    folders = {}
    for modern in (False, True):
        folder = tmp_path_factory.mktemp("models") / f"tiny-dino-{modern}"
        torch.manual_seed(0)
        randomise(_grounding_dino(transformers, modern)).save_pretrained(folder)
        bert_tokenizer(transformers).save_pretrained(folder)
        size = {"shortest_edge": SHORT, "longest_edge": LONGEST}
        GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
        folders[modern] = folder
    return folders


@pytest.fixture(scope="session")
def owlv2_folder(tmp_path_factory, randomise):
    import transformers
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "tiny-owlv2"
    tokenizer = clip_tokenizer(transformers, 16)
    randomise(_owlv2(transformers, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def stages(settings):
    return Stages(settings)
