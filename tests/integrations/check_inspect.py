"""The adapter with inspect-ai itself, which cannot stand beside the packages of development: `make check-inspect`.

The model is inspect's mock. Rows are those of V*, as lmms-eval reads them.
"""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import json_dataset
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from PIL import Image

from foveal.asking import seed_of
from foveal.curate.questions import QuestionRow
from foveal.errors import ConfigError
from foveal.integrations.formats.transfer import export
from foveal.integrations.inspect import agent, bench
from foveal.policy.openai import OpenAIPolicy

LOOK = "<think>I look.</think>\n<code>\n```python\ndisplay(image_1.crop((0, 0, 8, 8)))\nprint(6 * 7)\n```\n</code>"


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(4):
        Image.new("RGB", (64, 48), (20 * number, 0, 99)).save(folder / f"{number}.png")
        text = f"What is on board {number}?\n(A) one\n(B) two\n(C) three\n(D) four\nAnswer with the option's letter."
        row = {"question_id": str(number), "image": f"{number}.png", "text": text, "label": "ABCD"[number]}
        rows.append({**row, "category": "boards"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def model(messages, tools, choice, config) -> ModelOutput:
    """Looks first at board 1, never answers on board 2, is refused on board 3; else it answers A."""
    assert config.stop_seqs and config.max_tokens
    text = " ".join(message.text for message in messages)
    number = int(text.partition("on board ")[2][0])
    if number == 3:
        return ModelOutput(model="m", error="refused", usage=ModelUsage())
    looked = len(messages) > 2
    answer = "B" if looked and "42" in messages[-1].text else "A"
    said = LOOK if number == 2 or (number == 1 and not looked) else f"<answer>{answer}</answer>"
    # As endpoints do: the stop string is left out.
    output = ModelOutput.from_content("m", said.removesuffix("</code>").removesuffix("</answer>"))
    output.usage = ModelUsage(input_tokens=50, output_tokens=5, total_tokens=55)
    return output


def run(tmp_path: Path, data: Path, **given) -> EvalLog:
    (tmp_path / "config.toml").write_text("[limits]\nmax_turns = 2\n")
    task = bench("vstar", data=str(data), config=str(tmp_path / "config.toml"), **given)
    (log,) = inspect_eval(
        task,
        model=get_model("mockllm/model", custom_outputs=model),
        log_dir=str(tmp_path / "logs"),
        display="none",
        max_samples=2,
    )
    return log


def test_a_benchmark_from_question_to_log(data, tmp_path):
    log = run(tmp_path, data)
    assert log.status == "success" and log.eval.task == "vstar"
    found = {sample.id: sample for sample in log.samples}
    scores = {name: one.scores["rule"] for name, one in found.items() if one.scores}
    assert {name: one.value for name, one in scores.items()} == {"0": 1.0, "1": 1.0, "2": 0.0}
    assert found["3"].error is not None and "no measurement: endpoint" in found["3"].error.message
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(2 / 3)
    about = {name: one.metadata for name, one in scores.items()}
    assert [about[name]["stop_reason"] for name in "012"] == ["answered", "answered", "max_turns"]
    assert [about[name]["calls"] for name in "012"] == [0, 1, 1] and about["1"]["operations"] == ["crop"]
    roles = [message.role for message in found["1"].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert found["1"].messages[2].tool_calls[0].function == "code"
    assert [part.type for part in found["1"].messages[3].content] == ["text", "image"]
    assert found["1"].messages[2].text.endswith("</code>") and scores["1"].answer == "B"
    assert len([event for event in found["1"].events if event.event == "model"]) == 2


def test_a_draw_is_that_of_foveal_bench(data, tmp_path):
    ids = {sample.id for sample in run(tmp_path, data, n=2, seed=5).samples}
    assert ids < {sample.id for sample in run(tmp_path, data, n=3, seed=5).samples} and len(ids) == 2


def test_settings_without_effect_are_refused(data, tmp_path):
    for policy, toml in (
        (None, "repeats = 3"),
        ("http://127.0.0.1:9/v1", 'model = "m"\nrequests_per_minute = 60'),
        ("http://127.0.0.1:9/v1", 'model = "m"\nprice.prompt = 1.0'),
        ("http://127.0.0.1:9/v1", 'model = "m"\nno_tools_prompt.profile = "foveal"'),
        (None, "temperature = 0.5"),
        (None, 'key = "MY_KEY"'),
    ):
        (tmp_path / "other.toml").write_text(toml)
        with pytest.raises(ConfigError, match="has no effect here"):
            bench("vstar", data=str(data), policy=policy, config=str(tmp_path / "other.toml"))
    (tmp_path / "other.toml").write_text('policy = "http://127.0.0.1:9/v1"')
    with pytest.raises(ConfigError, match="names a policy, and inspect's model is asked"):
        bench("vstar", data=str(data), config=str(tmp_path / "other.toml"))
    with pytest.raises(ConfigError, match="there is nowhere to search"):
        agent("realx")
    with pytest.raises(ConfigError, match="there is no benchmark"):
        bench("none")


class Endpoint:
    """A model behind an address: it answers A at once, or after a while.

    Attributes:
        seeds: Of every request.
        slow: Seconds before a reply.
    """

    def __init__(self):
        self.seeds, self.slow, world = [], 0.0, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                world.seeds.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["seed"])
                time.sleep(world.slow)
                message = {"role": "assistant", "content": "<answer>A</answer>"}
                content = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that did not wait
                    self.wfile.write(content)

            def log_message(self, format, *args):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def endpoint():
    one = Endpoint()
    yield one
    one.server.shutdown()
    one.server.server_close()


def at(endpoint, tmp_path, data, toml, **given) -> EvalLog:
    (tmp_path / "own.toml").write_text(f'model = "m"\ntemperature = 1.0\n{toml}')
    task = bench("vstar", data=str(data), policy=endpoint.url, config=str(tmp_path / "own.toml"), n=2)
    (log,) = inspect_eval(task, model="none/none", log_dir=str(tmp_path / "logs"), display="none", **given)
    return log


def test_every_answer_of_our_own_policy_has_the_seed_that_foveal_bench_gives_it(endpoint, data, tmp_path):
    log = at(endpoint, tmp_path, data, "seed = 7\n[prompt]\nthumbnails = false\n", epochs=3)
    ids = {f"{sample.id}/{sample.epoch - 1}" for sample in log.samples}
    policy = OpenAIPolicy(endpoint.url, "m")
    assert len(ids) == 6 and sorted(endpoint.seeds) == sorted(seed_of(7, policy.name, name) for name in ids)
    assert len(set(endpoint.seeds)) == 6
    assert all(not one.store["foveal.trajectory"]["settings"]["profile"]["thumbnails"] for one in log.samples)


def test_time_that_the_endpoint_took_is_an_error_of_the_sample(endpoint, data, tmp_path):
    endpoint.slow = 1.0
    log = at(endpoint, tmp_path, data, "[limits]\nwall_seconds = 0.2\n")
    assert len(log.samples) == 2 and not any(one.scores for one in log.samples)
    assert all("no measurement: time" in one.error.message for one in log.samples)


def test_a_key_that_is_not_there_is_told_before_anything_is_asked(endpoint, data, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable MY_KEY is not set"):
        at(endpoint, tmp_path, data, 'key = "MY_KEY"\n')
    assert not endpoint.seeds


def test_inspect_reads_what_is_exported(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(folder / "a.png")
    rows = [
        QuestionRow(id="q1", text="What?", images=("a.png",), gold=("B",), meta={"options": ["x", "y"]}),
        QuestionRow(id="q2", text="Same?", images=("a.png", "a.png"), gold=("ja", "yes")),
        QuestionRow(id="q3", text="7 × 6 =", gold=("42",)),
    ]
    (folder / "q.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    export(folder / "q.jsonl", "inspect", tmp_path / "out")
    first, second, third = json_dataset(str(tmp_path / "out" / "samples.jsonl"))
    assert (first.id, first.target, first.choices) == ("q1", "B", ["x", "y"])
    assert all(Path(part.image).is_file() for part in second.input[0].content[:2])
    assert (second.target, third.input[0].text) == (["ja", "yes"], "7 × 6 =")
