"""The micro tokenizer: byte-level BPE of 1,024 entries with ChatML and vision tokens.

Digits are single tokens, and a capitalised word never swallows the space before it, so that a name is spelled by the
same pieces wherever it stands. It is trained on invented names only: real ones, of either split, are spelled from
pieces. The protocol's tags are single tokens, as `<tool_call>` is in Qwen2.5's own vocabulary.
"""

import random
import re
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from foveal.micro import corpus
from foveal.micro.model import image_processor
from foveal.micro.pool import Drawn
from foveal.micro.questions import templates
from foveal.micro.teacher import wording
from foveal.policy.encoding import IMAGE_PAD, TURN_END, TURN_START, VIDEO_PAD, VISION_END, VISION_START, ChatEncoder

VOCABULARY = 1024
END_OF_TEXT = "<|endoftext|>"
SPECIAL = [END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD]
TAGS = [f"<{end}{name}>" for name in ("think", "code", "tool_call", "answer", "tool_response") for end in ("", "/")]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Digits alone; lower-case words with the space before them; other words, signs and white space by themselves.
PIECES = r"\p{N}| ?\p{Ll}+|\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"


def train(pool: Sequence[Drawn], seed: int, conversations: int = 6000) -> ChatEncoder:
    """Train the tokenizer on pre-training conversations and on the wording of questions and of the protocol."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(pool, seed, conversations), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[t for t in SPECIAL if t not in (TURN_END, END_OF_TEXT)],
    )
    fast.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    fast.chat_template = CHAT_TEMPLATE
    return ChatEncoder(fast, image_processor())


def _texts(pool: Sequence[Drawn], seed: int, conversations: int) -> Iterator[str]:
    rng = random.Random(f"{seed}-tokenizer")
    names = corpus.Names()
    for _ in range(conversations):
        talk = corpus.conversation(rng, pool, names)
        yield _untagged(talk.system)
        for round_ in talk.rounds:
            yield from (part for part in round_.asked if isinstance(part, str))
            yield _untagged(round_.reply)
    for text in (*templates(), *wording()):
        yield from [_untagged(text)] * (conversations // 20)


def _untagged(text: str) -> str:
    return re.sub("|".join(TAGS), "\n", text)
