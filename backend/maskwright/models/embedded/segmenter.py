"""The embedded segmenter behind the ``Segmenter`` and ``Proposer`` protocols."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.masks import Mask
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.classical_answers import marks_of
from maskwright.models.classical_arrays import scene_arrays
from maskwright.models.classical_logits import clicked_pixels, hold, keep_clicks
from maskwright.models.classical_proposals import propose_regions
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.finishing import SURE
from maskwright.models.embedded.heeding import finish_heeding
from maskwright.models.embedded.inputs import Frame, image_tensor, stack_prompts, working_pixels
from maskwright.models.embedded.network import STARTS, EmbeddedNetwork, Prompts
from maskwright.models.embedded.prepared import STRIDES, PreparedImages
from maskwright.models.embedded.weights import card, read_network
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import RGB, Candidates, ImageEmbedding, Proposals
from maskwright.models.upsample import mask_from_logits
from maskwright.prompts import Prompt

PROMPTS_PER_PASS = 8
"""Prompts of one call of the decoder on a CPU; bounds its memory to about 200 MB, beside 1 MB for every answer."""


BOX_TRUST = 0.7
"""A box alone says so much that the weight-free answer, as logits of this size, is weighed in once more: .745 became
.763 IoU on 270 objects of the three development sets (seed 5)."""


class EmbeddedSegmenter:
    """A ``Segmenter`` and ``Proposer``; any number of threads may share it.

    It keeps the last few images prepared, which changes no answer.

    Args:
        description: Name and versions.
        network: With its weights, on ``device``.
        device: Where it runs.
    """

    def __init__(self, description: ModelDescription, network: EmbeddedNetwork, device: ComputeDevice) -> None:
        self._describe(description)
        self._network = network
        self._device = device
        self._prepared = PreparedImages(device.torch)

    @property
    def network(self) -> EmbeddedNetwork:
        """The network, not to be changed."""
        return self._network

    @property
    def device(self) -> ComputeDevice:
        """Where the network runs."""
        return self._device

    def with_network(self, network: EmbeddedNetwork, description: ModelDescription) -> Self:
        """The same around another network. Prepared images are shared: they hold nothing but embeddings."""
        other = copy.copy(self)
        other._network = network
        other._describe(description)
        return other

    def _describe(self, description: ModelDescription) -> None:
        self.name = description.name
        self.version = description.version
        self.embedding_version = description.embedding_version
        self.embedding_nbytes = description.embedding_nbytes

    def encode(self, images: Sequence[RGB]) -> list[ImageEmbedding]:
        """Encode (H, W, 3) uint8 RGB images of any sizes, one after the other.

        Raises:
            InvalidInput: If an image is empty, not uint8, or not (H, W, 3).
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise InvalidInput(f"an image must be (H, W, 3) uint8 and not empty, got {image.shape} {image.dtype}")
        return [self._encode(image) for image in images]

    def _encode(self, image: RGB) -> ImageEmbedding:
        size = (image.shape[0], image.shape[1])
        frame = Frame.of(size)
        pixels = working_pixels(image, frame)
        # OpenCV and numpy leave the interpreter's lock most of the time, so that the hierarchy costs little beside
        # the network.
        with ThreadPoolExecutor(1) as beside:
            hierarchy = beside.submit(scene_arrays, pixels)
            with self._device.encoder_inference():
                made = self._network.encode(image_tensor(pixels, frame).to(self._device.torch))
            arrays = dict(hierarchy.result())
        for stride in STRIDES:
            array = made[stride][0].clamp(-6e4, 6e4).to("cpu", torch.float16).numpy().copy()
            array.setflags(write=False)
            arrays[f"stride{stride}"] = array
        return ImageEmbedding(arrays, size, frame.size, self.embedding_version)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        """Answer B prompts on one image; K is 3 (the likeliest in the middle) with ``multimask_output``, else 1.

        ``predicted_iou`` is of the network's mask, before it is finished and marks are held.

        Raises:
            InvalidInput: If a prompt holds nothing spatial and no mask_input, or the embedding is another version's.
        """
        self._check(embedding)
        for index, prompt in enumerate(prompts):
            before = prompt.mask_input
            if not prompt.has_spatial and before is None:
                raise InvalidInput(f"prompt {index} points at nothing: give a click, a box, a scribble or a mask_input")
            if before is not None and (before.ndim != 2 or not before.size or not np.isfinite(before).all()):
                raise InvalidInput(f"prompt {index}: mask_input must be (h, w) finite logits, got {before.shape}")
        height, width = embedding.original_size
        scale = (embedding.input_size[1] / width, embedding.input_size[0] / height)
        on_grid = [prompt.scaled(*scale) for prompt in prompts]
        chosen = slice(1, 4) if multimask_output else slice(0, 1)
        logits, scores = self._answer(embedding, on_grid, chosen)
        for row, prompt in enumerate(prompts):
            pixels = clicked_pixels(prompt, embedding.original_size)
            strokes = list(marks_of(on_grid[row], embedding.input_size))[len(prompt.point_labels) :]
            for k in range(logits.shape[1]):
                for stroke in strokes:
                    hold(logits[row, k], stroke.pixels, stroke.positive)
                logits[row, k] = keep_clicks(logits[row, k], pixels, prompt.point_labels, embedding.original_size)
        return Candidates(logits, scores)

    def _answer(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], chosen: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Finished logits (B, K, h, w) and expected IoU (B, K) of B prompts on the working grid.

        ``chosen`` are the masks wanted of single, part, likeliest and whole.
        """
        frame = Frame(embedding.input_size)
        prepared = self._prepared(embedding)
        count = chosen.stop - chosen.start
        logits = np.zeros((len(prompts), count, *frame.size), dtype=np.float32)
        scores = np.zeros((len(prompts), count), dtype=np.float32)
        per_pass = max(PROMPTS_PER_PASS, self._device.prompts_per_pass)
        for start in range(0, len(prompts), per_pass):
            group = prompts[start : start + per_pass]
            with self._device.inference():
                batch = self._moved(stack_prompts(prepared.scene, frame, group))
                found, expected = self._network.decoder(prepared.image, batch)
                inside = np.s_[:, chosen, : frame.half[0], : frame.half[1]]
                coarse, before = (t[inside].to("cpu", torch.float32).numpy() for t in (found, batch.dense[:, STARTS]))
                scores[start : start + len(group)] = expected[:, chosen].sigmoid().to("cpu", torch.float32).numpy()
            for row, prompt in enumerate(group):
                if prompt.box is not None and not len(prompt.point_labels) and prompt.mask_input is None:
                    coarse[row] += BOX_TRUST * before[row]
                clicks = clicked_pixels(prompt, frame.size), prompt.point_labels
                for k in range(count):
                    logits[start + row, k] = finish_heeding(prepared.scene, coarse[row, k], *clicks)
                    if not (logits[start + row, k] > 0).any():
                        # Something was pointed at, so nothing is no answer: what the network corrected away stands.
                        logits[start + row, k] = finish_heeding(prepared.scene, before[row, k] * SURE, *clicks)
        return logits, scores

    def upsample(self, embedding: ImageEmbedding, low_res_logits: NDArray[np.float32]) -> Mask:
        """Turn one (h, w) array of logits into a mask of ``embedding.original_size``, threshold 0."""
        return mask_from_logits(low_res_logits, embedding.original_size)

    def propose(self, embedding: ImageEmbedding) -> Proposals:
        """Candidate objects of the whole image, as the weight-free engine names them; see ``classical_proposals``.

        Boxes of its regions given to the network were tried: 30 times slower, fewer objects found, no better order.

        Raises:
            InvalidInput: If the embedding is another version's.
        """
        self._check(embedding)
        return propose_regions(self._prepared(embedding).scene, embedding.original_size)

    def _check(self, embedding: ImageEmbedding) -> None:
        if embedding.model_version != self.embedding_version:
            raise InvalidInput(
                f"the image embedding was made by {embedding.model_version}, this is {self.embedding_version}: "
                "encode the image again"
            )

    def _moved(self, batch: Prompts) -> Prompts:
        device = self._device.torch
        return Prompts(
            batch.dense.to(device).contiguous(memory_format=torch.channels_last),
            batch.points.to(device),
            batch.kinds.to(device),
            batch.scores.to(device),
            batch.size,
        )


def load_embedded(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> EmbeddedSegmenter:
    """Load the packaged weights of a variant, or those of a file.

    Raises:
        ModelUnavailable: If they are missing, damaged, or not those of their card.
    """
    if checkpoint.path is None:
        raise ModelUnavailable(f"model {checkpoint.uri}: its weights are not on this machine")
    sha256 = None if checkpoint.uri.location else str(card(checkpoint.uri.scheme)["sha256"])
    network = read_network(checkpoint.path, sha256).to(device.torch)
    return EmbeddedSegmenter(description, network, device)
