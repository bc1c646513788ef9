"""Tiny language models of the real classes with real tokenizers, as a user's would be; a server that misbehaves."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CORPUS = [
    'Which classes does the picture show? {"labels": [{"name": "person", "evidence": ["man"], "implied": false}]}',
    "system user assistant answer with one JSON object and nothing else a picture of a dog and a cat on the road",
]
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ ' <image> ' if part.type == 'image' else part.text }}{% endfor %}{% endif %}<|end|>"
    "{% endfor %}<|assistant|>"
)


def train_tokenizer(chat_template=CHAT):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>",
        extra_special_tokens={"image_token": "<image>"}, chat_template=chat_template,
    )  # fmt: skip


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory, randomise):
    """Folder of a Qwen2 of random weights; its table of 400 rows is longer than its vocabulary, as is usual."""
    import transformers

    folder = tmp_path_factory.mktemp("language") / "tiny-qwen2"
    config = transformers.Qwen2Config(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    randomise(transformers.Qwen2ForCausalLM(config)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture_language_folder(tmp_path_factory, randomise):
    """Folder of a LLaVA of random weights that reads pictures of 28 pixels."""
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("language") / "tiny-llava"
    tokenizer = train_tokenizer()
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28,
            patch_size=14,
        ),
        text_config=transformers.Qwen2Config(
            vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=False,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    randomise(transformers.LlavaForConditionalGeneration(config)).save_pretrained(folder)
    pixels = CLIPImageProcessorPil(size={"height": 28, "width": 28}, crop_size={"height": 28, "width": 28})
    transformers.LlavaProcessor(
        pixels, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def film_language_folder(tmp_path_factory, randomise):
    """Folder of a Qwen2.5-VL of random weights, laid out as on the hub; its processor would like torchvision."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    folder = tmp_path_factory.mktemp("language") / "tiny-qwen2.5-vl"
    tokenizer = train_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "bos_token_id": None, "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=image, video_token_id=398, vision_start_token_id=397, vision_end_token_id=396,
    )  # fmt: skip
    randomise(transformers.Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    names = {"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return folder


class ScriptedServer:
    """Answers requests with what a test put into ``script``, the last entry for ever; keeps what it was asked."""

    def __init__(self):
        self.script, self.requests, self.headers = [], [], []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                outer.headers.append(dict(self.headers))
                step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client had enough
                    step(self, outer)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    # What a server may do with a request.

    @staticmethod
    def reply(status, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        def step(handler, server):
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(data)

        return step

    @classmethod
    def says(cls, text, finish="stop", usage=None, refusal=None):
        content = text if isinstance(text, str) or text is None else json.dumps(text)
        message = {"role": "assistant", "content": content, "refusal": refusal}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        return cls.reply(200, {**body, "usage": usage} if usage else body)

    @staticmethod
    def hangs(handler, server):
        server.closing.wait(30)

    @staticmethod
    def drips(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not server.closing.wait(0.05):
            handler.wfile.write(b" ")

    @staticmethod
    def drips_headers(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.closing.wait(0.05):
            handler.wfile.write(b"x")

    @staticmethod
    def breaks_off(handler, server):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [')

    @staticmethod
    def floods(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            handler.wfile.write(b"x" * 65536)

    @classmethod
    def unless(cls, is_taken, refusal, then):
        """Refuse with 400 and these words what a function of the request's body does not take."""

        def step(handler, server):
            body = server.requests[-1]
            chosen = then if is_taken(body) else cls.reply(400, {"error": {"message": refusal}})
            chosen(handler, server)

        return step


@pytest.fixture
def server():
    made = ScriptedServer()
    yield made
    made.close()
