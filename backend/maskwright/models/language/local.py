"""Language models of the transformers library on this machine; their answers are forced into the schema."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import TemplateError
from PIL import Image
from transformers import CONFIG_MAPPING, AutoConfig, GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

from maskwright.errors import MaskwrightError, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.language.asking import AskingModel, Completion, with_schema_told
from maskwright.models.language.budget import Usage
from maskwright.models.language.guidance import CLOSING_TOKENS, Advancing, Guide, Restricting, Vocabulary
from maskwright.models.language.readers import load_reader
from maskwright.models.protocols import Message
from maskwright.models.transformers_loading import load_pretrained
from maskwright.store.connection import Deadline

if TYPE_CHECKING:
    from maskwright.models.stages import StageDescription

_SHOWN = 200
"""Characters of what a library says."""
_CLOSING_SHARE = 0.8
"""Share of the time after which an answer is being closed."""


class LocalModel(AskingModel):
    """A causal language model, or one that reads pictures too. One answer at a time; other threads wait.

    Args:
        name: Readable.
        version: Name + short hash of everything that changes its answers.
        network: The model in evaluation mode.
        reader: Its tokenizer, or the processor of one that reads pictures.
        device: Where it runs.
        seconds: Longest time for one answer, waiting included.
        max_tokens: From this many tokens on an answer is brought to its end.
    """

    def __init__(
        self,
        name: str,
        version: str,
        network: Any,
        reader: Any,
        device: ComputeDevice,
        *,
        seconds: float = 120.0,
        max_tokens: int = 1024,
    ) -> None:
        super().__init__(name, version, seconds)
        self._network, self._reader, self._device = network, reader, device
        self._tokenizer = getattr(reader, "tokenizer", reader)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    def bound(self, *, seconds: float, max_tokens: int) -> None:
        """Say how long an answer may take, in seconds, and become, in tokens."""
        self._seconds, self._max_tokens = seconds, max_tokens

    @property
    def reads_pictures(self) -> bool:
        """Whether messages may hold pictures."""
        return self._reader is not self._tokenizer

    def _complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, deadline: Deadline
    ) -> Completion:
        if any(message.images for message in messages) and not self.reads_pictures:
            raise ModelUnavailable(f"language model {self.name} reads no pictures; name one that does")
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise TimeoutError
        try:
            return self._generate(with_schema_told(messages, schema), schema, temperature, deadline)
        except MaskwrightError as error:
            raise ModelUnavailable(f"language model {self.name}: {error}") from error
        except torch.OutOfMemoryError as error:
            raise ModelUnavailable(f"language model {self.name}: {self._device.name} has too little memory") from error
        except TimeoutError:
            raise
        except Exception as error:
            # The library's own text may hold paths of this machine, so it stays in the chained exception.
            raise ModelUnavailable(
                f"language model {self.name} failed ({type(error).__name__}); see the server's log"
            ) from error
        finally:
            self._lock.release()

    def _generate(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, deadline: Deadline
    ) -> Completion:
        inputs = self._inputs(messages).to(self._device.torch)
        length = inputs["input_ids"].shape[1]
        most = self._longest() - self._max_tokens - CLOSING_TOKENS
        if length > most:
            raise ModelUnavailable(f"the question has {length} tokens; at most {most} leave room for an answer")
        seconds, now = deadline.remaining(), time.monotonic()
        guide = Guide(
            self._vocabulary,
            schema,
            max_tokens=self._max_tokens,
            close_at=now + seconds * _CLOSING_SHARE,
            end_at=now + seconds,
        )
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        config = GenerationConfig(
            max_new_tokens=self._max_tokens + CLOSING_TOKENS,
            pad_token_id=self._tokenizer.eos_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
            **sampling,
        )
        with self._device.inference():
            self._network.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([Restricting(guide)]),
                stopping_criteria=StoppingCriteriaList([Advancing(guide)]),
            )
        if not guide.is_complete:
            deadline.remaining()  # raises where the time was what ended it
        return Completion(guide.text, Usage(length, guide.count), is_cut_off=not guide.is_complete)

    def _inputs(self, messages: Sequence[Message]) -> Any:
        """Token ids, and pixels where there are pictures, for a batch of one."""
        has_template = bool(getattr(self._reader, "chat_template", None))
        if not has_template:
            text = "\n\n".join([*(message.content for message in messages), "Answer:\n"])
        else:
            try:
                text = self._conversation(messages)
            except TemplateError:  # some, such as Gemma's, know no system
                text = self._conversation(_without_system(messages))
        pictures = [Image.open(io.BytesIO(image)).convert("RGB") for message in messages for image in message.images]
        if pictures:
            return self._reader(text=[text], images=[pictures], return_tensors="pt")
        # A template writes the beginning of the text itself.
        return self._tokenizer([text], return_tensors="pt", add_special_tokens=not has_template)

    def _conversation(self, messages: Sequence[Message]) -> str:
        """Messages in the words of the model's chat template."""
        turns = [
            {
                "role": message.role,
                "content": [*({"type": "image"} for _ in message.images), {"type": "text", "text": message.content}]
                if self.reads_pictures
                else message.content,
            }
            for message in messages
        ]
        # By the tokenizer: processors' own methods do the same, but some ask for their film reader first.
        template = self._reader.chat_template
        template = template["default"] if isinstance(template, dict) else template
        return str(
            self._tokenizer.apply_chat_template(
                turns, chat_template=template, add_generation_prompt=True, tokenize=False
            )
        )

    def _longest(self) -> int:
        config = self._network.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 20)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """A conversation whose first turn says what the system and the user said."""
    system, user, *later = messages
    return [replace(user, content=f"{system.content}\n\n{user.content}"), *later]


def load_local(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> LocalModel:
    """Load a causal language model, or one that reads pictures where its configuration has a vision part.

    Code that comes with a checkpoint is never run.

    Raises:
        ModelUnavailable: If it is another kind of model, or its weights or its tokenizer cannot be used.
    """
    kind = checkpoint.config.get("model_type")
    if checkpoint.path is None or kind not in CONFIG_MAPPING:
        raise ModelUnavailable(f"model {checkpoint.uri}: transformers knows no model_type {kind!r}")
    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    reads_pictures = "vision_config" in checkpoint.config and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    classes = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if reads_pictures else MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in classes:
        raise ModelUnavailable(f"model {checkpoint.uri}: its config.json says {kind!r}, which writes no text")
    try:
        reader = load_reader(checkpoint.path, config, reads_pictures=reads_pictures)
    except ImportError as error:
        needed = " ".join(str(error).split())[:_SHOWN]
        raise ModelUnavailable(f"model {checkpoint.uri}: a package that it needs is missing here: {needed}") from error
    network = load_pretrained(classes[type(config)], checkpoint, device).to(getattr(torch, device.dtype))
    try:
        return LocalModel(description.name, description.version, network, reader, device)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"model {checkpoint.uri}: {error}") from None
