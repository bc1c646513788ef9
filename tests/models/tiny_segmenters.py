"""Tiny random segmenters of the real classes, saved as users' checkpoints are. Stands alone; loaded by path or package.

Each network has at most 130 px of input, widths of 16 to 48, and low-resolution masks of 32 x 32.
"""

import sys


def randomise(model, scale=0.15, seed=0):
    """Weights large enough for answers to depend on every input (transformers starts SAM's encoder near zero)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise * scale + (1.0 if tensor.ndim == 1 and tensor.mean() == 1 else 0.0))
    return model.eval()


def _sam(transformers, hq=False):
    prefix = "SamHQ" if hq else "Sam"
    vision = getattr(transformers, f"{prefix}VisionConfig")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8, mlp_dim=64,
        global_attn_indexes=[1], window_size=4, num_pos_feats=16, output_channels=32, initializer_range=0.02,
    )  # fmt: skip
    prompts = getattr(transformers, f"{prefix}PromptEncoderConfig")(
        hidden_size=32, image_size=64, patch_size=8, mask_input_channels=4
    )
    decoder = getattr(transformers, f"{prefix}MaskDecoderConfig")(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=16, **({"vit_dim": 32} if hq else {})
    )
    config = getattr(transformers, f"{prefix}Config")(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    return getattr(transformers, f"{prefix}Model")(config)


_PYRAMID_DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


def _sam2(transformers):
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, image_size=[128, 128], blocks_per_stage=[1, 2, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[4],
        window_positional_embedding_background_size=[7, 7],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=32,
    )  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}
    return transformers.Sam2Model(
        transformers.Sam2Config(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_PYRAMID_DECODER
        )
    )


def _sam3(transformers):
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 112, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
    )
    prompts = {"hidden_size": 32, "image_size": 112, "patch_size": 14, "mask_input_channels": 4}
    return transformers.Sam3TrackerModel(
        transformers.Sam3TrackerConfig(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_PYRAMID_DECODER
        )
    )


MAKERS = {"sam": _sam, "sam-hq": lambda package: _sam(package, hq=True), "sam2": _sam2, "sam3": _sam3}


def save_tiny_segmenter(scheme, folder):
    """A tiny checkpoint of a scheme of transformers' families."""
    import transformers

    randomise(MAKERS[scheme](transformers)).save_pretrained(folder)
    return folder


VIDEO_CLASSES = {"sam2": "Sam2Video", "sam3": "Sam3TrackerVideo"}


def tiny_video_config(scheme):
    """The configuration of the model of films whose parts are those of the scheme's model of images."""
    import transformers

    image = MAKERS[scheme](transformers).config.to_dict()
    return getattr(transformers, f"{VIDEO_CLASSES[scheme]}Config")(
        **{part: image[part] for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config")},
        memory_attention_hidden_size=32, memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=32, memory_encoder_output_channels=16, mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32, memory_fuser_intermediate_dim=32,
    )  # fmt: skip


def save_tiny_video_segmenter(scheme, folder):
    """A ``Sam2VideoModel`` or ``Sam3TrackerVideoModel``, which is what public checkpoints hold."""
    import transformers

    model = getattr(transformers, f"{VIDEO_CLASSES[scheme]}Model")(tiny_video_config(scheme))
    randomise(model).save_pretrained(folder)
    return folder


def tiny_original_sam():
    """``Sam`` of the package segment_anything, which has to be imported already, in small sizes."""
    import torch

    modeling = sys.modules["segment_anything.modeling"]
    model = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=3, embed_dim=48, img_size=128, mlp_ratio=2, num_heads=3, patch_size=16, qkv_bias=True,
            norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6), use_rel_pos=True,
            global_attn_indexes=[1], window_size=3, out_chans=32,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=8
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3, transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=24,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8),
        ),
        pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
    return randomise(model)
