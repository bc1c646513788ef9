"""Tiny random language models of the real classes with real tokenizers. Each ``save_...`` returns the folder."""

import json

from .tiny_segmenters import randomise

CORPUS = [
    'Which classes does the picture show? {"labels": [{"name": "person", "evidence": ["man"], "implied": false}]}',
    "system user assistant answer with one JSON object and nothing else a picture of a dog and a cat on the road",
]
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ ' <image> ' if part.type == 'image' else part.text }}{% endfor %}{% endif %}<|end|>"
    "{% endfor %}<|assistant|>"
)


def train_tokenizer(chat_template=CHAT):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>",
        extra_special_tokens={"image_token": "<image>"}, chat_template=chat_template,
    )  # fmt: skip


def save_tiny_qwen2(folder):
    """A Qwen2 of random weights; its table of 400 rows is longer than its vocabulary, as is usual."""
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    randomise(transformers.Qwen2ForCausalLM(config)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    return folder


def save_tiny_llava(folder):
    """A LLaVA of random weights that reads pictures of 28 pixels."""
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = train_tokenizer()
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28,
            patch_size=14,
        ),
        text_config=transformers.Qwen2Config(
            vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=False,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    randomise(transformers.LlavaForConditionalGeneration(config)).save_pretrained(folder)
    pixels = CLIPImageProcessorPil(size={"height": 28, "width": 28}, crop_size={"height": 28, "width": 28})
    transformers.LlavaProcessor(
        pixels, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_tiny_qwen2_5_vl(folder):
    """A Qwen2.5-VL of random weights, laid out as on the hub; its processor would like torchvision."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = train_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "bos_token_id": None, "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=image, video_token_id=398, vision_start_token_id=397, vision_end_token_id=396,
    )  # fmt: skip
    randomise(transformers.Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    names = {"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return folder
