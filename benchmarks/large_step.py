"""Measures an SFT step, decoding and an RL step at the shape of Qwen2.5-VL-3B, weights random, on one GPU.

    python benchmarks/large_step.py [--shape 3b|micro] [--tokens TOKENS] [-n SEQUENCES] [--peak TFLOPS] [--json FILE]

Speed and memory do not depend on what the weights are. The tokenizer is that of the micro model; the embedding has the
3B model's rows all the same. Every sequence shows one picture (896 x 896 pixels, 1024 tokens) and is TOKENS long; the
model writes the second half of what follows the picture.

* SFT step: `foveal.train.sft`, all weights of the language model, vision frozen, bfloat16 over float32 weights,
  gradient checkpointing, one sequence a forward pass; n sequences a step; the second and third of three steps.
* Decoding: all n at once by the engine, in bfloat16; the prompt's forward pass included.
* RL step: `foveal.train.learner` on what was decoded, advantages +1 and -1; the same precision and checkpointing.

Keys of the JSON file: `sft_tokens_per_second`, `sft_mfu`, `sft_peak_gb`; the same with `rl_`; `decode_peak_gb` and
`decode_tokens_per_second`; `parameters`, `tokens`, `sequences`. MFU: operations that the step needs (a multiply and an
add for every weight of a linear layer and every token, causal attention at half its square; three times for the
language model, once for the frozen tower; what checkpointing computes again does not count) over `--peak`.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from foveal.config import Sampling
from foveal.micro import checkpoint_folder
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import TransformersPolicy, load_model, no_progress_bars
from foveal.records import RunWriter
from foveal.train.batch import Sample
from foveal.train.learner import Learner
from foveal.train.pictures import encode
from foveal.train.rl_settings import RlSettings
from foveal.train.settings import SftSettings
from foveal.train.sft import run_sft
from foveal.train.tokens import Plan, sequence
from foveal.trajectory import ImagePart, ImageStore, Message, Question, StopReason, TextPart, Trajectory, Turn

SIDE = 896
"""Of the pictures, in pixels."""


def write_checkpoint(shape: str, folder: Path) -> None:
    """A checkpoint folder of the shape with random weights, in bfloat16."""
    encoder = ChatEncoder.load(checkpoint_folder("sft"))
    encoder.tokenizer.save_pretrained(folder)
    config = Qwen2_5_VLConfig.from_pretrained(checkpoint_folder("sft"))
    processor = encoder.image_processor
    if shape == "3b":
        text, vision = config.text_config, config.vision_config
        text.update(
            {
                "vocab_size": 151936,
                "hidden_size": 2048,
                "intermediate_size": 11008,
                "num_hidden_layers": 36,
                "layer_types": ["full_attention"] * 36,
                "num_attention_heads": 16,
                "num_key_value_heads": 2,
                "max_position_embeddings": 128000,
                "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
            }
        )
        vision.update(
            {
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "out_hidden_size": 2048,
                "fullatt_block_indexes": [7, 15, 23, 31],
            }
        )
        pixels = SIDE**2
        processor = Qwen2VLImageProcessorPil(
            min_pixels=pixels, max_pixels=pixels, size={"shortest_edge": pixels, "longest_edge": pixels}
        )
    processor.save_pretrained(folder)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)


def operations(model: nn.Module, tokens: int, learned: int, patches: int, trained: bool) -> float:
    """Of one sequence through a model of the family, forward, and backward through its language model if trained."""
    text, vision = model.config.text_config, model.config.vision_config

    def weights(part: nn.Module) -> int:
        return sum(layer.weight.numel() for layer in part.modules() if isinstance(layer, nn.Linear))

    merged = vision.spatial_merge_size**2
    merger = weights(model.model.visual.merger)
    tower = 2 * (weights(model.model.visual) - merger) * patches + 2 * merger * patches // merged
    tower += 4 * patches**2 * vision.hidden_size * len(vision.fullatt_block_indexes)
    language = 2 * weights(model.model.language_model) * tokens + 2 * model.lm_head.weight.numel() * learned
    language += 4 * tokens**2 / 2 * text.hidden_size * text.num_hidden_layers
    return tower + language * (3 if trained else 1)


class Load:
    """The sequences: a picture, words, and as many tokens written by the model."""

    def __init__(self, encoder: ChatEncoder, tokens: int, count: int, images: ImageStore):
        self.encoder, self.images, self.count = encoder, images, count
        self.view = encoder.num_image_tokens(encoder.grid(self._picture(0).image))
        self.written = (tokens - self.view) // 2
        self.words = "red board " * (self.written // len(encoder.text("red board ")))
        self.patches = self.view * encoder.image_processor.merge_size**2

    def _picture(self, number: int) -> ImagePart:
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        return ImagePart(image=self.images.put(Image.fromarray(pixels)))

    def prompt(self, number: int) -> Message:
        """Of sequence `number`."""
        return Message(role="user", parts=(self._picture(number), TextPart(text=self.words)))

    def write(self, folder: Path) -> None:
        """The run folder that cold start learns from."""
        with RunWriter(folder) as writer:
            for number in range(self.count):
                one = Trajectory(
                    id=str(number),
                    question=Question(id=str(number), text="?"),
                    policy="none",
                    profile="foveal",
                    prompt=(self.prompt(number),),
                    turns=(Turn(text=self.words, finish="stop"),),
                    stop_reason=StopReason.ANSWERED,
                )
                writer.write(one, self.images)

    async def sample(self, policy: TransformersPolicy) -> list[Plan]:
        """The model writes, all sequences at once."""

        async def one(number: int) -> Plan:
            conversation = policy.open(self.images, Sampling(temperature=1.0, seed=number))
            message = self.prompt(number)
            await conversation.append(message)
            await conversation.generate(self.written, ())
            tokens = conversation.tokens()
            await conversation.close()
            return Plan(tokens.ids, tokens.loss_mask, message.images, tokens.logprobs)

        return await asyncio.gather(*[one(number) for number in range(self.count)])


def peak_gb() -> float:
    """Most memory of the GPU since the last call, in 10^9 bytes; 0 without one."""
    if not torch.cuda.is_available():
        return 0.0
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return peak


def measure_sft(checkpoint: Path, run: Path, load: Load) -> tuple[float, float]:
    """Seconds of a step, and the peak."""
    load.write(run / "data")
    settings = SftSettings(
        model=checkpoint,
        data=run / "data",
        epochs=3,
        batch_size=load.count,
        dtype="bfloat16",
        gradient_checkpointing=True,
        log_steps=1,
        save_steps=1_000_000,
    )
    run_sft(settings, run / "sft")
    lines = [json.loads(line) for line in (run / "sft/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return (lines[2]["seconds"] - lines[0]["seconds"]) / 2, peak_gb()


def measure_rl(checkpoint: Path, load: Load) -> dict[str, float]:
    """Decoding and learning."""
    settings = RlSettings(
        model=checkpoint,
        questions=checkpoint,  # none are read: the learner gets its sequences from here
        dtype="bfloat16",
        gradient_checkpointing=True,
        micro_tokens=1,  # one sequence a forward pass
    )
    accelerator = Accelerator()
    encoder, device = load.encoder, str(accelerator.device)
    encoder.never_sampled = [*encoder.never_sampled, *encoder.turn_enders]  # so that every turn is as long
    sampler = load_model(checkpoint, device, "bfloat16")
    encoder.never_sampled += range(len(encoder.tokenizer), sampler.config.text_config.vocab_size)
    policy = TransformersPolicy.from_model(sampler, encoder, "random", load.count)
    asyncio.run(load.sample(policy))  # warms up
    began = time.perf_counter()
    plans = asyncio.run(load.sample(policy))
    out = {"decode_seconds": time.perf_counter() - began, "decode_peak_gb": peak_gb()}
    del policy, sampler
    learner = Learner(settings, accelerator, load_model(checkpoint, device, "float32"), encoder)
    for _ in range(2):  # the first warms up
        began = time.perf_counter()
        features = encode(learner.model, encoder, ((ref, load.images) for plan in plans for ref in plan.refs))
        shown = [[features[ref.sha256] for ref in plan.refs] for plan in plans]
        learned = learner.learn(
            [[Sample(sequence(plan, encoder, shown[n]), 1.0 - 2 * (n % 2)) for n, plan in enumerate(plans)]]
        )
        out["rl_seconds"] = time.perf_counter() - began
        assert learned.updates == 1
    return out | {"rl_peak_gb": peak_gb()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("3b", "micro"), default="3b")
    parser.add_argument("--tokens", type=int, default=4096, help="of a sequence")
    parser.add_argument("-n", type=int, default=16, help="sequences of a step")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU in dense bfloat16")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, no_progress_bars():
        figures = measure(args.shape, args.tokens, args.n, args.peak * 1e12, Path(folder))
    for name, value in figures.items():
        print(f"{name:28} {value:16,.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(shape: str, tokens: int, count: int, peak: float, folder: Path) -> dict[str, float]:
    """The figures of the JSON file."""
    write_checkpoint(shape, folder / "checkpoint")
    load = Load(ChatEncoder.load(folder / "checkpoint"), tokens, count, ImageStore())
    sft_seconds, sft_peak = measure_sft(folder / "checkpoint", folder, load)
    rl = measure_rl(folder / "checkpoint", load)
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(folder / "checkpoint"))
    needed = count * operations(model, tokens, load.written, load.patches, trained=True)
    return {
        "sft_tokens_per_second": count * tokens / sft_seconds,
        "sft_mfu": needed / sft_seconds / peak,
        "sft_peak_gb": sft_peak,
        "decode_tokens_per_second": count * load.written / rl["decode_seconds"],
        "decode_peak_gb": rl["decode_peak_gb"],
        "rl_tokens_per_second": count * tokens / rl["rl_seconds"],
        "rl_mfu": needed / rl["rl_seconds"] / peak,
        "rl_peak_gb": rl["rl_peak_gb"],
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "tokens": tokens,
        "sequences": count,
    }


if __name__ == "__main__":
    main()
