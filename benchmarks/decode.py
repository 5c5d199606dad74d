"""Measures the decode engine against `model.generate` on the same multi-turn load, in turns, in one run.

    python benchmarks/decode.py [-n CONVERSATIONS] [--slots SLOTS] [--rounds ROUNDS] [--json FILE]

The load: conversations about a picture each, of two to four turns; the length of every turn is drawn from a log-normal
distribution (median 24 tokens, p99 about 6 times that) and is the same on both sides, as are the observations between
the turns, every second of which shows a picture. End tokens are never sampled, so that the lengths hold. The model
is the shipped one.

* engine: all conversations at once, as the agent runs them.
* generate: batches of as many conversations as the engine has slots, left-padded, turn by turn; a batch goes on
  when its longest turn is written. Each turn begins anew from all ids and pictures, as trainers do it that call
  `generate`; within the turn, transformers caches. The model is as transformers loads it.

Both sample at temperature 1. Keys of the JSON file: `decode_vs_generate` (ratio of the medians of tokens per second),
`engine_tokens_per_second`, `generate_tokens_per_second`, `tokens` (that every round writes), `rounds`.
"""

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, StoppingCriteria

from foveal.config import Sampling
from foveal.micro import checkpoint_folder
from foveal.policy.encoding import ChatEncoder, Patches
from foveal.policy.transformers import TransformersPolicy, load_model
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart


class Script(NamedTuple):
    """What a conversation is told, and how much it writes."""

    messages: list[Message]
    lengths: list[int]


class Lengths(StoppingCriteria):
    """Each row ends after a number of tokens of its own."""

    def __init__(self, prompt: int, lengths: list[int]):
        self.ends = prompt + torch.tensor(lengths)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """(rows,) bool: which are done."""
        return input_ids.shape[1] >= self.ends


def scripts(count: int, store: ImageStore, seed: int) -> list[Script]:
    """The load."""
    rng = random.Random(seed)

    def picture(width: int, height: int) -> ImagePart:
        pixels = np.frombuffer(rng.randbytes(width * height * 3), dtype=np.uint8).reshape(height, width, 3)
        return ImagePart(image=store.put(Image.fromarray(pixels)))

    def words(count: int) -> TextPart:
        return TextPart(text=" ".join(rng.choice(("board", "flag", "number", "red", "capital")) for _ in range(count)))

    out = []
    for _ in range(count):
        messages = [Message(role="user", parts=(picture(448, 448), words(12)))]
        for turn in range(rng.randint(1, 3)):
            shown = (picture(64, 48),) if turn % 2 == 0 else ()
            messages.append(Message(role="user", parts=(words(rng.randint(5, 60)), *shown)))
        out.append(Script(messages, [max(2, min(160, round(rng.lognormvariate(3.2, 0.8)))) for _ in messages]))
    return out


def run_engine(policy: TransformersPolicy, store: ImageStore, load: list[Script], seed: int) -> int:
    """Tokens written."""

    async def talk(number: int, script: Script) -> int:
        conversation = policy.open(store, Sampling(temperature=1.0, seed=seed + number))
        written = 0
        for message, length in zip(script.messages, script.lengths, strict=True):
            await conversation.append(message)
            written += (await conversation.generate(length, ())).completion_tokens or 0
        await conversation.close()
        return written

    async def everyone() -> int:
        return sum(await asyncio.gather(*[talk(number, script) for number, script in enumerate(load)]))

    return asyncio.run(everyone())


@torch.inference_mode()
def run_generate(model: torch.nn.Module, encoder: ChatEncoder, store: ImageStore, load: list[Script], rows: int) -> int:
    """Tokens written."""
    written = 0
    for begin in range(0, len(load), rows):
        batch = load[begin : begin + rows]
        ids: list[list[int]] = [[] for _ in batch]
        patches: list[list[Patches]] = [[] for _ in batch]
        for turn in range(max(len(script.messages) for script in batch)):
            live = [n for n, script in enumerate(batch) if turn < len(script.messages)]
            for n in live:
                message = batch[n].messages[turn]
                ids[n] += [*encoder.message_ids(message), *encoder.assistant_start()]
                patches[n] += [encoder.patches(ref, store) for ref in message.images]
            width = max(len(ids[n]) for n in live)
            tokens = torch.tensor([[encoder.padding] * (width - len(ids[n])) + ids[n] for n in live])
            mask = torch.tensor([[0] * (width - len(ids[n])) + [1] * len(ids[n]) for n in live])
            lengths = [batch[n].lengths[turn] for n in live]
            shown = [one for n in live for one in patches[n]]
            out = model.generate(
                input_ids=tokens,
                attention_mask=mask,
                mm_token_type_ids=(tokens == encoder.image_pad).int(),
                pixel_values=torch.from_numpy(np.concatenate([one.values for one in shown])),
                image_grid_thw=torch.tensor([one.grid for one in shown]),
                do_sample=True,
                top_k=0,
                max_new_tokens=max(lengths),
                suppress_tokens=list(encoder.never_sampled),
                stopping_criteria=[Lengths(width, lengths)],
                pad_token_id=encoder.padding,
            )
            for row, n in enumerate(live):
                new = out[row, width : width + lengths[row]].tolist()
                ids[n] += [*new, *encoder.assistant_end(new)]
                written += len(new)
    return written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=48, help="conversations")
    parser.add_argument("--slots", type=int, default=16, help="turns written at once, on both sides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = measure(args.n, args.slots, args.rounds)
    for name, value in figures.items():
        print(f"{name:28} {value:10.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(count: int, slots: int, rounds: int) -> dict[str, float]:
    """The figures of the JSON file."""
    folder = checkpoint_folder("sft")
    encoder = ChatEncoder.load(folder)
    encoder.never_sampled = [*encoder.never_sampled, *encoder.turn_enders]
    policy = TransformersPolicy.from_model(load_model(folder, "cpu"), encoder, "engine", slots)
    stock = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    stock.generation_config.eos_token_id = None
    store = ImageStore()
    speeds: dict[str, list[float]] = {"engine": [], "generate": []}
    load = scripts(count, store, 0)
    expected = sum(sum(script.lengths) for script in load)
    for round_ in range(rounds + 1):
        for name in speeds:
            start = time.perf_counter()
            if name == "engine":
                written = run_engine(policy, store, load, 1000 * round_)
            else:
                torch.manual_seed(round_)
                written = run_generate(stock, encoder, store, load, slots)
            seconds = time.perf_counter() - start
            assert written == expected, (name, written, expected)
            if round_:  # the first round warms up
                speeds[name].append(written / seconds)
    engine, generate = median(speeds["engine"]), median(speeds["generate"])
    return {
        "decode_vs_generate": engine / generate,
        "engine_tokens_per_second": engine,
        "generate_tokens_per_second": generate,
        "tokens": expected,
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
