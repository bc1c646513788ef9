"""Tiny random models that read pictures, one for each form of processor, laid out as on the hub.

Each ``save_...`` returns the folder. ``TOKENS`` says how many tokens a square picture of 56 px becomes.
"""

import json

from .tiny_language import CHAT, train_tokenizer
from .tiny_segmenters import randomise

SHAPE = {"hidden_size": 32, "intermediate_size": 64}
WRITER = {
    **SHAPE, "vocab_size": 400, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
TOKENS = {"qwen3-vl": 4, "internvl": 4, "smolvlm": 4, "paligemma": 4}


def tokenizer_with(image, **marks):
    """A tokenizer that knows further marks; its chat template writes ``image`` where a picture is."""
    import transformers

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer().backend_tokenizer, eos_token="<|end|>", pad_token="<|end|>",
        extra_special_tokens=marks, chat_template=CHAT.replace("<image>", image),
    )  # fmt: skip


def _save(folder, network, tokenizer, pictures, **processor):
    randomise(network).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def save_tiny_qwen3_vl(folder):
    """A ``Qwen3VLForConditionalGeneration``: patches of 14 px, four of which become a token."""
    import transformers

    marks = {
        "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }  # fmt: skip
    tokenizer = tokenizer_with("<|vision_start|><|image_pad|><|vision_end|>", **marks)
    numbers = {f"{name}_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "mrope_interleaved": True, "rope_theta": 1e6}
    config = transformers.Qwen3VLConfig(
        text_config={**WRITER, "head_dim": 8, "rope_parameters": rope},
        vision_config={
            **SHAPE, "depth": 2, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14, "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **numbers,
    )  # fmt: skip
    return _save(
        folder, transformers.Qwen3VLForConditionalGeneration(config), tokenizer,
        {
            "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor",
            "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3, "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56},
        },
        processor_class="Qwen3VLProcessor",
    )  # fmt: skip


def save_tiny_internvl(folder):
    """An ``InternVLForConditionalGeneration``: pictures of 56 px, 4 x 4 patches, four of which become a token."""
    import transformers

    marks = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }  # fmt: skip
    tokenizer = tokenizer_with("<IMG_CONTEXT>", **marks)
    config = transformers.InternVLConfig(
        text_config=transformers.Qwen2Config(**WRITER),
        vision_config={
            **SHAPE, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": [56, 56], "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4,
    )  # fmt: skip
    return _save(
        folder, transformers.InternVLForConditionalGeneration(config), tokenizer,
        {
            "image_processor_type": "GotOcr2ImageProcessorFast", "processor_class": "InternVLProcessor",
            "crop_to_patches": False, "min_patches": 1, "max_patches": 12, "size": {"height": 56, "width": 56},
        },
        processor_class="InternVLProcessor", image_seq_length=4,
    )  # fmt: skip


def save_tiny_smolvlm(folder):
    """A ``SmolVLMForConditionalGeneration``: pictures of 28 px, 4 x 4 patches, four of which become a token."""
    import transformers

    marks = {
        "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>", "video_token": "<video>",
    }  # fmt: skip
    tokenizer = tokenizer_with("<image>", **marks)
    config = transformers.SmolVLMConfig(
        text_config=transformers.LlamaConfig(**WRITER, pad_token_id=0),
        vision_config={**SHAPE, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 7},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2,
    )  # fmt: skip
    return _save(
        folder, transformers.SmolVLMForConditionalGeneration(config), tokenizer,
        {
            "image_processor_type": "SmolVLMImageProcessor", "processor_class": "SmolVLMProcessor",
            "do_image_splitting": False, "size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28},
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
        processor_class="SmolVLMProcessor", image_seq_len=4,
    )  # fmt: skip


def save_tiny_paligemma(folder):
    """A ``PaliGemmaForConditionalGeneration``: 28 px in 2 x 2 patches; like the public ones without a template."""
    import transformers

    tokenizer = tokenizer_with("<image>", image_token="<image>")
    tokenizer.chat_template, tokenizer.bos_token = None, "<|system|>"
    config = transformers.PaliGemmaConfig(
        text_config={**WRITER, "model_type": "gemma", "head_dim": 8, "pad_token_id": 0},
        vision_config={
            **SHAPE, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
            "projection_dim": 32,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), projection_dim=32,
    )  # fmt: skip
    return _save(
        folder, transformers.PaliGemmaForConditionalGeneration(config), tokenizer,
        {
            "image_processor_type": "SiglipImageProcessor", "processor_class": "PaliGemmaProcessor",
            "image_seq_length": 4, "size": {"height": 28, "width": 28}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
        processor_class="PaliGemmaProcessor",
    )  # fmt: skip
