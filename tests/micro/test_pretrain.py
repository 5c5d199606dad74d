import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from foveal.errors import InputError, RecordError, TrainingError
from foveal.files import alone
from foveal.micro.corpus import Names, conversation
from foveal.micro.examples import collate, example
from foveal.micro.model import new_model
from foveal.micro.pool import Drawn, Views
from foveal.micro.pretrain import Pretraining
from foveal.micro.settings import PretrainSettings
from foveal.policy.encoding import TURN_END, ChatEncoder
from foveal.policy.transformers import TransformersPolicy
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart

TINY = PretrainSettings(
    scenes=8,
    vision_steps=3,
    vision_batch=4,
    language_steps=4,
    language_batch=2,
    save_every=2,
    log_every=1,
    warmup=1,
)


def quiet(message: str) -> None:
    del message


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums over several threads differ in the last bit, from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(tmp_path: Path):
    whole = Pretraining(TINY, tmp_path / "whole", quiet)
    whole.run()

    class Stopped(Exception):
        pass

    # Stopped in each stage: before any save, behind one, and between two.
    for where in ("vision 1/", "vision 3/", "language 1/", "language 3/"):

        def stop(message: str, where: str = where) -> None:
            if message.startswith(where):
                raise Stopped

        with pytest.raises(Stopped):
            Pretraining(TINY, tmp_path / "cut", stop).run()
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"stage": "langu')  # killed while it was written
    again = Pretraining(TINY, tmp_path / "cut", quiet)
    again.run()
    for name, weights in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], weights, rtol=0, atol=0)
    rows, same = (
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    )
    assert [row["stage"] for row in rows] == ["vision"] * 3 + ["language"] * 4
    told = [{name: value for name, value in row.items() if name != "seconds_per_step"} for row in (*rows, *same)]
    assert told[: len(rows)] == told[len(rows) :], "each step once"
    with pytest.raises(TrainingError, match="other settings"):
        Pretraining(TINY.model_copy(update={"warmup": 2}), tmp_path / "cut", quiet).run()
    (tmp_path / "cut" / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(RecordError, match="none of metrics"):
        Pretraining(TINY, tmp_path / "cut", quiet).run()
    with alone(tmp_path / "cut"), pytest.raises(InputError, match="another process is writing to"):
        Pretraining(TINY, tmp_path / "cut", quiet).run()
    policy = TransformersPolicy(tmp_path / "whole" / "base")
    assert policy.model.dtype == torch.float32


def before_view(view: Views) -> Image.Image:
    """A picture of the size from which a view is made: a scene or a crop."""
    return Image.new("RGB", (448, 448) if view.shape[1] == 112 else (64, 48))


def test_examples_are_encoded_as_the_chat_encoder_encodes_messages(encoder: ChatEncoder, pool: list[Drawn]):
    talk = conversation(random.Random(2), pool, Names())
    built = example(encoder, talk)
    store = ImageStore()
    ids = encoder.message_ids(Message(role="system", parts=(TextPart(text=talk.system),)))
    for round_ in talk.rounds:
        parts = tuple(
            TextPart(text=part) if isinstance(part, str) else ImagePart(image=store.put(before_view(part)))
            for part in round_.asked
        )
        reply = [*encoder.text(round_.reply), encoder.turn_end]
        ids += encoder.message_ids(Message(role="user", parts=parts))
        ids += [*encoder.assistant_start(), *reply, *encoder.assistant_end(reply)]
    assert built.ids == ids
    trained = encoder.decode([token for token, mask in zip(built.ids, built.mask, strict=True) if mask])
    assert trained == "".join(round_.reply + TURN_END for round_ in talk.rounds)


def test_positions_agree_with_transformers(encoder: ChatEncoder, pool: list[Drawn], tmp_path: Path):
    rng, names = random.Random(0), Names()
    batch = collate(encoder, [example(encoder, conversation(rng, pool, names)) for _ in range(6)])
    model = new_model(encoder, seed=0)
    theirs, _ = model.model.get_rope_index(
        batch["input_ids"],
        mm_token_type_ids=(batch["input_ids"] == encoder.image_pad).int(),
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    assert torch.equal(theirs * batch["attention_mask"], batch["position_ids"] * batch["attention_mask"])
