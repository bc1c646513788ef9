"""A tiny random OmDet-Turbo checkpoint of the real class with a real tokenizer, as a user saves it."""

import json
import string

from .tiny_clip import randomise

SIDE, LENGTH = 64, 25


def omdet_tokenizer(transformers):
    """A byte-pair encoding of CLIP's form over letters; as in CLIP, the end of a text has the highest number."""
    letters = ["!", ".", ",", *string.ascii_lowercase, "-"]
    parts = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={part: i for i, part in enumerate(parts)}, merges=[], pad_token="!", model_max_length=LENGTH
    )


def save_tiny_omdet(folder):
    """An ``OmDetTurboForObjectDetection`` that sees 64 px and reads 25 tokens; its backbone is transformers' Swin."""
    import transformers

    tokenizer = omdet_tokenizer(transformers)
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=32, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
    )  # fmt: skip
    config = transformers.OmDetTurboConfig(
        backbone_config=transformers.SwinConfig(
            embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, image_size=SIDE,
            out_indices=[2, 3, 4],
        ),
        text_config=text, apply_layernorm_after_vision_backbone=False, image_size=SIDE, text_projection_in_dim=32,
        text_projection_out_dim=32, class_embed_dim=32, task_encoder_hidden_dim=32, num_queries=20,
        encoder_hidden_dim=16, vision_features_channels=[16, 16, 16], encoder_in_channels=[24, 48, 96],
        encoder_attention_heads=2, encoder_dim_feedforward=32, decoder_hidden_dim=16, decoder_num_heads=2,
        decoder_num_layers=2, decoder_dim_feedforward=32,
    )  # fmt: skip
    # With these weights boxes differ in which phrase they show most.
    randomise(transformers.OmDetTurboForObjectDetection(config), scale=0.15, seed=4).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "DetrImageProcessor", "size": {"height": SIDE, "width": SIDE}, "do_pad": False,
        "do_rescale": False, "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
