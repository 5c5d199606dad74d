import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.protocol import DEEPEYES_V2, FOVEAL, PROFILES, Answer, Call, Code, Malformed, parse_turn
from foveal.trajectory import ToolCall


def block(code: str) -> str:
    return f"<code>\n```python\n{code}\n```\n</code>"


def action(text: str, profile=FOVEAL):
    return parse_turn(text, profile).action


# ---- foveal


def test_thinking_and_each_action():
    turn = parse_turn("<think>crop it</think>\n" + block("image_1.crop((0, 0, 5, 5))"))
    assert (turn.think, turn.action, turn.closed) == ("crop it", Code("image_1.crop((0, 0, 5, 5))"), True)
    call = parse_turn('<think>a</think><tool_call>{"name":"search","arguments":{"query":"Ørsted"}}</tool_call>')
    assert (call.action, call.closed) == (Call("search", {"query": "Ørsted"}), True)
    assert action('<tool_call>\n{"name": "image_search"}\n</tool_call>') == Call("image_search", {})
    assert action('<tool_call>{"name": "image_search", "arguments": null}</tool_call>') == Call("image_search", {})
    assert parse_turn("<think>b</think><answer> 42 </answer>").action == Answer("42")


def test_thinking_is_optional_and_may_be_opened_by_the_template():
    assert parse_turn("<answer>x</answer>").think is None
    turn = parse_turn("already inside</think><answer>x</answer>")
    assert (turn.think, turn.action) == ("already inside", Answer("x"))
    assert parse_turn("Sure. <think>t</think><answer>x</answer>").think == "t"


def test_tags_in_the_thinking_are_no_action():
    turn = parse_turn("<think>I could use <code> or <answer>no</answer> here</think><answer>yes</answer>")
    assert turn.action == Answer("yes")


def test_unclosed_thinking_is_told():
    assert "</think>" in action("<think>hm <answer>5</answer>").message
    assert isinstance(action("<think>"), Malformed)


def test_first_action_wins():
    assert action(block("print(1)") + "<answer>1</answer>") == Code("print(1)")
    assert action("<answer>1</answer>" + block("print(1)")) == Answer("1")
    assert action(block("a = 1") + block("b = 2")) == Code("a = 1")


def test_a_broken_action_is_not_replaced_by_a_later_answer():
    assert isinstance(action("<code>print(1)</code><answer>1</answer>"), Malformed)
    assert isinstance(action("<tool_call>{oops}</tool_call><answer>1</answer>"), Malformed)
    assert isinstance(action("<tool_call>search: x</tool_call><answer>1</answer>"), Malformed)


def test_mentioned_tags_are_prose():
    assert action("I use <code> and <tool_call> now: " + block("x = 1")) == Code("x = 1")
    assert action("My <answer> follows. <answer>4</answer>") == Answer("4")
    assert action("No <answer> yet. " + block("x = 1")) == Code("x = 1")


def test_tags_inside_code_strings():
    code = "print('</code><answer>no</answer><think>')\ns = '</think>'"
    assert action("<think>t</think>" + block(code)) == Code(code)
    assert action("<think>t</think>" + block("print('''\n```\n''')")) == Code("print('''\n```\n''')")


def test_tags_inside_json_strings():
    text = '<tool_call>{"name": "search", "arguments": {"query": "</tool_call> <answer>"}}</tool_call>'
    assert action(text) == Call("search", {"query": "</tool_call> <answer>"})


def test_nested_thinking():
    assert action("<think>a<think>b</think>c</think><answer>x</answer>") == Answer("x")


def test_crlf_and_unicode():
    assert action("<code>\r\n```python\r\nx = 'é'\r\ny = '😀'\r\n```\r\n</code>\r\n") == Code("x = 'é'\ny = '😀'")


@pytest.mark.parametrize("fence", ["```python\n", "```py\n", "```Python \n", "```\n", "\n\n```python\r\n"])
def test_fence_variants(fence):
    assert action(f"<code>{fence}  x = 1\n```</code>") == Code("  x = 1")


def test_missing_fence_names_the_fix():
    assert "```python" in action("<code>print(1)</code>").message
    assert "```python" in action("").message
    assert isinstance(action("<code>```python print(1)```</code>"), Malformed)


def test_closing_tag_cut_by_the_endpoint():
    code = parse_turn("<think>t</think><code>\n```python\nx = 1\n```\n")
    assert (code.action, code.closed) == (Code("x = 1"), False)
    call = parse_turn('<tool_call>{"name": "search", "arguments": {"query": "q"}}\n')
    assert (call.action, call.closed) == (Call("search", {"query": "q"}), False)
    answer = parse_turn("<think>t</think><answer>Paris")
    assert (answer.action, answer.closed) == (Answer("Paris"), False)


def test_code_cut_in_the_middle_is_malformed():
    assert "</code>" in action("<code>\n```python\nprint('</code>").message
    assert isinstance(action("<code>\n```python\nprint(1)\n</code>"), Malformed)
    assert isinstance(action("<code>\n```python\n"), Malformed)


@pytest.mark.parametrize("text", ["<answer></answer>", "<answer> \n</answer>", block("  \n"), "<code>```\n```</code>"])
def test_empty_actions_are_malformed(text):
    assert "empty" in action(text).message


@pytest.mark.parametrize(
    ("json_text", "kind"),
    [
        ('{"name": "search", "arguments": {"query": }}', "format"),
        ('{"name": "search"', "format"),
        ('{"arguments": {}}', "format"),
        ('{"name": 3}', "format"),
        ('{"name": "search", "arguments": "x"}', "arguments"),
        ('{"name": "code", "arguments": {"code": "1"}}', "format"),
        ('{"name": "search", "arguments": {"query": NaN}}', "format"),
        ('{"name": "search", "arguments": {"query": 1e999}}', "arguments"),
        ('{"name": "search", "arguments": {"query": "\\ud800"}}', "arguments"),
        ('{"name": "search", "arguments": {"query": ' + "[" * 50 + "]" * 50 + "}}", "arguments"),
        ('{"name": "search", "arguments": ' + '{"a": ' * 50 + "1" + "}" * 51, "arguments"),
        ('{"name": "search", "arguments": {"query": ' + "[" * 100_000 + "}}", "format"),
        ('{"name": "search", "arguments": {"query": ' + "1" * 5000 + "}}", "format"),
        ('{"name": "search"} {"name": "search"}', "format"),
    ],
)
def test_bad_tool_calls_are_malformed(json_text, kind):
    found = action(f"<tool_call>{json_text}</tool_call>")
    assert isinstance(found, Malformed)
    assert found.kind == kind
    assert "<tool_call>" in found.message or "<code>" in found.message


TAGS = [f"<{slash}{name}>" for name in ("think", "code", "tool_call", "answer") for slash in ("", "/")]
SEARCH = '{"name":"search","arguments":{"query":"q"}}'
PIECES = st.sampled_from(
    [*TAGS, SEARCH, "```python\n", "```", "\n", "\r\n", "{", "}", '"', "\\", "a", "é", "<|im_end|>", "\ud800"]
)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
@given(text=st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_parsing_never_raises(profile, text):
    turn = parse_turn(text, profile)
    assert isinstance(turn.action, Code | Call | Answer | Malformed)
    if isinstance(turn.action, Call):
        ToolCall(tool=turn.action.tool, arguments=turn.action.arguments)
    elif isinstance(turn.action, Malformed):
        assert turn.action.message
    else:
        assert next(iter(vars(turn.action).values())).strip()


@given(think=st.text(), code=st.text().filter(str.strip))
def test_code_comes_back_as_written(think, code):
    think = think.replace("<", "").replace(">", "")
    code = code.replace("`", "").replace("\r", "")
    if code.strip():
        assert action(f"<think>{think}</think>" + block(code)) == Code(code.rstrip())


@given(query=st.text(st.characters(exclude_categories=["Cs"])))
def test_calls_come_back_as_written(query):
    for profile in PROFILES.values():
        if profile is DEEPEYES_V2 and "<" in query:
            continue
        written = json.dumps({"name": "search", "arguments": {"query": query}}, ensure_ascii=False)
        assert action(f"<tool_call>{written}</tool_call>", profile) == Call("search", {"query": query})


HOSTILE = [
    "<code>", "<code></code", "<answer>", "<tool_call>", "<tool_call>{", "</code>", "<think>", "<think></think>", "```",
    "<code>```python\n", "<code>\n```python\n```\n", "```python\n", "```python ", "``` ", "\n```", " ", "\n", "[",
    '{"a":', "<code> <answer> <tool_call> ", "<answer><code>", "<answer></answer>", "<tool_call></tool_call>",
]  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(("head", "tail"), [("", ""), ("<think></think>", "</code></answer></tool_call>"),
                                            ("<tool_call>{\"a\": \"", ""), ("<code>\n```python\n", "")])  # fmt: skip
def test_one_megabyte_takes_linear_time(profile, piece, head, tail):
    text = head + piece * (1_000_000 // len(piece)) + tail
    started = time.process_time()
    parse_turn(text, profile)
    # Quadratic time would be minutes.
    assert time.process_time() - started < 3


# ---- deepeyes-v2


def test_deepeyes_answer_beats_everything_and_the_last_counts():
    text = f"<think>t</think>{block('x = 1')}<answer>1</answer> no <answer>2</answer>"
    assert action(text, DEEPEYES_V2) == Answer("2")


def test_deepeyes_takes_the_last_block_and_its_last_fence():
    assert action(block("a = 1") + block("b = 2"), DEEPEYES_V2) == Code("b = 2")
    both = "<code>\n```python\na = 1\n```\n```python\nb = 2\n```\n</code>"
    assert action(both, DEEPEYES_V2) == Code("b = 2")
    assert isinstance(action("<code>\n```\na = 1\n```\n</code>", DEEPEYES_V2), Malformed)


def test_deepeyes_code_beats_a_tool_call():
    text = block("a = 1") + '<tool_call>{"name": "image_search"}</tool_call>'
    assert action(text, DEEPEYES_V2) == Code("a = 1")


def test_deepeyes_cut_closing_tag():
    assert action("<think>t</think><code>\n```python\nx = 1\n```\n", DEEPEYES_V2) == Code("x = 1")
    assert action('<tool_call>{"name": "image_search"}', DEEPEYES_V2) == Call("image_search", {})


def test_deepeyes_error_words_are_upstreams():
    bad = action("<tool_call> {oops </tool_call>", DEEPEYES_V2)
    assert bad.message == (
        "Invalid tool call format: {oops. Error: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)"
    )
    unknown = action('<tool_call>{"name": "zoom"}</tool_call>', DEEPEYES_V2)
    assert unknown == Malformed("unknown_tool", 'Invalid tool call name: {"name": "zoom"}.')
    call = '{"name": "image_search", "arguments": {}}'
    assert action(f"<tool_call>{call}</tool_call>", DEEPEYES_V2) == Malformed(
        "arguments", f"Invalid tool call parameters for image search: {call}."
    )
