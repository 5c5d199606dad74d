import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from foveal.errors import InputError
from foveal.tools.opening import open_tools
from foveal.tools.search.dense import RANK, DenseText, embed_index, fused
from foveal.tools.search.embedding import Embedder
from foveal.tools.search.text import FILE, Document, TextIndex
from foveal.tools.settings import ToolSettings

TEXTS = ["a zebra has stripes", "water", "", "a b c d e f g h a zebra zebra water " * 9, "stripes water a"]


def save_model(folder: Path, seed=0, cls=False, **config) -> transformers.BertModel:
    """A BERT of random weights with a tokenizer of words, as sentence-transformers saves it."""
    torch.manual_seed(seed)
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "zebra", "has", "stripes", "water"]
    words = {word: number for number, word in enumerate(known)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    small = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    settings = transformers.BertConfig(vocab_size=9, max_position_embeddings=48, **(small | config))
    model = transformers.BertModel(settings).eval()
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": not cls}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return model


def torch_vectors(model, folder, texts, cls=False):
    """What transformers makes of the texts, one at a time."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    vectors = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        ids = ids if len(ids) <= 48 else [*ids[:47], ids[-1]]
        with torch.no_grad():
            state = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        vector = (state[0] if cls else state.mean(0)).numpy()
        vectors.append(vector / np.linalg.norm(vector))
    return np.array(vectors)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


@pytest.mark.parametrize("cls", [False, True])
def test_vectors_are_those_of_transformers(tmp_path, cls):
    model = save_model(tmp_path, cls=cls)
    ours = Embedder(tmp_path).embed(TEXTS)
    np.testing.assert_allclose(ours, torch_vectors(model, tmp_path, TEXTS, cls), atol=2e-5)
    assert ours.shape == (5, 24) and Embedder(tmp_path).embed([]).shape == (0, 24)


def test_models_that_do_more_than_is_done_here_are_refused(tmp_path):
    save_model(tmp_path)
    pooling = tmp_path / "1_Pooling/config.json"
    for modes in (["max_tokens"], ["lasttoken"], ["mean_tokens", "cls_token"]):
        pooling.write_text(
            json.dumps({"word_embedding_dimension": 24, **{f"pooling_mode_{mode}": True for mode in modes}})
        )
        with pytest.raises(InputError, match=f"it pools by pooling_mode_{modes[0]}"):
            Embedder(tmp_path)
    pooling.unlink()
    types = ["Transformer", "Pooling", "Dense", "Normalize"]
    (tmp_path / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{t}"} for t in types]))
    with pytest.raises(InputError, match="further layers: Dense"):
        Embedder(tmp_path)


@pytest.fixture
def folder(tmp_path):
    index = TextIndex.create(tmp_path / "index")
    index.add(Document(f"{number}", text, link=f"d/{number}", origin=f"{number}") for number, text in enumerate(TEXTS))
    return tmp_path / "index"


def found(search, query, k=5):
    return [hit.title for hit in asyncio.run(search.search(query, k))]


def test_documents_are_found_by_meaning_and_by_both(folder, model):
    embedder = Embedder(model)
    assert embed_index(folder, embedder) == 5 and embed_index(folder, embedder) == 0
    asked = embedder.embed(["water"])[0]
    near = [str(n) for n in np.argsort(-(embedder.embed([f"{n}. {text}" for n, text in enumerate(TEXTS)]) @ asked))]
    assert found(DenseText(folder, embedder, words=False), "water") == near
    words = found(TextIndex.open(folder), "water")
    scores = fused([map(int, near), map(int, words)])
    both = asyncio.run(DenseText(folder, embedder).search("water", 5))
    assert [hit.title for hit in both] == [str(n) for n in sorted(scores, key=lambda n: (-scores[n], n))]
    assert both[0].score == pytest.approx(scores[int(both[0].title)], abs=1e-6)
    assert found(DenseText(folder, embedder), "water", 2) == [hit.title for hit in both[:2]]
    assert found(DenseText(folder, embedder), "?!") and found(DenseText(folder, embedder), " ") == []


def test_fusion_adds_reciprocal_ranks():
    assert fused([[7, 8], [8]]) == {7: 1 / (RANK + 1), 8: 1 / (RANK + 2) + 1 / (RANK + 1)}


def test_a_long_document_that_is_found_by_meaning_alone_shows_its_beginning(folder, model):
    embed_index(folder, Embedder(model))
    hits = asyncio.run(DenseText(folder, Embedder(model)).search("nothing", 5))
    [long] = [hit for hit in hits if hit.title == "3"]
    assert long.snippet.startswith("a b c d e f") and long.snippet.endswith(" …") and len(long.snippet) < 320


def test_vectors_go_with_their_documents_and_new_ones_are_asked_for(folder, model):
    embedder = Embedder(model)
    embed_index(folder, embedder)
    index = TextIndex.open(folder)
    index.remove(["4"])
    assert "4" not in found(DenseText(folder, embedder), "stripes water a")
    index.add([Document("new", "zebra zebra")])  # takes the number of the one that went
    with pytest.raises(InputError, match=r"1 documents of .* have no vectors") as caught:
        DenseText(folder, embedder)
    assert "foveal index embed" in caught.value.fix
    assert embed_index(folder, embedder) == 1
    assert "new" in found(DenseText(folder, embedder), "zebra")


def test_a_document_that_took_the_number_of_another_is_not_found_by_its_vector(folder, model):
    embedder = Embedder(model)
    embed_index(folder, embedder)
    search = DenseText(folder, embedder, words=False)
    index = TextIndex.open(folder)
    index.remove(["4"])
    index.add([Document("new", "zebra " * 40, origin="new")])
    assert "new" not in found(search, "stripes water a")
    embed_index(folder, embedder)
    assert "new" not in found(search, "stripes water a"), "another vector than was read"
    assert "new" in found(DenseText(folder, embedder, words=False), "zebra")


def test_vectors_of_another_model_are_refused_and_replaced(folder, model, tmp_path):
    embed_index(folder, Embedder(model))
    (tmp_path / "other").mkdir()
    save_model(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="of another model"):
        DenseText(folder, Embedder(tmp_path / "other"))
    assert embed_index(folder, Embedder(tmp_path / "other")) == 5
    DenseText(folder, Embedder(tmp_path / "other"))


def test_folders_that_hold_no_model_are_refused(folder, model, tmp_path):
    with pytest.raises(InputError, match="no sentence-embedding model"):
        Embedder(tmp_path)
    (tmp_path / "bad").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "bad" / name).write_bytes((model / name).read_bytes())
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    with pytest.raises(InputError, match="roberta"):
        Embedder(tmp_path / "bad")
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config))
    (tmp_path / "bad" / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:3000])
    with pytest.raises(InputError):
        Embedder(tmp_path / "bad")
    with pytest.raises(InputError, match="no vectors"):
        DenseText(folder, Embedder(model))
    with pytest.raises(InputError, match="no text index"):
        embed_index(tmp_path / "bad", Embedder(model))


def test_the_agents_search_goes_by_meaning_too_if_the_settings_name_a_model(folder, model):
    embed_index(folder, Embedder(model))
    tools = open_tools(ToolSettings(code=False, search=folder, dense=model), 1).tools
    assert tools.text.name.startswith("offline text index with ") and found(tools.text, "water")
    assert "dense" not in ToolSettings(search=folder).model_dump()
    with pytest.raises(ValueError, match="dense is about an index folder"):
        ToolSettings(dense=model)


def test_index_with_vectors_is_still_searched_by_words_alone(folder, model):
    before = found(TextIndex.open(folder), "zebra water")
    embed_index(folder, Embedder(model))
    assert found(TextIndex.open(folder), "zebra water") == before
    assert (folder / FILE).exists()
