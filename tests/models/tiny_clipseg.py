"""A tiny random CLIPSeg checkpoint of the real class with a real tokenizer, as a user saves it."""

import json

from .tiny_clip import clip_tokenizer, randomise

SIDE, DRAWN = 48, 24


def save_tiny_clipseg(folder):
    """A ``CLIPSegForImageSegmentation`` that sees 48 px in patches of 8 and draws maps of 24."""
    import transformers

    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPSegConfig(
        text_config={
            **sizes, **ids, "num_hidden_layers": 2, "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**sizes, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8},
        projection_dim=16, extract_layers=[1, 2, 3], reduce_dim=16, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, use_complex_transposed_convolution=True,
    )  # fmt: skip
    randomise(transformers.CLIPSegForImageSegmentation(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "feature_extractor_type": "ViTFeatureExtractor", "size": SIDE, "resample": 2, "do_resize": True,
        "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
