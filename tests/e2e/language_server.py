"""A server of the OpenAI protocol around a tiny random language model, as a program of its own.

``python language_server.py FOLDER`` writes the model into the folder as GGUF, prints the server's address (llama.cpp's,
by the package xllamacpp) and serves until it is ended. Its answers follow a JSON schema where one is asked for; without
one it writes nonsense, since nothing was ever taught to it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import gguf
import numpy as np

CONTEXT, WIDTH, HEADS, LAYERS, INNER = 16384, 64, 4, 2, 128
LEANINGS = {'"': 1.5, "}": 1.5, "{": 1.0, "]": 0.6}
"""Characters that it likes: lists get an entry and texts end, where random weights alone would go on for ever."""


def byte_characters() -> list[str]:
    """The character that stands for each byte in vocabularies of GPT-2's kind."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


def write_model(path: Path, seed: int = 0) -> Path:
    """A Llama of about 120,000 random weights that reads and writes single bytes."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int, scale: float | None = None) -> np.ndarray:
        return (rng.standard_normal(shape) * (scale or shape[-1] ** -0.5)).astype(np.float32)

    tokens = [*byte_characters(), "he", "<s>", "</s>"]  # a merge is asked for by the format
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2
    embeddings, output = weights(len(tokens), WIDTH, scale=1.0), weights(len(tokens), WIDTH)
    embeddings[:, 0] = 8  # the same for all tokens, so that it reaches the output whatever was read
    for character, liking in LEANINGS.items():
        output[tokens.index(character), 0] += liking

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("</s>"))
    writer.add_add_bos_token(False)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    for block in range(LAYERS):
        shapes = {
            **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH)),
            **dict.fromkeys(("ffn_gate", "ffn_up"), (INNER, WIDTH)),
            "ffn_down": (WIDTH, INNER),
        }
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{block}.{name}.weight", weights(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def main(folder: Path) -> None:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(write_model(folder / "tiny.gguf"))
    parameters.model_alias = {"tiny"}
    parameters.port = 0
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
