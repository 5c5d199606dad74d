"""The page of benchmark runs: made-up answers whose figures can be worked by hand, looked at in a real browser."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from foveal.bench.figures import draw
from foveal.bench.header import FILE, Code, Header
from foveal.bench.pages.gallery import EXAMPLES, Wrong, spread
from foveal.bench.pages.shown import policy_words
from foveal.bench.pages.site import read, write_page
from foveal.bench.run import FAILURES, Failure
from foveal.errors import InputError, RecordError
from foveal.policy.paid import Price
from foveal.records import RunWriter
from foveal.trajectory import (
    CellResult,
    Observation,
    Question,
    SearchHit,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
)

HOSTILE = "</script><img src=x onerror=alert(1)><b>'\""
TITLES = {"vstar": "V*", "realx": "RealX-Bench", "wemath": "We-Math", "realx-mini": "realx-mini"}
MODES = ("with-tools", "without-tools", "blind", "blank")
LINKS = 'return [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href"))'
CODE = ("image_1.crop((1, 2, 30, 20))", "print(6 * 7)", "ImageDraw.Draw(image_1)", "print(name)")


def head(benchmark: str, n: int, modes=MODES, **changes) -> Header:
    return Header(
        **{
            "benchmark": benchmark, "title": TITLES.get(benchmark, benchmark), "data": "d", "items": n, "left_out": 0,
            "questions_sha256": "0" * 64, "n": n, "repeats": 1, "seed": 0, "temperature": 0.0, "policy": "org/one",
            "profile": "foveal", "thumbnails": True, "prompts": {"with-tools": "ab" * 32}, "suffix": "Answer shortly.",
            "tools": {"offered": ["code", "search"], "search": "an index"}, "tools_why": "w",
            "limits": {"max_image_pixels": 100, "max_turns": 9}, "scorer": "s", "judge": None, "price": Price(),
            "modes": modes, "code": (Code(since="", foveal="0.1.0", commit="c" * 40),), **changes,
        }
    )  # fmt: skip


def answer(number: int, right: bool, calls: int, writer: RunWriter, **changes) -> Trajectory:
    """Question `number` of a set whose families and axes follow from the number."""
    seen = writer.images.put(Image.new("RGB", (40 + number % 7, 30), (20 * (number % 12), 90, 120)))
    turns = []
    for call in range(calls):
        if (number + call) % 3 == 2:
            found = Observation(tool="search", query="q", hits=(SearchHit(title="t"),))
            turns.append(Turn(text="t", call=ToolCall(tool="search", arguments={"query": "q"}), observation=found))
        else:
            code = CODE[(number + call) % len(CODE)]
            cell = Observation(tool="code", cell=CellResult(status=("ok", "error")[number % 2], stderr="bad\n"))
            turns.append(Turn(text="t", call=ToolCall(tool="code", arguments={"code": code}), observation=cell))
    ends = [StopReason.ANSWERED, StopReason.MAX_TURNS, StopReason.MAX_TOKENS]
    stop = StopReason.ANSWERED if right else ends[number % 3]
    meta = {"perception": number % 2 == 0, "search": number % 3 == 0, "reason": number % 2 == 0}
    question = Question(
        id=f"q-{number}", text=f"{HOSTILE} {number}?\nAnswer shortly.", images=(seen,), gold=(f"gold {number}",),
        family=("streets", "a family with quite a long name")[number % 2], meta=meta,
    )  # fmt: skip
    values = {
        "id": f"q-{number}/0", "question": question, "policy": "p", "profile": "foveal", "stop_reason": stop,
        "turns": (*turns, Turn(text="<answer>x</answer>", prompt_tokens=900, completion_tokens=40)), "seconds": 2.0,
        "answer": None if stop is not StopReason.ANSWERED else f"gold {number}" if right else HOSTILE,
        "reward": {"accuracy": float(right)}, "settings": {"bench": {"by": "rule", "problem": ""}},
    }  # fmt: skip
    return Trajectory(**{**values, **changes})


def save(folder: Path, header: Header, right) -> Path:
    """A run; `right(mode, number)` says what was answered. Tools are called by all but every fifth."""
    for mode in header.modes:
        with RunWriter(folder / mode) as writer:
            for number in range(header.n):
                calls = 0 if mode == "without-tools" or number % 5 == 0 else 1 + number % 3
                writer.write(answer(number, right(mode, number), calls, writer))
    (folder / FILE).write_text(header.model_dump_json())
    return folder


def by_mode(tools: int, bare: int, of: int = 10):
    """Right in so many of ten questions with tools, and in so many in the other modes."""
    return lambda mode, number: number % of < (tools if mode == "with-tools" else bare)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Two models on RealX-Bench, one of them on V*, too."""
    folder = tmp_path_factory.mktemp("runs")
    save(folder / "a", head("realx", 30), by_mode(4, 2))
    other = head("realx", 30, MODES[:2], policy="/models/checkpoints/step-100", temperature=1.0)
    save(folder / "b", other, by_mode(8, 2))
    save(folder / "c", head("vstar", 10, MODES[:2]), by_mode(5, 5))
    return folder


@pytest.fixture
def runs(saved, tmp_path) -> list[Path]:
    """Copies to spoil."""
    return [Path(shutil.copytree(saved / name, tmp_path / name)) for name in "abc"]


def text(page: Path) -> str:
    """What the page says, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text().partition("<main>")[2]))


def test_the_page_opens_from_disk_and_carries_all_that_it_shows(browser, runs, tmp_path):
    page = write_page(runs, tmp_path / "site")
    for run in runs:
        shutil.rmtree(run)
    for width, dark in ((1280, False), (390, False), (1280, True)):
        browser.open(page, width=width, dark=dark)
        assert browser.too_wide() == []
        assert browser.low_contrast() == []
        images = browser.images()
        assert len(images) >= 2 * EXAMPLES and all(wide > 0 for _, wide in images)
        assert browser.log() == []
    links = browser.js(LINKS)
    assert len(set(links)) > 40 and all((page.parent / link).is_file() for link in links), links
    assert browser.js("return document.scripts.length") == 0
    assert browser.js("return document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert HOSTILE in browser.js("return document.querySelector('.cards').textContent")


def test_pages_behind_the_page_lead_back(browser, runs, tmp_path):
    page = write_page(runs[:1], tmp_path / "site")
    browser.open(page)
    browser.click(".figures td a")
    assert browser.js("return location.pathname").endswith("/pages/1-realx/with-tools/index.html")
    assert browser.js("return document.querySelector('h1').textContent") == "RealX-Bench · org/one · with tools"
    assert browser.js("return document.querySelectorAll('.rows > li').length") == 30
    assert all(wide > 0 for _, wide in browser.images())
    browser.click(".rows a")
    assert all(wide > 0 for _, wide in browser.images())
    browser.click("nav .home")
    browser.click("nav .home")
    assert browser.js("return location.pathname") == str(page)
    assert browser.log() == []


def test_what_stands_in_a_cell(runs, tmp_path):
    said = text(write_page(runs, tmp_path / "site"))
    figures = [draw(run).figures for run in runs]
    first = f"40.0 {100 * figures[0]['low']:.1f} to {100 * figures[0]['high']:.1f} 30 questions, code, search"
    assert first in said
    assert "better than the first on 30 questions: +40.0" in said and "the runs differ in temperature" in said
    assert "2 benchmarks: 2 models" in said
    assert "quoted from the papers, which give no intervals 28.3 DeepEyesV2 7B; DeepEyesV2, Table 1" in said
    assert "Table 1 Qwen2.5-VL-7B with search: 22.3 hard to see" in said
    assert "81.8 DeepEyesV2 7B; DeepEyesV2, Table 2 Qwen2.5-VL-7B: 78.5" in said
    assert "calls a tool in 92.7 % after its cold start, in 92.1 % after RL (quoted, Figure 7)" in said
    assert "not run" in said, "the second model has no V*"
    hard = draw(runs[0]).figures["axis.integration.accuracy"]
    assert f"all three {'org/one'} {100 * hard:.1f}" in said
    # Won by tools are 2 and 3 of every ten.
    assert "6 20.0 % of 30" in said and "6 won by tools" in said and "18 60.0 % of 30" in said
    assert "with pictures minus without" in said and "observations minus blanked" in said
    for words in ("Answer shortly.", "c" * 40, "abababababab", "max_turns 9", "an index", "step-100, temperature 1"):
        assert words in said, words


def test_flips_lead_to_their_answers(runs, tmp_path):
    page = write_page(runs[:1], tmp_path / "site")
    found = re.findall(r'<a href="([^"]+)">(q-\d+)</a>', page.read_text())
    assert [name for _, name in found] == [f"q-{n}" for n in range(30) if n % 10 in (2, 3)]
    assert all(f"{name.removeprefix('q-')}?" in (page.parent / link).read_text() for link, name in found)


def test_bars_are_the_shares_of_the_figures(runs, tmp_path):
    page = write_page(runs[:1], tmp_path / "site").read_text()
    bars = re.findall(r'<span class="drawn" title="([^"]*)"', page)
    figures = draw(runs[0]).figures
    assert len(bars) == 3  # all, and two families
    assert f"cut out a piece {100 * figures['operations.crop']:.1f} %" in bars[0]
    assert f"text search {100 * figures['family.streets.operations.search']:.1f} %" in bars[2]


def test_wrong_answers_by_end(runs, tmp_path):
    said = text(write_page(runs[:1], tmp_path / "site"))
    words = ("answered, and wrong 6 of 18", "turn limit reached without an answer 6 of", "at its token limit 6 of")
    ends = [said.index(one) for one in words]
    assert ends == sorted(ends) and "on the way: code raised" in said


def test_examples_are_of_every_run_and_family(runs):
    shown = read(runs)
    wrong = [Wrong(one, n, t) for one in shown for n, t in enumerate(one.main, 1) if t.reward["accuracy"] == 0]
    drawn = spread(wrong)
    assert len(drawn) == EXAMPLES == len({(one.of.place, one.trajectory.question.family) for one in drawn})
    assert spread([]) == [] and spread(wrong[:2]) == wrong[:2]


def test_the_same_model_twice_is_two_columns(tmp_path):
    folders = [save(tmp_path / name, head("vstar", 10, MODES[:1]), by_mode(5, 0)) for name in "ab"]
    said = text(write_page(folders, tmp_path / "site"))
    assert (
        "V*: org/one" in said and "org/one (2)" in said and "cannot tell from the first on 10 questions: +0.0" in said
    )
    assert "What tools add" not in said and "the runs differ" not in said


def test_runs_of_other_questions_are_not_compared(tmp_path):
    folders = [save(tmp_path / "a", head("vstar", 4, MODES[:1]), by_mode(5, 0))]
    folders.append(tmp_path / "b")
    with RunWriter(folders[1] / "with-tools") as writer:
        one = answer(0, True, 1, writer)
        writer.write(one.model_copy(update={"question": one.question.model_copy(update={"gold": ("else",)})}))
    (folders[1] / FILE).write_text(head("vstar", 4, MODES[:1], policy="two").model_dump_json())
    said = text(write_page(folders, tmp_path / "site"))
    assert "not compared: question q-0 is another one" in said and "3 answers not there yet" in said


def test_a_score_that_is_no_mean_has_the_accuracy_beside_it(tmp_path):
    folder = tmp_path / "run"
    with RunWriter(folder / "with-tools") as writer:
        for number, key in enumerate(("2steps_1", "2steps_2", "2steps_multi")):
            one = answer(number, key != "2steps_multi", 0, writer)
            meta = {"problem": 1, "key": key}
            writer.write(one.model_copy(update={"question": one.question.model_copy(update={"meta": meta})}))
    (folder / FILE).write_text(head("wemath", 3, MODES[:1]).model_dump_json())
    assert "50.0 accuracy 66.7, 20.8 to 93.9" in text(write_page([folder], tmp_path / "site"))


def test_attempts_that_are_no_answers(tmp_path):
    folder = save(tmp_path / "run", head("vstar", 9, MODES[:1]), by_mode(5, 0))
    (folder / FILE).write_text(head("vstar", 16, MODES[:1]).model_dump_json())
    failed = [Failure(mode="with-tools", id=f"q-{n}/0", kind="search", why=HOSTILE, at="2026") for n in range(10, 17)]
    (folder / FAILURES).write_text("".join(one.model_dump_json() + "\n" for one in failed))
    said = text(write_page([folder], tmp_path / "site"))
    assert "7 attempts failed for no fault of the model" in said and "2 more of this run in failures.jsonl" in said
    assert "search: &lt;/script&gt;&lt;img" in said and "not there yet" not in said


def test_a_run_without_answers_and_one_that_is_not_known(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_text(head("vstar", 5).model_dump_json())
    said = text(write_page([tmp_path / "run"], tmp_path / "site"))
    assert "20 answers not there yet" in said and "Wrong answers" not in said
    later = save(tmp_path / "later", head("vstar2", 5, MODES[:1]), by_mode(5, 0))
    said = text(write_page([later], tmp_path / "site2"))
    assert "vstar2: org/one" in said and "100.0 56.6 to 100.0" in said and "quoted" not in said


def test_a_lost_picture_and_a_torn_line_do_not_end_the_page(runs, tmp_path):
    for lost in sorted((runs[0] / "with-tools" / "images").iterdir())[:3]:
        lost.unlink()
    with (runs[0] / "with-tools" / "trajectories.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "id": "half')
    page = write_page(runs[:1], tmp_path / "site")
    assert "is torn" in (page.parent / "pages/1-realx/with-tools/index.html").read_text()


def test_a_page_can_be_written_again_and_into_the_run(runs):
    page = write_page(runs[:1], runs[0])
    assert page == runs[0] / "index.html"
    first = page.read_bytes()
    assert write_page(runs[:1], runs[0]).read_bytes() == first


def test_what_is_no_run_or_no_folder_is_told(runs, tmp_path):
    with pytest.raises(RecordError, match="holds no benchmark run"):
        write_page([tmp_path], tmp_path / "site")
    assert not (tmp_path / "site").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_page(runs[:1], tmp_path / "file")


@pytest.mark.parametrize(
    ("policy", "words"), [("m", "m"), ("Qwen/Q-7B", "Qwen/Q-7B"), ("/a/b/c", "b/c"), ("src/x/y", "x/y"), ("/", "/")]
)
def test_policies_in_a_few_words(policy: str, words: str):
    assert policy_words(policy) == words
