"""Our loss against that of TRL's `GRPOTrainer` (a package of the dev extra), on the same model and batch."""

from types import SimpleNamespace

import pytest
import torch

from foveal.train.advantage import EPSILON, group_advantages
from foveal.train.logprobs import Scorer
from foveal.train.loss import loss_weight, policy_loss
from foveal.train.rl_settings import LossSettings
from foveal.train.tokens import IGNORE

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # TRL sets the old name
ROWS, PROMPT, ANSWER, VOCABULARY, TEMPERATURE = 6, 4, 9, 40, 0.8


@pytest.fixture(scope="module")
def trainer_of(tmp_path_factory):
    """Makes a TRL trainer of a tiny random text model, for a loss type and its settings."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    backend = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w1", pad_token="w2", unk_token="w0")
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    start = tmp_path_factory.mktemp("start")  # TRL reads its reference model from a folder
    Qwen2ForCausalLM(config).save_pretrained(start)

    def make(**settings):
        arguments = GRPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")),
            per_device_train_batch_size=ROWS,
            num_generations=ROWS,
            max_completion_length=ANSWER,
            temperature=TEMPERATURE,
            use_cpu=True,
            bf16=False,
            report_to="none",
            **settings,
        )
        return GRPOTrainer(
            model=Qwen2ForCausalLM.from_pretrained(start),
            args=arguments,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_dict({"prompt": ["w3 w4"] * ROWS}),
            processing_class=tokenizer,
        )

    return make


@pytest.fixture
def batch():
    """Ragged prompts (padded left, as TRL does) and answers, a masked observation, advantages and older log-probs."""
    torch.manual_seed(3)
    prompt_mask = (torch.arange(PROMPT) >= torch.tensor([0, 1, 2, 0, 3, 1])[:, None]).long()
    answer_mask = (torch.arange(ANSWER) < torch.tensor([9, 5, 7, 9, 3, 6])[:, None]).long()
    observed = torch.ones(ROWS, ANSWER, dtype=torch.long)
    observed[0, 3:6] = observed[2, 2:4] = 0
    return {
        "prompt_ids": torch.randint(3, VOCABULARY, (ROWS, PROMPT)),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(3, VOCABULARY, (ROWS, ANSWER)),
        "completion_mask": answer_mask,
        "tool_mask": observed,
        "advantages": torch.tensor(group_advantages([1.0, 0.0, 0.2, 1.0, 0.0, 0.2])),
        "num_items_in_batch": (answer_mask * observed).sum(),
    }


def _ours(model, batch, settings, older, **others):
    """Loss, gradients and figures of our loss for TRL's batch; `older` is added to the log-probs to make older ones."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    trained = torch.cat([torch.zeros(ROWS, PROMPT).long(), batch["completion_mask"] * batch["tool_mask"]], dim=1) == 1
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
        "labels": ids.masked_fill(~trained, IGNORE),
    }
    everything = SimpleNamespace(never_sampled=[])  # TRL suppresses nothing in its loss
    scores = Scorer(model, everything, TEMPERATURE, chunk_logits=5 * VOCABULARY)(inputs)
    shift = torch.nn.functional.pad(older, (PROMPT, 0))
    model.zero_grad()
    loss, figures = policy_loss(
        scores.logprobs,
        batch["advantages"],
        trained,
        loss_weight(trained, settings),
        settings,
        old=scores.logprobs.detach() + shift,
        entropy=scores.entropy,
        **{name: scores.logprobs.detach() + torch.nn.functional.pad(one, (PROMPT, 0)) for name, one in others.items()},
    )
    loss.backward()
    old = (scores.logprobs.detach() + shift)[:, PROMPT:]
    return loss.item(), _gradients(model), figures.means(), old


def _theirs(trainer, batch):
    trainer.model.eval()  # no dropout, and no accumulation to divide by
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    return loss.item(), _gradients(trainer.model), metrics


def _gradients(model):
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def _same(ours, theirs):
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert max(gradient.abs().max() for gradient in theirs[1].values()) > 0.01
    for name, gradient in theirs[1].items():
        torch.testing.assert_close(ours[1][name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.fixture
def older():
    """Differences to older log-probs, wide enough that both clips and the dual clip are met."""
    torch.manual_seed(4)
    return torch.randn(ROWS, ANSWER) * 0.7


def test_dapo_is_that_of_trl(trainer_of, batch, older):
    trainer = trainer_of(loss_type="dapo", epsilon=0.2, epsilon_high=0.3)
    ours = _ours(trainer.model, batch, LossSettings(dual_clip=0), older)
    theirs = _theirs(trainer, {**batch, "old_per_token_logps": ours[3]})
    _same(ours, theirs)
    figures = ours[2]
    assert figures["clip_low"] == pytest.approx(theirs[2]["clip_ratio/low_mean"], abs=1e-6) and figures["clip_low"] > 0
    assert figures["clip_high"] == pytest.approx(theirs[2]["clip_ratio/high_mean"], abs=1e-6)
    assert figures["clip_high"] > 0
    assert figures["entropy"] == pytest.approx(theirs[2]["entropy"], abs=1e-5)


def test_the_first_update_of_dapo_is_that_of_trl(trainer_of, batch):
    trainer = trainer_of(loss_type="dapo", epsilon=0.2, epsilon_high=0.3)
    ours = _ours(trainer.model, batch, LossSettings(), torch.zeros(ROWS, ANSWER))
    _same(ours, _theirs(trainer, batch))


def test_grpo_is_that_of_trl(trainer_of, batch, older):
    trainer = trainer_of(loss_type="grpo", epsilon=0.2)
    ours = _ours(trainer.model, batch, LossSettings(preset="grpo"), older)
    _same(ours, _theirs(trainer, {**batch, "old_per_token_logps": ours[3]}))


def test_the_kl_term_is_that_of_trl(trainer_of, batch, older):
    trainer = trainer_of(loss_type="dapo", epsilon=0.2, epsilon_high=0.3, beta=0.4, use_bias_correction_kl=False)
    ours = _ours(trainer.model, batch, LossSettings(dual_clip=0, kl=0.4), older, reference=-older)
    reference = ours[3] - 2 * older
    theirs = _theirs(trainer, {**batch, "old_per_token_logps": ours[3], "ref_per_token_logps": reference})
    _same(ours, theirs)
    assert ours[2]["kl"] == pytest.approx(theirs[2]["kl"], abs=1e-5) and ours[2]["kl"] > 0.1


def test_importance_weights_enter_as_those_of_trl(trainer_of, batch, older):
    trainer = trainer_of(loss_type="dapo", epsilon=0.2, epsilon_high=0.3)
    trainer.use_vllm = True  # it weighs by importance only where vLLM sampled
    ours = _ours(trainer.model, batch, LossSettings(dual_clip=0, importance="token"), older, sampler=-older)
    weights = torch.exp(2 * older).clamp(max=2.0)
    theirs = _theirs(trainer, {**batch, "old_per_token_logps": ours[3], "importance_sampling_ratio": weights})
    _same(ours, theirs)
    assert ours[2]["importance_cut"] > 0


def test_advantages_are_those_of_trl_but_for_epsilon():
    rewards = torch.tensor([1.0, 0.0, 0.2, 1.0, 0.0, 0.2])
    from trl.trainer.utils import nanstd

    std = nanstd(rewards)
    assert group_advantages(rewards.tolist()) == pytest.approx(((rewards - rewards.mean()) / (std + EPSILON)).tolist())
