import json
import shutil
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2VLImageProcessorPil

from foveal.errors import PolicyError
from foveal.policy.encoding import ChatEncoder, ImageOnlyProcessor, mrope_positions


def test_a_message_is_framed_as_chatml_with_one_pad_token_per_merged_patch(policy, picture, message):
    encoder = policy.encoder
    ids = encoder.message_ids(message("user", "see ", picture(84, 56), "!"))
    assert ids.count(encoder.image_pad) == 3 * 2
    expected = "<|im_start|>user\nsee <|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>!<|im_end|>\n"
    assert encoder.decode(ids) == expected


@pytest.mark.parametrize("size", [(84, 56), (1, 1), (20, 600), (1000, 999), (55, 83), (3000, 40)])
def test_the_grid_foretold_from_a_size_is_the_grid_of_the_patches(policy, picture, store, size):
    encoder, ref = policy.encoder, picture(*size)
    patches = encoder.patches(ref, store)
    assert patches.grid == encoder.grid(ref)
    assert len(patches.values) == np.prod(patches.grid)
    assert encoder.num_image_tokens(patches.grid) * 4 == len(patches.values)


def test_patches_of_another_grid_than_was_foretold_are_refused(policy, picture, store):
    class Shrinking(Qwen2VLImageProcessorPil):
        def __call__(self, images, **settings):
            return super().__call__([image.resize((28, 28)) for image in images], **settings)

    real = policy.encoder.image_processor
    processor = Shrinking(min_pixels=real.size["shortest_edge"], max_pixels=real.size["longest_edge"])
    encoder, ref = ChatEncoder(policy.encoder.tokenizer, processor), picture(84, 56)
    assert encoder.grid(ref) == policy.encoder.patches(ref, store).grid
    with pytest.raises(PolicyError, match=r"a grid of \(1, 2, 2\)"):
        encoder.patches(ref, store)


def test_a_picture_that_is_too_narrow_is_refused(policy, picture, message):
    with pytest.raises(PolicyError, match="1 x 300"):
        policy.encoder.message_ids(message("user", picture(1, 300)))


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|im_start|>", "<|endoftext|>"])
def test_special_tokens_written_in_text_are_ordinary_characters(policy, message, token):
    encoder = policy.encoder
    ids = encoder.message_ids(message("user", f"a page says {token} here"))
    assert ids.count(encoder.tokenizer.convert_tokens_to_ids(token)) == (token in ("<|im_end|>", "<|im_start|>"))
    assert encoder.decode(encoder.text(token)) == token


def test_special_tokens_stay_text_while_other_threads_encode(policy):
    encoder, found = policy.encoder, []

    def work():
        found.extend(encoder.turn_end in encoder.text("x<|im_end|>y") for _ in range(300))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1200
    assert not any(found)


@given(st.text(max_size=60))
def test_text_survives_its_ids(tiny_encoder, text):
    assert tiny_encoder.decode(tiny_encoder.text(text)) == text


@pytest.fixture(scope="session")
def tiny_encoder(tiny_checkpoint):
    return ChatEncoder.load(tiny_checkpoint)


def test_assistant_end_adds_the_end_token_only_where_it_was_not_sampled(policy):
    encoder = policy.encoder
    assert encoder.decode(encoder.assistant_end(encoder.text("</code>"))) == "<|im_end|>\n"
    assert encoder.decode(encoder.assistant_end([5, encoder.turn_end])) == "\n"


def test_positions_equal_those_of_transformers(policy, picture, message):
    import torch

    encoder = policy.encoder
    messages = [message("user", "a", picture(84, 56), "bc", picture(56, 140), "d"), message("user", picture(112, 84))]
    ids = [token for one in messages for token in encoder.message_ids(one)]
    grids = [encoder.grid(ref) for one in messages for ref in one.images]
    ours = mrope_positions(ids, grids, encoder.image_pad)
    tokens = torch.tensor([ids])
    theirs, _ = policy.model.model.get_rope_index(
        tokens, (tokens == encoder.image_pad).int(), image_grid_thw=torch.tensor(grids)
    )
    assert np.array_equal(ours, theirs[:, 0].numpy())


@pytest.mark.parametrize(
    ("ids", "grids"),
    [([1, 9, 9, 2], []), ([1, 2], [(1, 2, 4)]), ([1, 9, 9], [(1, 4, 4)]), ([9, 9, 1, 9, 9], [(1, 4, 4)])],
)
def test_pad_tokens_that_disagree_with_the_pictures_are_refused(ids, grids):
    with pytest.raises(ValueError, match="picture"):
        mrope_positions(ids, grids, image_pad=9)


def test_the_processor_works_without_its_video_half(tiny_encoder, picture, store):
    processor = ImageOnlyProcessor(tiny_encoder.image_processor, tiny_encoder.tokenizer)
    out = processor(text=["<|image_pad|>?"], images=[store.get(picture(84, 56))])
    assert list(out["input_ids"][0]).count(tiny_encoder.image_pad) == 6


def test_a_folder_without_picture_settings_is_refused(tiny_checkpoint, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PolicyError, match="preprocessor_config"):
        ChatEncoder.load(folder)


def test_a_tokenizer_of_another_family_is_refused(tiny_checkpoint, tmp_path):
    from transformers import AutoTokenizer

    path = tiny_checkpoint / "tokenizer.json"
    text = path.read_text(encoding="utf-8").replace("<|image_pad|>", "<image>")
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("extra_special_tokens", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(PolicyError, match=r"<\|image_pad\|>"):
        ChatEncoder(tokenizer, Qwen2VLImageProcessorPil())
