"""Read back by `datasets` and by TRL itself, in the installed versions."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foveal.curate.questions import read_questions
from foveal.integrations.formats.transfer import bring, export
from foveal.records import read_run

SAID = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "<answer>noise</answer>"}]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`load(folder)`: its split `train`, as `datasets` reads it offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def read(folder):
        from datasets import load_dataset

        return load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train")

    return read


@pytest.fixture
def processor(tiny_checkpoint):
    """The processor of Qwen2.5-VL for pictures alone (its video half needs torchvision)."""
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.processing_utils import ProcessorMixin
    from trl.chat_template_utils import qwen2_5_vl_training_chat_template as template

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)

    class ImageProcessor(Qwen2_5_VLProcessor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return ImageProcessor(
        Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16), tokenizer, chat_template=template
    )


def test_trl_trains_on_the_turns_and_sees_every_picture(run, tmp_path, load, processor):
    from trl import is_conversational
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    export(run, "trl", tmp_path / "out")
    rows = load(tmp_path / "out")
    assert is_conversational(rows[0])
    collator = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)
    batch = collator([dict(rows[0])])
    original = read_run(run).trajectories[0]
    assert len(batch["image_grid_thw"]) == len(original.images) == 2
    learned = batch["input_ids"][batch["labels"] != -100]
    assert processor.tokenizer.decode(learned).replace("<|im_end|>\n", "<|im_end|>") == "".join(
        turn.text + "<|im_end|>" for turn in original.turns
    )


def test_the_pictures_are_pictures_to_datasets(run, tmp_path, load):
    export(run, "trl", tmp_path / "out")
    row = load(tmp_path / "out")[0]
    assert set(row) == {"id", "messages", "images", "foveal"}
    original = read_run(run)
    assert [image.tobytes() for image in row["images"]] == [
        original.images.get(ref).tobytes() for ref in original.trajectories[0].images
    ]
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert [part["type"] for part in row["messages"][1]["content"]] == ["image", "text"]


def test_questions_are_prompts_with_their_pictures_and_the_answer(question_set, tmp_path, load, processor):
    from trl import is_conversational
    from trl.data_utils import apply_chat_template, prepare_multimodal_messages

    export(question_set, "trl", tmp_path / "out", "You look.", " Think.")
    rows = load(tmp_path / "out")
    assert rows["solution"][:] == ["B", "ja", "42"]
    assert all(is_conversational({"prompt": row["prompt"]}) for row in rows)
    for row, count in zip(rows, (1, 2, 0), strict=True):
        prompt = prepare_multimodal_messages(row["prompt"], row["images"])
        assert sum(part["type"] == "image" for message in prompt for part in message["content"]) == count
        text = apply_chat_template({"prompt": prompt}, processor)["prompt"]
        assert text.count("<|image_pad|>") == count and "You look." in text and text.endswith("assistant\n")
    assert "Größer? 大 Think." in apply_chat_template({"prompt": rows[1]["prompt"]}, processor)["prompt"]


def test_rows_that_trl_users_have_are_read(run, tmp_path):
    """Plain texts with pictures apart, prompt and completion, one picture in `image`."""
    picture = next((run / "images").iterdir()).read_bytes()
    apart = {"prompt": SAID[:1], "completion": SAID[1:], "image": {"bytes": picture}}
    rows = [{"messages": SAID, "images": [{"bytes": picture}]}, {"messages": SAID, "images": []}]
    (tmp_path / "set" / "deep").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([apart]), tmp_path / "set" / "deep" / "theirs.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "more.parquet")
    assert bring(tmp_path / "set", "trl", tmp_path / "back").kept == 3
    first, second, third = read_run(tmp_path / "back").trajectories
    assert first.prompt == second.prompt and [part.type for part in first.prompt[0].parts] == ["image", "text"]
    assert (first.id, first.answer, first.question.text) == ("theirs-1", "noise", "What?")
    assert third.images == () and third.turns == first.turns


def test_prompts_of_others_become_questions(tmp_path):
    rows = [
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": " 6 × 7? "}], "solution": "42"},
        {"prompt": [{"role": "user", "content": "who?"}], "solution": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "theirs.parquet")
    bring(tmp_path / "theirs.parquet", "trl", tmp_path / "back")
    questions = [question.row for question in read_questions([tmp_path / "back" / "questions.jsonl"])]
    assert [(row.text, row.gold) for row in questions] == [("6 × 7?", ("42",)), ("who?", ())]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "no message of the assistant"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "no role 'judge'"),
        ({"messages": None}, "no messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "text": None}]}]}, "fewer pictures than places"),
        ({"messages": [{"role": "user", "content": [{"type": "audio", "text": "a"}]}]}, "neither text nor picture"),
        ({"messages": [{"role": "assistant", "content": "a"}], "images": [{"path": "x.png"}]}, "not in the file"),
        ({"messages": [{"role": "assistant", "content": "a"}], "images": [{"bytes": b"GIF"}]}, "for 1 pictures"),
        ({"messages": SAID, "images": [{"bytes": b"GIF89a"}]}, "a picture of 6 bytes cannot be used: not a picture"),
        ({"messages": [{"role": "assistant", "content": "a"}], "foveal": "{}"}, "no label"),
    ],
)
def test_a_row_that_makes_no_conversation_is_told_of(row, says, tmp_path):
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "theirs.parquet")
    result = bring(tmp_path / "theirs.parquet", "trl", tmp_path / "back")
    assert (result.kept, result.rejected) == (0, 1)
    told = json.loads((tmp_path / "back" / "rejects.jsonl").read_text())
    assert told["row"] == 1 and told["file"].endswith("theirs.parquet") and says in told["reason"]
