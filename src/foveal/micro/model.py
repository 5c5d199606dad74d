"""The micro model: Qwen2.5-VL's own classes, 3.6 million parameters, 112-pixel views.

The sizes are those that a two-core CPU was measured to train (docs/micro.md).
"""

from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from foveal.policy.encoding import ChatEncoder
from foveal.policy.patches import project_patches

VIEW = 112
"""Side of the view of a square picture, in pixels; other shapes are scaled to about as many pixels."""
HIDDEN, VISION_HIDDEN = 192, 128
PATCH, MERGE = 14, 2
MAX_POSITIONS = 2048


def image_processor() -> Qwen2VLImageProcessorPil:
    """Scales every picture to about 112 x 112 pixels and splits it into patches."""
    return Qwen2VLImageProcessorPil(
        min_pixels=VIEW * VIEW,
        max_pixels=VIEW * VIEW,
        size={"shortest_edge": VIEW * VIEW, "longest_edge": VIEW * VIEW},
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def new_model(encoder: ChatEncoder, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """An untrained model for the encoder's vocabulary, fp32."""
    torch.manual_seed(seed)
    ids = {name: encoder.tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|video_pad|>")}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(encoder.tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": 4 * HIDDEN,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "max_position_embeddings": MAX_POSITIONS,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
            "tie_word_embeddings": True,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": encoder.turn_end,
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 3,
            "hidden_size": VISION_HIDDEN,
            "intermediate_size": 3 * VISION_HIDDEN,
            "num_heads": 4,
            "out_hidden_size": HIDDEN,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "window_size": VIEW,
            "fullatt_block_indexes": [0, 1, 2],
            "temporal_patch_size": 2,
            "in_channels": 3,
            "tokens_per_second": 2,
        },
        image_token_id=encoder.image_pad,
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=encoder.vision_start,
        vision_end_token_id=encoder.vision_end,
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    project_patches(model)
    return model


def save(model: torch.nn.Module, encoder: ChatEncoder, folder: Path) -> None:
    """Write a checkpoint folder that `TransformersPolicy` and transformers load, weights in fp16 to stay small."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    from safetensors.torch import save_file

    # The output head is tied to the embedding: written once.
    weights = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    temporary = folder / "model.safetensors.part"
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.replace(folder / "model.safetensors")
