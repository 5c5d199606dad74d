import random

import torch

from foveal.micro import vision
from foveal.micro.corpus import COPYING, Conversation, Names, Round, conversation
from foveal.micro.examples import collate, example
from foveal.micro.model import new_model
from foveal.micro.pool import Drawn
from foveal.micro.questions import SYSTEM
from foveal.policy.encoding import ChatEncoder


def one(encoder: ChatEncoder, *rounds: Round):
    return example(encoder, Conversation(SYSTEM, rounds))


def test_pointers_lead_from_the_token_before_a_fact_to_what_it_is_a_fact_of(encoder: ChatEncoder, pool: list[Drawn]):
    drawn = next(drawn for drawn in pool if len(drawn.boards) > 1)
    first, second = drawn.boards[:2]
    reply = f" {first.colour}{first.x},{first.y}; {second.colour}{second.x},{second.y}"
    built = one(
        encoder,
        Round("list", (drawn.view, "List the boards."), reply, scene=drawn, boards=(first, second)),
        Round("ball", ("What colour is the ball?",), f"<think>I see.</think>\n<answer>{drawn.ball}</answer>"),
    )
    [(pads, _)] = built.scenes
    assert set(built.ids[pads : pads + vision.SCENE_TOKENS]) == {encoder.image_pad}
    seen = {pads + vision.token_of(first): "", pads + vision.token_of(second): "", pads + _ball(drawn): ""}
    for looking, [target] in built.pointers:
        seen[target] += encoder.decode([built.ids[looking + 1]])
    expected = [f"{board.x}{board.y}" for board in (first, second)] + [_starts(encoder, drawn.ball)]
    assert list(seen.values()) == expected


def test_pointers_lead_from_a_count_to_the_scene_and_from_digits_to_their_close_view(
    encoder: ChatEncoder, pool: list[Drawn]
):
    drawn = next(drawn for drawn in pool if len({crop.number for crop in drawn.crops} - {None}) > 1)
    first, second = [crop for crop in drawn.crops if crop.number is not None][:2]
    flag = next(crop for crop in drawn.crops if crop.number is None)
    built = one(
        encoder,
        Round("count", (drawn.view, "How many boards are there?"), str(len(drawn.boards)), scene=drawn),
        Round(
            "read",
            (first.view, flag.view, second.view, "What are they?"),
            f"the number {first.number} and a flag and the number {second.number}",
            numbers=(first.number, None, second.number),
        ),
    )
    told = {
        tuple(range(built.scenes[0][0], built.scenes[0][0] + vision.SCENE_TOKENS)): str(len(drawn.boards)),
        **{tuple(pads + place for place in vision.MIDDLE): str(number) for pads, number in built.crops},
    }
    seen = dict.fromkeys(told, "")
    for looking, target in built.pointers:
        assert {built.ids[index] for index in target} == {encoder.image_pad}
        seen[tuple(target)] += encoder.decode([built.ids[looking + 1]])
    assert seen == told


def test_copies_lead_to_where_the_passage_with_the_longest_common_past_goes_on(encoder: ChatEncoder):
    built = one(encoder, Round("repeat", ("Repeat: 7, 123, 923, 5",), "7, 123, 923, 5"))
    found = dict(built.copies)
    text = [encoder.decode([token]) for token in built.ids]
    for looking, places in found.items():
        assert {text[place] for place in places} == {text[looking + 1]}
        assert {text[place - 1] for place in places} == {text[looking]}
    start = built.mask.index(1)
    asked = "".join(text[:start]).index("923, 5")
    after_nine_two = next(i for i in found if "".join(text[start : i + 1]) == "7, 123, 92")
    [place] = found[after_nine_two]
    assert len("".join(text[:place])) == asked + 2, "23 stands in 123, too, but behind a 1"


def test_only_copying_skills_are_taught_to_copy(encoder: ChatEncoder, pool: list[Drawn]):
    rng, names = random.Random(0), Names()
    talks = [conversation(rng, pool, names) for _ in range(60)]
    for talk in talks:
        assert bool(example(encoder, talk).copies) <= any(round_.skill in COPYING for round_ in talk.rounds)
    assert any(example(encoder, talk).copies for talk in talks)


def test_the_loss_of_looking_is_minus_the_log_of_the_attention_that_the_layer_pays(
    encoder: ChatEncoder, pool: list[Drawn]
):
    rng, names = random.Random(1), Names()
    examples = [example(encoder, conversation(rng, pool, names)) for _ in range(8)]
    batch = collate(encoder, examples)
    model = new_model(encoder, seed=0)
    model.set_attn_implementation("eager")
    inputs = {key: value for key, value in batch.items() if key != "mask"}
    out = model.model(**inputs, output_hidden_states=True, output_attentions=True)
    attention = out.attentions[vision.PLACES_LAYER]
    looks = [(row, a, b) for row, item in enumerate(examples) for a, b in item.copies]
    middle = out.hidden_states[vision.PLACES_LAYER]
    loss = vision.looking_loss(model, middle, batch["position_ids"], vision.COPYING, looks)
    paid = [attention[row, 2:4, a, b].sum(-1) for row, a, b in looks]
    torch.testing.assert_close(loss, -torch.stack(paid).log().mean())


def _ball(drawn: Drawn) -> int:
    return vision.token_at(*drawn.ball_at)


def _starts(encoder: ChatEncoder, word: str) -> str:
    return encoder.decode(encoder.text(word)[:1])
