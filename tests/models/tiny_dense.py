"""Tiny random checkpoints of networks that see without words, and of Stable Diffusion, as users save them."""

import json

from .tiny_clip import clip_tokenizer, randomise

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _makers(transformers):
    return {
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES, image_size=56, patch_size=14)),
        "registers": lambda: transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**SIZES, image_size=56, patch_size=14, num_register_tokens=4)
        ),
        "dinov3": lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**SIZES, image_size=64, patch_size=16, num_register_tokens=4)
        ),
        "dino": lambda: transformers.ViTModel(
            transformers.ViTConfig(**SIZES, image_size=64, patch_size=16), add_pooling_layer=False
        ),
    }


def save_tiny_dino(folder, name):
    """A DINO of 2 layers and widths of 32: ``dinov2``, with ``registers``, ``dinov3`` or the first, ``dino``."""
    import transformers

    randomise(_makers(transformers)[name]()).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"resample": 3}))
    return folder


def save_tiny_diffusion(folder):
    """A Stable Diffusion in diffusers' layout; needs diffusers."""
    import diffusers
    import transformers

    tokenizer = clip_tokenizer()
    network = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32, attention_head_dim=8,
    )  # fmt: skip
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=8,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    randomise(network).save_pretrained(folder / "unet")
    randomise(autoencoder).save_pretrained(folder / "vae")
    randomise(text).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"} | classes))
    return folder
