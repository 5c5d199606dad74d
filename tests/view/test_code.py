import html
import re

from hypothesis import given
from hypothesis import strategies as st

from foveal.view.code import highlight


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_highlighting_loses_nothing_and_escapes_everything(source):
    shown = highlight(source)
    assert re.fullmatch(r'(?:[^<>]|<span class="\w\w">|</span>)*', shown)
    assert html.unescape(re.sub(r"</?span[^>]*>", "", shown)) == source


def test_the_usual_kinds_are_coloured():
    shown = highlight("def f():  # note\n    return 'a' + str(1)")
    for piece in ('kw">def', 'fn">f', 'co"># note', 'st">&#x27;', 'bi">str', 'nu">1'):
        assert piece in shown
