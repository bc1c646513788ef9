"""Tiny random checkpoints of the CLIP and SigLIP classes with real tokenizers, as users save them.

Each ``save_...(folder)`` returns the folder. Images are 32 px square in patches of 8 (SigLIP 2: at most 16 patches of
8), widths 32, texts at most 77 tokens (CLIP) or 64 (SigLIP). Import with ``importlib`` (tests are no package).
"""

import json
from pathlib import Path

WORDS = "a photo of the cat dog person car road sky tree building street light grass water table chair in on and with"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def randomise(model, scale=0.15, seed=0):
    """Weights large enough for answers to depend on every input; the two numbers that scale logits stay plausible."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("logit_scale"):
                tensor.fill_(2.0)
            elif name.endswith("logit_bias"):
                tensor.fill_(-3.0)
            else:
                norm = "norm" in name and name.endswith("weight")
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale + (1.0 if norm else 0.0))
    return model.eval()


def clip_tokenizer():
    """The real CLIP tokenizer class over a vocabulary of letters and a few learnt words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    learnt = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learnt.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = [*pre_tokenizers.ByteLevel.alphabet()]
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learnt.train_from_iterator([WORDS] * 3, trainer)
    model = json.loads(learnt.to_str())["model"]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in sorted(alphabet)), *model["vocab"]]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in model["merges"]], model_max_length=77)


def siglip_tokenizer(end="</s>", pad="</s>"):
    """A unigram tokenizer that ends each text in an end token: SigLIP's by default, or Gemma's, as SigLIP 2's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), (end, 0.0), ("<unk>", -20.0)]
    pieces += [(f"▁{word}", -3.0) for word in WORDS.split() if len(word) > 1]
    pieces += [(letter, -8.0) for letter in [*LETTERS, "▁", ".", ",", "-", "'"]]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token="<unk>", model_max_length=64
    )


def save_tiny_clip(folder):
    """A ``CLIPModel`` with 4x4 patches, 2 layers and a joint space of 16."""
    import transformers

    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**sizes, **ids, "pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer), "projection_dim": 16}
    vision = {**sizes, "image_size": 32, "patch_size": 8, "projection_dim": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    return _save(
        folder,
        randomise(transformers.CLIPModel(config)),
        tokenizer,
        {
            "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 32},
            "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "resample": 3, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD,
            "do_convert_rgb": True,
        },
    )  # fmt: skip


def save_tiny_metaclip2(folder):
    """A ``MetaClip2Model`` with 2x2 patches, 2 layers and a joint space of 16."""
    import transformers

    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 1}
    config = transformers.MetaClip2Config(
        text_config={**sizes, **ids, "vocab_size": len(tokenizer), "projection_dim": 16},
        vision_config={**sizes, "image_size": 32, "patch_size": 16, "projection_dim": 16},
        projection_dim=16,
    )
    model = randomise(transformers.MetaClip2Model(config))
    return _save(folder, model, tokenizer, {"image_mean": MEAN, "image_std": STD})


def _siglip_parts(tokenizer):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1}
    return {**sizes, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 64}, sizes


def save_tiny_siglip(folder):
    """A ``SiglipModel`` with 4x4 patches and 2 layers; its joint space is as wide as its layers (32)."""
    import transformers

    tokenizer = siglip_tokenizer()
    text, sizes = _siglip_parts(tokenizer)
    config = transformers.SiglipConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8})
    return _save(
        folder,
        randomise(transformers.SiglipModel(config)),
        tokenizer,
        {
            "image_processor_type": "SiglipImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32},
            "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True,
        },
    )  # fmt: skip


def save_tiny_siglip2(folder):
    """A ``Siglip2Model`` (any aspect ratio, at most 16 patches) with 2 layers."""
    import transformers

    tokenizer = siglip_tokenizer("<eos>", "<pad>")
    text, sizes = _siglip_parts(tokenizer)
    config = transformers.Siglip2Config(text_config=text, vision_config={**sizes, "num_patches": 16, "patch_size": 8})
    return _save(
        folder,
        randomise(transformers.Siglip2Model(config)),
        tokenizer,
        {
            "image_processor_type": "Siglip2ImageProcessor", "do_resize": True, "patch_size": 8, "max_num_patches": 16,
            "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True,
        },
    )  # fmt: skip


def _save(folder, model, tokenizer, processor):
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
