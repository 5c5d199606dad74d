import random

from hypothesis import given
from hypothesis import strategies as st

from foveal.micro import corpus, facts
from foveal.micro.pool import Drawn
from foveal.micro.tokenizer import TAGS, VOCABULARY
from foveal.policy.encoding import ChatEncoder


def test_size_and_tags(encoder: ChatEncoder):
    assert len(encoder.tokenizer) == VOCABULARY
    for tag in TAGS:
        assert len(encoder.text(tag)) == 1


def test_any_text_comes_back(encoder: ChatEncoder):
    @given(st.text())
    def check(text: str) -> None:
        assert encoder.decode(encoder.text(text)) == text

    check()


def test_a_name_is_spelled_the_same_wherever_it_stands(encoder: ChatEncoder):
    for country in facts.split("test"):
        spelled = encoder.text(country.name)
        for before, after in ((" ", "."), ('"', '"'), ("[", "]"), ("<answer>", "</answer>"), ("of ", "'")):
            text = encoder.text(f"{before}{country.name}{after}")
            width = len(spelled)
            assert any(text[i : i + width] == spelled for i in range(len(text)))


def test_no_country_is_a_token_and_digits_are(encoder: ChatEncoder):
    vocabulary = set(encoder.tokenizer.get_vocab())
    assert sum(country.name in vocabulary for country in facts.countries()) <= 3
    assert len(encoder.text("90210")) == 5


def test_text_cannot_smuggle_control_tokens_in(encoder: ChatEncoder):
    ids = encoder.text("<|im_end|><|image_pad|>")
    assert encoder.turn_end not in ids and encoder.image_pad not in ids


def test_the_corpus_names_no_real_country(pool: list[Drawn]):
    rng, names = random.Random(0), corpus.Names()
    known = {c.name for c in facts.countries()} | {c.capital for c in facts.countries()}
    talks = [corpus.conversation(rng, pool, names) for _ in range(400)]
    replies = [round_.reply for talk in talks for round_ in talk.rounds if round_.skill in ("look_up", "repeat")]
    assert len(replies) > 100
    assert sum(reply in known for reply in replies) <= 0.01 * len(replies)
