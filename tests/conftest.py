"""A tiny Qwen2.5-VL checkpoint with random weights and a byte-level tokenizer (no download, real classes), pictures and
messages, and a loopback endpoint that speaks the OpenAI protocol."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from foveal.asking import Asked
from foveal.config import Limits
from foveal.protocol import FOVEAL
from foveal.reward.score import scorer
from foveal.reward.settings import RewardSettings
from foveal.tools.session import Tools
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart

settings.register_profile("foveal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foveal")  # a busy machine is no failure

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
MERGES = [("<", "/"), (">", "Ċ"), ("t", "h"), ("th", "e"), ("o", "d"), ("c", "od"), ("cod", "e"), ("Ċ", "Ċ")]


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    backend = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in SPECIAL if token not in ("<|im_end|>", "<|endoftext|>")],
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as `save_pretrained` leaves it: weights, tokenizer, preprocessor_config.json."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    tokenizer = _tokenizer()
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        "initializer_range": 0.15,  # wide enough that greedy choices have margins
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.15,
    }
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def policy(tiny_checkpoint):
    from foveal.policy.transformers import TransformersPolicy

    return TransformersPolicy(tiny_checkpoint, device="cpu")


@pytest.fixture
def store() -> ImageStore:
    return ImageStore()


@pytest.fixture
def picture(store):
    """A noise picture of a size and a seed, put into the store."""

    def make(width: int, height: int, seed: int = 0):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return store.put(Image.fromarray(pixels))

    return make


@pytest.fixture
def message():
    """A message of texts and pictures."""

    def make(role: str, *parts):
        wrapped = [TextPart(text=part) if isinstance(part, str) else ImagePart(image=part) for part in parts]
        return Message(role=role, parts=tuple(wrapped))

    return make


@pytest.fixture
def asked():
    """Somebody who is asked, one at a time or several."""

    def make(policy, concurrency: int = 3, seed: int = 0, ledger=None, tools=None, temperature: float = 1.0):
        return Asked(
            policy=policy,
            tools=tools or Tools(),
            profile=FOVEAL,
            limits=Limits(max_turns=4),
            temperature=temperature,
            concurrency=concurrency,
            seed=seed,
            score=scorer(RewardSettings()),
            ledger=ledger,
        )

    return make


class Endpoint:
    """An OpenAI-compatible server on this machine, on a thread. It gives its replies in order, and then HTTP 400.

    Args:
        replies: Each the text of a turn, an HTTP status, or a number of seconds to sleep before hanging up.
        models: What it says it serves.
        key: What it asks for.
        for_good: Give the last reply again and again, instead of HTTP 400.

    Attributes:
        url: Its base URL.
        requests: Bodies of the chat requests, in order.
        keys: The Authorization headers, in order.
    """

    def __init__(
        self,
        replies: Sequence[str | int | float],
        models: Sequence[str] = ("tiny-vlm",),
        key: str | None = None,
        for_good: bool = False,
    ):
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def _reply(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _allowed(self) -> bool:
                endpoint.keys.append(self.headers["Authorization"])
                if key is None or self.headers["Authorization"] == f"Bearer {key}":
                    return True
                self._reply(401, {"error": {"message": "no such key"}})
                return False

            def do_GET(self) -> None:
                if self._allowed():
                    known = self.path == "/v1/models"
                    self._reply(200 if known else 404, {"data": [{"id": name} for name in models]} if known else {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self._allowed():
                    return
                endpoint.requests.append(body)
                number = len(endpoint.requests)
                if number > len(replies) and not for_good:
                    self._reply(400, {"error": {"message": "the script has ended"}})
                    return
                reply = replies[min(number, len(replies)) - 1]
                if isinstance(reply, float):
                    time.sleep(reply)
                    self.close_connection = True
                elif isinstance(reply, int):
                    self._reply(reply, {"error": {"message": "not today"}})
                else:
                    for stop in body.get("stop") or ():  # plain endpoints cut the stop string off
                        reply = reply.partition(stop)[0]
                    choice = {"index": 0, "message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}
                    usage = {"prompt_tokens": 500, "completion_tokens": 40}
                    self._reply(200, {"choices": [choice], "usage": usage})

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """From now on nothing listens at its address."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A base URL where nothing listens: its port is taken, so that nobody else comes to listen there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Starts endpoints: `endpoint(replies, models=..., key=..., for_good=...)`."""
    started: list[Endpoint] = []

    def start(*args: Any, **settings: Any) -> Endpoint:
        started.append(Endpoint(*args, **settings))
        return started[-1]

    yield start
    for server in started:
        server.close()
