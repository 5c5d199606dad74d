import math

import pytest
import torch

from foveal.errors import TrainingError
from foveal.train.loss import PEAKS, SUMS, LossFigures, loss_weight, policy_loss
from foveal.train.rl_settings import LossSettings

DAPO = LossSettings()


def _one(ratio, advantage, settings=DAPO, **others):
    """Loss and gradient (by the log-prob) of a single token whose ratio and advantage are given, and the figures."""
    new = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    mask, zero = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.float64)
    gain = torch.tensor([advantage], dtype=torch.float64)
    loss, figures = policy_loss(new, gain, mask, 1, settings, old=zero, **others)
    loss.backward()
    return loss.item(), new.grad.item(), figures.means()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clip"),
    [
        # Inside the range: loss -r * A; gradient by the log-prob is -r * A as well (dr/dlog r = r).
        (1.1, 2.0, -2.2, -2.2, None),
        (0.9, -2.0, 1.8, 1.8, None),
        # A > 0 gains nothing above 1.30 but loses below 0.80: -1.3 * 2 = -2.6; -0.5 * 2 = -1.
        (1.5, 2.0, -2.6, 0.0, "clip_high"),
        (1.25, 2.0, -2.5, -2.5, None),
        (0.5, 2.0, -1.0, -1.0, None),
        # A < 0 gains nothing below 0.80: 0.8 * 2 = 1.6; above 1.30 it pays in full up to the dual clip: 2 * 2 = 4.
        (0.5, -2.0, 1.6, 0.0, "clip_low"),
        (2.0, -2.0, 4.0, 4.0, None),
        # Dual clip, c = 3: 3 * 2 = 6 instead of 5 * 2 = 10; A > 0 is clipped at 1.30 before.
        (5.0, -2.0, 6.0, 0.0, "clip_dual"),
        (5.0, 2.0, -2.6, 0.0, "clip_high"),
    ],
)
def test_every_branch_of_the_clip(ratio, advantage, loss, gradient, clip):
    value, slope, figures = _one(ratio, advantage)
    assert (value, slope) == pytest.approx((loss, gradient), abs=1e-9)
    shares = {name: figures[name] for name in ("clip_low", "clip_high", "clip_dual")}
    assert shares == {name: float(name == clip) for name in shares}
    assert (figures["ratio"], figures["ratio_max"], figures["loss"]) == pytest.approx((ratio, ratio, loss))


def test_without_dual_clip_a_negative_advantage_pays_in_full():
    value, slope, figures = _one(5.0, -2.0, LossSettings(dual_clip=0))
    assert (value, slope, figures["clip_dual"]) == pytest.approx((10.0, 10.0, 0.0))


def test_a_ratio_beyond_all_numbers_leaves_the_gradient_finite():
    new = torch.tensor([[500.0, -500.0]], requires_grad=True)
    for gain in (1.0, -1.0):
        loss, figures = policy_loss(
            new, torch.tensor([gain]), torch.ones(1, 2, dtype=torch.bool), 2, DAPO, old=torch.zeros(1, 2)
        )
        loss.backward()
        assert torch.isfinite(new.grad).all() and torch.isfinite(figures.sums).all()


def test_on_the_first_update_the_gradient_is_that_of_the_log_prob():
    new = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    loss, figures = policy_loss(new, torch.tensor([1.5, -0.5]), mask, 3, DAPO)
    loss.backward()
    assert loss.item() == pytest.approx(-(1.5 + 1.5 - 0.5) / 3)
    torch.testing.assert_close(new.grad, torch.tensor([[-0.5, -0.5], [0.5 / 3, 0.0]]))
    assert figures.means()["tokens"] == 3


def test_token_mean_and_sequence_mean_by_hand():
    # Advantages 1 and -1, ratios 1; 3 tokens and 1 token. Token: -(3 * 1 - 1) / 4. Sequence: -(1 - 1) / 2.
    new = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    for settings, loss, gradient in (
        (DAPO, -0.5, [[-0.25] * 3, [0.25, 0, 0]]),
        (LossSettings(preset="grpo"), 0.0, [[-1 / 6] * 3, [0.5, 0, 0]]),
    ):
        value, _ = policy_loss(new, torch.tensor([1.0, -1.0]), mask, loss_weight(mask, settings), settings)
        (slope,) = torch.autograd.grad(value, new)
        assert value.item() == pytest.approx(loss)
        assert slope.tolist() == [pytest.approx(row) for row in gradient]


def test_loss_weight_counts_tokens_or_sequences_with_any():
    mask = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    assert loss_weight(mask, DAPO) == 3
    assert loss_weight(mask, LossSettings(preset="grpo")) == 2


@pytest.mark.parametrize("settings", [DAPO, LossSettings(preset="grpo"), LossSettings(importance="sequence-mask")])
def test_masked_tokens_have_exactly_no_gradient_whatever_stands_there(settings):
    torch.manual_seed(0)
    mask = torch.rand(5, 9) > 0.4
    mask[2] = False
    poison = torch.tensor([math.nan, math.inf, -math.inf, 1e30])[torch.randint(4, (5, 9))]
    new, old, sampler = (torch.where(mask, torch.randn(5, 9) * 0.1 - 1, poison) for _ in range(3))
    new.requires_grad_()
    loss, figures = policy_loss(
        new, torch.randn(5), mask, loss_weight(mask, settings), settings, old=old, sampler=sampler, entropy=poison
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert (new.grad[~mask] == 0).all()
    assert (new.grad[mask] != 0).any()
    wanted = figures.means()
    del wanted["entropy"]  # the poison itself, on trained tokens
    assert all(math.isfinite(value) for value in wanted.values())


def test_k3_by_hand():
    # Reference 0.2 nats above: exp(0.2) - 0.2 - 1 = 0.0214028. Its slope by the log-prob is 1 - exp(0.2) = -0.2214028.
    settings = LossSettings(kl=0.5)
    loss, slope, figures = _one(1.0, 0.0, settings, reference=torch.tensor([[0.2]], dtype=torch.float64))
    assert figures["kl"] == pytest.approx(0.0214028, abs=1e-6)
    assert (loss, slope) == pytest.approx((0.5 * 0.0214028, -0.5 * 0.2214028), abs=1e-6)


def _importance(mode, cap=2.0):
    """Loss, gradient and figures of two sequences with advantage 1 and ratio 1; trainer over sampler as below."""
    new = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    trainer_over_sampler = torch.tensor([[1.5, 4.0], [0.5, 1.2]], dtype=torch.float64)
    settings = LossSettings(importance=mode, importance_cap=cap)
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss, figures = policy_loss(
        new,
        torch.ones(2, dtype=torch.float64),
        mask,
        4,
        settings,
        old=new.detach(),
        sampler=-trainer_over_sampler.log(),
    )
    loss.backward()
    return loss.item(), (-4 * new.grad).tolist(), figures.means()


def test_importance_weights_by_hand():
    # Token: 1.5, min(4, 2), 0.5, 1.2. Sequence: 1.5 * 4 = 6 is over the cap, 0.5 * 1.2 = 0.6 is not.
    for mode, weights, cut in (
        ("off", [[1, 1], [1, 1]], 0.0),
        ("token", [[1.5, 2.0], [0.5, 1.2]], 0.25),
        ("sequence-mask", [[0, 0], [0.6, 0.6]], 0.5),
    ):
        loss, found, figures = _importance(mode)
        assert found == [pytest.approx(row) for row in weights]
        assert loss == pytest.approx(-sum(map(sum, weights)) / 4)
        assert figures["importance_cut"] == cut
        # |log 1.5| + |log 4| + |log 0.5| + |log 1.2| = 0.405465 + 1.386294 + 0.693147 + 0.182322 = 2.667228
        assert (figures["gap"], figures["gap_max"]) == pytest.approx((2.667228 / 4, 1.386294), abs=1e-6)


@pytest.mark.parametrize("settings", [LossSettings(kl=0.1), LossSettings(importance="token")])
def test_what_the_settings_need_is_asked_for(settings):
    with pytest.raises(TrainingError, match="needs"):
        policy_loss(torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1, dtype=torch.bool), 1, settings)


class _Bigram(torch.nn.Module):
    """Log-probs of ids (B, L) from a table; place 0 has none."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Parameter(torch.randn(11, 11, dtype=torch.float64))

    def forward(self, ids):
        scores = torch.log_softmax(self.table[ids[:, :-1]], -1).gather(2, ids[:, 1:, None])[..., 0]
        return torch.nn.functional.pad(scores, (1, 0))


def _ragged():
    """13 sequences of 3 to 14 tokens, some without loss, with advantages and two sets of older log-probs."""
    torch.manual_seed(1)
    rows = []
    for number in range(13):
        length = int(torch.randint(3, 15, ()))
        mask = torch.rand(length) > 0.3
        mask[0] = False
        rows.append((torch.randint(11, (length,)), mask & (number != 5), torch.randn((), dtype=torch.float64)))
    return rows


def _gradient(splits, settings):
    """Gradient of the loss over all rows, and its figures, a backward pass for each part of `splits`."""
    model, before, rows = _Bigram(0), _Bigram(7), _ragged()
    before.table.data = model.table.data + 0.3 * before.table.data
    total = sum(int(mask.sum()) if settings.mean == "token" else int(mask.any()) for _, mask, _ in rows)
    figures = None
    for part in splits:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([rows[n][0] for n in part], batch_first=True)
        mask = pad([rows[n][1] for n in part], batch_first=True)
        gain = torch.stack([rows[n][2] for n in part])
        old = before(ids).detach()
        loss, some = policy_loss(model(ids), gain, mask, total, settings, old=old, sampler=old - 0.1)
        loss.backward()
        figures = some if figures is None else figures + some
    return model.table.grad, figures.means()


SPLITS = {
    "four equal": [range(0, 3), range(3, 6), range(6, 9), range(9, 13)],
    "ragged": [[12], [0, 4, 5, 1, 2, 3], [10, 9], [11, 8, 7, 6]],
    "one by one": [[n] for n in range(13)],
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("settings", [DAPO, LossSettings(preset="grpo"), LossSettings(importance="token")])
def test_gradient_and_figures_are_the_same_however_the_global_batch_is_split(split, settings):
    whole, figures = _gradient([range(13)], settings)
    parts, added = _gradient(SPLITS[split], settings)
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(parts, whole, atol=1e-9, rtol=1e-6)
    assert added == pytest.approx(figures, abs=1e-9)
    assert figures["clip_low"] > 0 and figures["clip_high"] > 0


def test_without_trained_tokens_nothing_but_their_number_is_known():
    none = LossFigures(torch.zeros(len(SUMS), dtype=torch.float64), torch.zeros(len(PEAKS), dtype=torch.float64))
    assert none.means() == {"tokens": 0.0}
