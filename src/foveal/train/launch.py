"""Cold start on the devices and processes that there are: what `transformers.Trainer` and its launcher are told."""

import math
import os
from pathlib import Path

import torch
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from transformers import TrainingArguments

from foveal.errors import ConfigError
from foveal.train.settings import SftSettings


def trainer_arguments(settings: SftSettings, run: Path) -> TrainingArguments:
    """The settings as the trainer takes them; the processes know of each other from now on.

    Raises:
        ConfigError: The settings do not fit the devices or the launcher.
    """
    check_launcher(settings)
    arguments = TrainingArguments(
        output_dir=str(run / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.micro_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.dtype == "bfloat16",
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        ddp_find_unused_parameters=False,  # there are none: every batch goes through the vision tower
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=settings.keep_checkpoints,
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        seed=settings.seed,
    )
    if arguments.n_gpu > 1:
        raise ConfigError(
            f"this machine has {arguments.n_gpu} GPUs and one process",
            "start one process a GPU: accelerate launch -m foveal.cli sft …, or set CUDA_VISIBLE_DEVICES=0",
        )
    at_once = settings.micro_batch * arguments.world_size
    if settings.batch_size % at_once:
        raise ConfigError(
            f"batch_size {settings.batch_size} is not a multiple of micro_batch {settings.micro_batch} x "
            f"{arguments.world_size} processes",
            f"set batch_size to {math.ceil(settings.batch_size / at_once) * at_once}",
        )
    arguments.gradient_accumulation_steps = settings.batch_size // at_once
    return arguments


def check_launcher(settings: SftSettings) -> None:
    """Refuse a launcher that shares the weights among processes in a way of which no checkpoint folder comes out.

    Raises:
        ConfigError: Adapters would have to be merged from shards, or FSDP or ZeRO-3 would save shards.
    """
    fsdp, deepspeed = (os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))
    if settings.lora_rank and (fsdp or deepspeed):
        raise ConfigError("LoRA is not merged from sharded weights", "train LoRA without FSDP and DeepSpeed")
    if fsdp and (kept := FullyShardedDataParallelPlugin().state_dict_type.name) != "FULL_STATE_DICT":
        raise ConfigError(
            f"FSDP would save a {kept}: shards, of which no checkpoint folder is made and no run is resumed",
            "set fsdp_state_dict_type: FULL_STATE_DICT in the configuration of accelerate launch",
        )
    if deepspeed and (zero := DeepSpeedPlugin()).zero_stage == 3 and not zero.zero3_save_16bit_model:
        raise ConfigError(
            "ZeRO-3 would save no weights: every process holds a shard of them",
            "set zero3_save_16bit_model: true in the configuration of accelerate launch "
            "(stage3_gather_16bit_weights_on_model_save in one of DeepSpeed)",
        )
