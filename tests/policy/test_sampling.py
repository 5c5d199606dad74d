import numpy as np
import torch

from foveal.policy.sampling import draw


def test_draws_follow_the_distribution_and_top_p_cuts_its_tail():
    logprobs = torch.tensor([[0.1, 0.6, 0.0, 0.3]]).log().expand(20_000, -1)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000))
    shares = torch.bincount(draw(logprobs, uniforms, [1.0] * 20_000), minlength=4) / 20_000
    assert torch.allclose(shares, torch.tensor([0.1, 0.6, 0.0, 0.3]), atol=0.012)
    assert shares[2] == 0
    cut = torch.bincount(draw(logprobs, uniforms, [0.85] * 20_000), minlength=4) / 20_000
    assert torch.allclose(cut, torch.tensor([0.0, 2 / 3, 0.0, 1 / 3]), atol=0.012)
    edges = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert draw(logprobs[:2], edges, [1.0, 1.0]).tolist() == [0, 3]
