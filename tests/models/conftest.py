"""Small random networks of the real classes, saved as a user's checkpoints would be."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def picture():
    """A function of (height, width, seed): smooth random RGB with texture."""

    def make(height, width, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 4, 3)).astype(np.float64)
        rows, columns = np.linspace(0, 3, height).astype(int), np.linspace(0, 3, width).astype(int)
        noise = rng.integers(-30, 31, (height, width, 3))
        return np.clip(coarse[rows][:, columns] + noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", device="cpu", cpu_threads=1, offline=True, _env_file=None)


@pytest.fixture
def registry(settings):
    return ModelRegistry(settings)


@pytest.fixture(scope="session")
def randomise():
    """Weights large enough for answers to depend on every input (transformers starts SAM's encoder near zero)."""
    import torch

    def run(model, scale=0.15, seed=0):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in model.parameters():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(noise * scale + (1.0 if tensor.ndim == 1 and tensor.mean() == 1 else 0.0))
        return model.eval()

    return run


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


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory, randomise):
    """Folder of a tiny checkpoint per scheme of the transformers families."""
    import transformers

    folders = {}
    makers = {
        "sam": _sam,
        "sam-hq": lambda package: _sam(package, hq=True),
        "sam2": _sam2,
        "sam3": _sam3,
    }
    for scheme, make in makers.items():
        folders[scheme] = tmp_path_factory.mktemp("models") / f"tiny-{scheme}"
        randomise(make(transformers)).save_pretrained(folders[scheme])
    return folders


@pytest.fixture(scope="session")
def segment_anything():
    """The original package, its torchvision imports met by the stand-in where torchvision is absent."""
    spec = importlib.util.spec_from_file_location("torchvision_stand_in", TESTS / "torchvision_stand_in.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    try:
        stand_in.install()
    except ImportError:
        pytest.skip("the segment-anything package is not installed")
    return sys.modules["segment_anything"]


@pytest.fixture(scope="session")
def original_sam(segment_anything, randomise, tmp_path_factory):
    """(Sam of the package with small sizes, path of its checkpoint)."""
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
    randomise(model)
    path = tmp_path_factory.mktemp("checkpoints") / "sam_small.pth"
    torch.save(model.state_dict(), path)
    return model, path
