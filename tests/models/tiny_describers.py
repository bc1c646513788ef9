"""Tiny random checkpoints of the captioning classes with real tokenizers. Each ``save_...`` returns the folder."""

import json

from .tiny_clip import randomise


def _byte_tokenizer(specials, **names):
    """A byte-level BPE of single bytes, as GPT-2's and BART's without what they learnt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _finish(folder, model, tokenizer, processor):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def save_tiny_florence2(folder):
    """A ``Florence2ForConditionalGeneration`` over 64 px with a BART of one layer each way."""
    import transformers

    tokenizer = _byte_tokenizer(
        ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", mask_token="<mask>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.add_tokens(["<od>", "</od>", *(f"<loc_{i}>" for i in range(1000))])
    vision = {
        "depths": [1, 1, 1, 1], "embed_dim": [16, 16, 32, 32], "num_heads": [1, 1, 2, 2], "num_groups": [1, 1, 2, 2],
        "window_size": 4, "projection_dim": 32,
    }  # fmt: skip
    text = {
        "model_type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": len(tokenizer),
        "max_position_embeddings": 1024, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_eos_token_id": 2,
    }  # fmt: skip
    config = transformers.Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    model = randomise(transformers.Florence2ForConditionalGeneration(config), scale=0.3)
    processor = {
        "image_processor_type": "CLIPImageProcessor", "size": {"height": 64, "width": 64}, "do_center_crop": False,
        "crop_size": {"height": 64, "width": 64}, "resample": 3, "image_seq_length": 5,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    return _finish(folder, model, tokenizer, processor)


_BLIP_PROCESSOR = {"image_processor_type": "BlipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}


def save_tiny_blip(folder):
    """A ``BlipForConditionalGeneration`` over 32 px that writes a few words and letters."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "on", "the", "road", "red", "[DEC]"]
    tokens += [letter for letter in letters if letter != "a"] + [f"##{letter}" for letter in letters]
    words = Tokenizer(models.WordPiece(vocab={token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", bos_token="[DEC]",
    )  # fmt: skip
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        **sizes, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "bos_token_id": 12, "pad_token_id": 0,
        "sep_token_id": 3, "eos_token_id": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    config = transformers.BlipConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8})
    return _finish(
        folder, randomise(transformers.BlipForConditionalGeneration(config), scale=0.4), tokenizer, _BLIP_PROCESSOR
    )


def save_tiny_blip2(folder):
    """A ``Blip2ForConditionalGeneration`` over 32 px with an OPT and a Q-Former of one layer."""
    import transformers

    tokenizer = _byte_tokenizer(["<pad>", "</s>", "<image>"], bos_token="</s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": len(tokenizer), "word_embed_proj_dim": 32, "max_position_embeddings": 128, "bos_token_id": 1,
        "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    config = transformers.Blip2Config(
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        qformer_config={**sizes, "encoder_hidden_size": 32, "vocab_size": 50}, text_config=text,
        num_query_tokens=4, image_token_index=2,
    )  # fmt: skip
    return _finish(
        folder, randomise(transformers.Blip2ForConditionalGeneration(config), scale=0.3), tokenizer, _BLIP_PROCESSOR
    )
