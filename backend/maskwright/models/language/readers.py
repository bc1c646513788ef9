"""Tokenizers and picture processors of language models, from a folder and without code of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import is_torchvision_available


def load_reader(folder: Path, config: Any, *, reads_pictures: bool) -> Any:
    """What turns messages into a model's inputs.

    Args:
        folder: Of the checkpoint.
        config: The model's configuration.
        reads_pictures: Whether pictures are among them.

    Returns:
        A tokenizer, or a processor with ``tokenizer`` and ``image_processor``.

    Raises:
        ImportError: If a package is missing that pictures need; the message names it.
    """
    options = {"local_files_only": True, "trust_remote_code": False}
    if not reads_pictures:
        return AutoTokenizer.from_pretrained(folder, **options)
    try:
        return AutoProcessor.from_pretrained(folder, **options)
    except (ImportError, ValueError):
        if is_torchvision_available():
            raise
        # Many processors read films too, which needs torchvision; pictures do not.
        made = _without_films(PROCESSOR_MAPPING[type(config)])
    settings, _ = made.get_processor_dict(folder, local_files_only=True)
    pictures = AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    parts = {"image_processor": pictures, "tokenizer": tokenizer}
    template = settings.pop("chat_template", None) or tokenizer.chat_template or _old_chat_template(folder)
    arguments = [parts.get(name) for name in made.get_attributes()]
    return made.from_args_and_dict(arguments, settings, chat_template=template)


def _without_films(kind: Any) -> Any:
    """A processor class that takes no video processor."""

    def check(self: Any, name: str, argument: Any) -> Any:
        return None if name == "video_processor" else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def _old_chat_template(folder: Path) -> str | None:
    path = folder / "chat_template.json"
    template = json.loads(path.read_text("utf-8")).get("chat_template") if path.is_file() else None
    return template if isinstance(template, str) else None
