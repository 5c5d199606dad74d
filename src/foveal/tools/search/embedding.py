"""Sentence embeddings of BERT models such as all-MiniLM-L6-v2, computed in numpy: a search needs no torch.

Read as sentence-transformers saves them: `config.json`, `model.safetensors`, `tokenizer.json`, and, if they are there,
`1_Pooling/config.json` (mean by default, or the first token) and `sentence_bert_config.json` (length). Other
architectures, other ways of pooling and further layers (`modules.json`) are refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, MissingDependency

Array = npt.NDArray[np.float32]

BATCH = 32
"""Texts at a time; those of similar length together."""
MAX_TOKENS = 256
"""Longer texts are cut, unless the model says otherwise."""

_TYPES: Mapping[str, npt.DTypeLike] = {"F32": "<f4", "F16": "<f2"}


class Embedder:
    """A model that turns texts into vectors of length 1: the nearer, the more alike in meaning.

    Args:
        folder: Of the model.

    Raises:
        InputError: It holds no such model.
        MissingDependency: tokenizers is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependency("search by meaning needs tokenizers", "pip install 'foveal[dense]'") from error
        try:
            config = json.loads((folder / "config.json").read_bytes())
            if config["model_type"] != "bert" or config.get("hidden_act", "gelu") != "gelu":
                raise ValueError(f"model_type is {config['model_type']}, not bert with gelu")
            self.size = int(config["hidden_size"])
            self._layers, self._heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
            self._eps = float(config.get("layer_norm_eps", 1e-12))
            self._first_token = _first_token(folder)
            longest = int(_optional(folder / "sentence_bert_config.json").get("max_seq_length") or MAX_TOKENS)
            raw = (folder / "model.safetensors").read_bytes()
            self._weights = _read_weights(raw)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._tokenizer.enable_truncation(min(longest, int(config["max_position_embeddings"])))
            self._tokenizer.no_padding()
            self.name = f"{folder.resolve().name} {hashlib.sha256(raw).hexdigest()[:12]}"
            """Of the folder and the weights: vectors of different models do not go together."""
            self.embed([""])
        except Exception as error:  # tokenizers raises Exception itself
            raise InputError(
                f"{folder} holds no sentence-embedding model that can be read: {type(error).__name__}: {error}",
                "name a folder with config.json, model.safetensors and tokenizer.json of a BERT model",
            ) from error

    def embed(self, texts: Sequence[str]) -> Array:
        """The vectors of some texts: shape (texts, size)."""
        encoded = self._tokenizer.encode_batch(list(texts))
        lengths = np.array([len(one.ids) for one in encoded], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        out = np.empty((len(texts), self.size), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ids = np.zeros((len(chosen), int(lengths[chosen].max())), dtype=np.int64)
            mask = np.arange(ids.shape[1]) < lengths[chosen, None]
            for row, number in enumerate(chosen):
                ids[row, : lengths[number]] = encoded[number].ids
            out[chosen] = self._pooled(self._hidden(ids, mask), mask)
        return out

    def _hidden(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> Array:
        """The states of the last layer: shape (texts, tokens, size)."""
        weights = self._weights
        state: Array = weights["embeddings.word_embeddings.weight"][ids]
        state = state + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        state = self._norm(state + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        bias = np.where(mask, 0.0, -1e9).astype(np.float32)[:, None, None, :]
        for number in range(self._layers):
            layer = f"encoder.layer.{number}."
            query, key, value = (
                self._split(state, f"{layer}attention.self.{name}") for name in ("query", "key", "value")
            )
            scores = query @ key.swapaxes(-1, -2) / math.sqrt(self.size // self._heads) + bias
            shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
            seen = (shares / shares.sum(axis=-1, keepdims=True)) @ value
            seen = seen.swapaxes(1, 2).reshape(state.shape)
            seen = self._linear(seen, f"{layer}attention.output.dense")
            state = self._norm(state + seen, f"{layer}attention.output.LayerNorm")
            inner = _gelu(self._linear(state, f"{layer}intermediate.dense"))
            state = self._norm(state + self._linear(inner, f"{layer}output.dense"), f"{layer}output.LayerNorm")
        return state

    def _pooled(self, state: Array, mask: npt.NDArray[np.bool_]) -> Array:
        if self._first_token:
            pooled = state[:, 0]
        else:
            share = mask.astype(np.float32)[:, :, None]
            pooled = (state * share).sum(axis=1) / share.sum(axis=1)
        unit: Array = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return unit

    def _split(self, state: Array, name: str) -> Array:
        """Shape (texts, heads, tokens, size of a head)."""
        texts, tokens, size = state.shape
        heads = self._linear(state, name).reshape(texts, tokens, self._heads, size // self._heads)
        return heads.swapaxes(1, 2)

    def _linear(self, state: Array, name: str) -> Array:
        out: Array = state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return out

    def _norm(self, state: Array, name: str) -> Array:
        centred = state - state.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._eps)
        out: Array = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return out


def _gelu(x: Array) -> Array:
    """The x times the share of a normal distribution below it; erf by Abramowitz and Stegun 7.1.26, to 2e-7."""
    z = np.abs(x) / np.float32(math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    out: Array = np.multiply(x, (1 + erf) / 2, dtype=np.float32)
    return out


def _read_weights(raw: bytes) -> Mapping[str, Array]:
    """The tensors of a safetensors file by name, as float32, without the prefix of the whole model."""
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    weights = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] in _TYPES:
            start, end = about["data_offsets"]
            flat: npt.NDArray[Any] = np.frombuffer(raw[8 + length + start : 8 + length + end], _TYPES[about["dtype"]])
            weights[name.removeprefix("bert.")] = flat.reshape(about["shape"]).astype(np.float32)
    return weights


def _first_token(folder: Path) -> bool:
    """Whether the first token stands for the text; else it is the mean of all.

    Raises:
        ValueError: It is something else, or more is done.
    """
    modules = json.loads(path.read_bytes()) if (path := folder / "modules.json").is_file() else []
    if more := {module["type"].rpartition(".")[2] for module in modules} - {"Transformer", "Pooling", "Normalize"}:
        raise ValueError(f"it has further layers: {', '.join(sorted(more))}")
    pooling = _optional(folder / "1_Pooling/config.json")
    modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
    if modes not in ([], ["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise ValueError(f"it pools by {' and '.join(modes)}, not by the mean or the first token")
    return modes == ["pooling_mode_cls_token"]


def _optional(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}
