"""Tokenizers of checkpoints, read without code of theirs and without the network."""

from __future__ import annotations

from typing import Any

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer in a checkpoint's folder, a ``transformers`` tokenizer.

    ``tokenizer.json`` holds the whole tokenizer, so it is read as it is; only where there is none does the class that
    the checkpoint names have to build one from its vocabulary (which may ask for the package sentencepiece).

    Raises:
        ModelUnavailable: If the folder holds no tokenizer that can be read here.
    """
    import transformers

    assert checkpoint.path is not None
    whole = (checkpoint.path / "tokenizer.json").is_file()
    factory = transformers.PreTrainedTokenizerFast if whole else transformers.AutoTokenizer
    try:
        return factory.from_pretrained(checkpoint.path, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, AttributeError, TypeError) as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its tokenizer cannot be read ({type(error).__name__}); "
            "the folder must hold tokenizer.json, which save_pretrained of a tokenizer writes"
        ) from error
