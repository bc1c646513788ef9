"""Tiny random checkpoints of the detectors' real classes with real tokenizers. Each ``save_...`` returns the folder."""

import string

from .tiny_segmenters import randomise, tiny_video_config

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


def make_clip_tokenizer(transformers, length):
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


def save_tiny_grounding_dino(folder, modern=False):
    """A ``GroundingDinoForObjectDetection``, or an ``MMGroundingDino...``, of 30 queries."""
    import torch
    import transformers
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    torch.manual_seed(0)
    randomise(_grounding_dino(transformers, modern)).save_pretrained(folder)
    bert_tokenizer(transformers).save_pretrained(folder)
    size = {"shortest_edge": SHORT, "longest_edge": LONGEST}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    return folder


def save_tiny_owlv2(folder):
    """An ``Owlv2ForObjectDetection`` over 32 px."""
    import transformers
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    tokenizer = make_clip_tokenizer(transformers, 16)
    randomise(_owlv2(transformers, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def _sam3_concepts(tokenizer):
    # The module itself: transformers hands the class out only where torchvision is there, which phrases never reach.
    from transformers import Sam3Config
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 112, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }  # fmt: skip
    shape = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    return Sam3Model(
        Sam3Config(
            vision_config={
                "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 32,
                "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            },
            text_config={
                "model_type": "clip_text_model", **shape, "num_hidden_layers": 1, "vocab_size": len(tokenizer),
                "max_position_embeddings": 32, "projection_dim": 32, "hidden_act": "gelu",
                "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            },
            geometry_encoder_config={**shape, "num_layers": 1}, detr_encoder_config={**shape, "num_layers": 1},
            detr_decoder_config={**shape, "num_layers": 2, "num_queries": 20},
            mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
        )
    )  # fmt: skip


def save_tiny_sam3_concepts(folder):
    """A ``Sam3Model``: the detector that phrases are put to."""
    import transformers

    tokenizer = make_clip_tokenizer(transformers, 32)
    randomise(_sam3_concepts(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_sam3_video(folder):
    """A ``Sam3VideoModel``, detector and tracker in one, with the names of weights that the public checkpoint has."""
    import transformers
    from safetensors.torch import save_file
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

    tokenizer = make_clip_tokenizer(transformers, 32)
    config = transformers.Sam3VideoConfig(
        detector_config=_sam3_concepts(tokenizer).config.to_dict(),
        tracker_config={"model_type": "sam3_tracker_video"} | tiny_video_config("sam3").to_dict(),
        architectures=["Sam3VideoModel"],
    )
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # ``save_pretrained`` of transformers 5.23 writes the tracker's prefix twice.
    weights = {name: tensor.contiguous() for name, tensor in randomise(Sam3VideoModel(config)).state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
