"""Evaluation harnesses themselves against `foveal serve`, in an environment of their own: `make check-harness`.

lmms-eval runs its own tasks, MME and V* bench, over rows that are made here; VLMEvalKit, which is no package, is run if
VLMEVALKIT names a checkout of it whose packages are in its `.venv`. The agent is real, with its code and its
sandbox; the model behind it is a script that has nothing but what the agent shows it: it crops a corner of the picture,
looks at the pixels of the crop, and answers with the colour. It takes yellow for green, looks at grey for ever, and
breaks over white.
"""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import lmms_eval
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow
from PIL import ImageStat

from foveal.records import read_run
from foveal.trajectory import StopReason, image_ref

COLOURS = {"red": (210, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 200), "yellow": (230, 210, 40)}
PAINTS = {**COLOURS, "grey": (128, 128, 128), "white": (255, 255, 255)}
CORNER = "<think>I look at the corner.</think>\n<code>\n```python\nw, h = image_1.size\nprint(w, h)\n"
CORNER += "display(image_1.crop((w - 60, h - 40, w, h)))\n```\n</code>"
COMMAND = [sys.executable, "-c", "from foveal.cli import main; main()", "serve"]


def picture(name: str) -> Pillow.Image:
    """A wide picture with a small corner of a colour; its width tells it from the others."""
    size = (1400 + len(name), 1000)
    image = Pillow.radial_gradient("L").resize(size).convert("RGB")
    image.paste(PAINTS[name], (size[0] - 60, size[1] - 40, *size))
    return image


def nearest(corner: Pillow.Image) -> str:
    """What the scripted model calls the colour of what it was shown."""
    mean = ImageStat.Stat(corner).mean
    return min(PAINTS, key=lambda name: max(abs(a - b) for a, b in zip(mean, PAINTS[name], strict=True)))


def reply(messages: list) -> str | None:
    """The next turn of the scripted model; None if it breaks."""
    parts = [part for one in messages for part in one["content"] if not isinstance(part, str)]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    seen = re.search(r"^(\d+) 1000$", text, re.MULTILINE)
    if seen is None:
        return CORNER
    shown = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"][-1]
    corner = Pillow.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).convert("RGB")
    assert corner.size == (60, 40)
    colour = nearest(corner)
    if colour in ("grey", "white"):
        return CORNER if colour == "grey" else None
    colour = colour.replace("yellow", "green")
    if wide := re.search(r"Is the picture (\d+) pixels wide", text):
        return "<answer>" + ("Yes" if wide[1] == seen[1] else "No") + "</answer>"
    if said := re.search(r"Is the corner (\w+)", text):
        return "<answer>" + ("Yes" if said[1] == colour else "No") + "</answer>"
    letter = re.search(rf"^\W*([A-D])\W+{colour}$", text, re.MULTILINE)
    return f"<think>It is {colour}.</think>\n<answer>{letter[1]}</answer>"


class Model:
    """The scripted model at a loopback address.

    Attributes:
        asked: Bodies of all requests.
        failed: What went wrong in the script itself.
    """

    def __init__(self):
        self.asked, self.failed, world = [], [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send({"data": [{"id": "script"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                world.asked.append(body)
                try:
                    said = reply(body["messages"])
                except Exception as error:
                    world.failed.append(repr(error))
                    said = None
                if said is None:
                    self.send({"error": {"message": "broken"}}, 400)
                    return
                cut = len(said) > body["max_tokens"]  # a token a letter
                said, why = (said[: body["max_tokens"]], "length") if cut else (said, "stop")
                message = {"role": "assistant", "content": said}
                usage = {"prompt_tokens": 500, "completion_tokens": len(said)}
                self.send({"choices": [{"message": message, "finish_reason": why}], "usage": usage})

            def send(self, value, status=200):
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def model():
    one = Model()
    yield one
    one.server.shutdown()
    one.server.server_close()
    assert one.failed == []


@pytest.fixture
def serving(model, tmp_path):
    """`foveal serve` before the scripted model, in a process of its own: its address. It warns into `errors.txt`."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    words = ["--policy", model.url, "--name", "my-agent", "--port", "0", "--run", "run", "--max-turns", "3"]
    with (tmp_path / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [*COMMAND, *words, "--concurrency", "4"],
            cwd=tmp_path,
            env={**clean, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        told = re.match(r"my-agent at (\S+) with code", process.stdout.readline())
        assert told, (tmp_path / "errors.txt").read_text()
        yield told[1]
        process.terminate()
        process.communicate(timeout=120)
    assert process.returncode == 0


def mme() -> list[dict]:
    """MME asks twice about each picture, once for yes and once for no."""
    rows = []
    for name, other in (("red", "blue"), ("blue", "red"), ("yellow", "blue"), ("grey", "red")):
        asked = [(f"Is the corner {name}?", "Yes"), (f"Is the corner {other}?", "No")]
        rows += [("color", name, question, answer) for question, answer in asked]
    for name in ("red", "blue"):
        asked = [(f"Is the picture {1400 + len(name) + wrong} pixels wide?", wrong) for wrong in (0, 1)]
        rows += [("count", name, question, "No" if wrong else "Yes") for question, wrong in asked]
    names = ("category", "question_id", "question", "answer")
    return [
        {
            **dict(zip(names, (kind, f"{name}.png", f"{question} Please answer yes or no.", answer), strict=True)),
            "of": name,
        }
        for kind, name, question, answer in rows
    ]


def vstar() -> list[dict]:
    """V* bench asks for a letter."""
    text = "What colour is the corner? (A) red (B) green (C) blue (D) yellow"
    labels = {"red": "A", "blue": "C", "yellow": "D", "grey": "B", "white": "B"}
    return [
        {"question_id": name, "text": text, "label": label, "category": "direct_attributes", "of": name}
        for name, label in labels.items()
    ]


def task(folder: Path, name: str, config: str, rows: list[dict]) -> None:
    """A task of lmms-eval as it is, over these rows instead of those of the hub."""
    for row in rows:
        file = io.BytesIO()
        picture(row.pop("of")).save(file, "PNG")
        row["image"] = {"bytes": file.getvalue(), "path": None}
    features = {key: Image() if key == "image" else Value("string") for key in rows[0]}
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / f"{name}.parquet")
    own = Path(lmms_eval.__file__).parent / "tasks" / config
    data = json.dumps({"data_files": {"test": str(folder / f"{name}.parquet")}})
    lines = [f"include: {own}", f"task: {name}", "dataset_path: parquet", f"dataset_kwargs: {data}"]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")


def lmms(folder: Path, url: str, tasks: str, *words: str) -> tuple[dict, list[str]]:
    """What `python -m lmms_eval` reports for these tasks, and what it took for the answers."""
    args = f"model_version=my-agent,base_url={url},api_key=EMPTY,num_concurrent=4"
    command = [sys.executable, "-m", "lmms_eval", "--model", "openai", "--model_args", args, "--tasks", tasks]
    command += ["--include_path", str(folder), "--batch_size", "1", "--log_samples", "--output_path", "results"]
    home = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], cwd=folder, env={**os.environ, **home}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [report] = (folder / "results").rglob("*_results.json")
    lines = [line for file in sorted((folder / "results").rglob("*_samples_*")) for line in file.open()]
    return json.loads(report.read_text())["results"], [json.loads(line)["filtered_resps"] for line in lines]


def test_lmms_eval_scores_what_the_agent_saw(serving, model, tmp_path):
    task(tmp_path, "own_mme", "mme/mme.yaml", mme())
    task(tmp_path, "own_vstar", "vstar_bench/vstar_bench.yaml", vstar())
    found, answers = lmms(tmp_path, serving, "own_mme,own_vstar", "--gen_kwargs", "max_new_tokens=8192")
    # A pair of MME counts 200 if both are right, and 50 if one is: red and blue, yellow's "no" alone, nothing for grey.
    assert found["own_mme"]["mme_perception_score,none"] == (200 + 200 + 50 + 0) / 4 + 200
    assert found["own_vstar"]["vstar_overall_acc,none"] == 100 * 2 / 5
    assert answers[:12] == ["Yes", "No", "Yes", "No", "No", "No", "", "", "Yes", "No", "Yes", "No"]
    assert answers[12:16] == ["A", "C", "B", ""] and answers[16].startswith(
        "[LMMS_EVAL_REQUEST_FAILED after 5 retries]"
    )
    assert {(one["max_tokens"], one["temperature"]) for one in model.asked} == {(8192, 0)}

    saved = [one for one in read_run(tmp_path / "run").trajectories if one.stop_reason is not StopReason.POLICY_ERROR]
    assert sorted(one.answer or "" for one in saved) == sorted(answers[:16])
    assert all(one.turns[0].observation.cell.images[0].width == 60 for one in saved)
    sent = {image_ref(picture(name)) for name in ("red", "blue", "yellow", "grey")}
    assert {one.question.images[0] for one in saved} == sent  # to the pixel
    assert [len(one.turns) for one in saved if one.stop_reason is StopReason.MAX_TURNS] == [3, 3, 3]


def test_the_tokens_of_a_task_of_lmms_eval_cut_the_agent_in_its_first_thought(serving, model, tmp_path):
    task(tmp_path, "own_vstar", "vstar_bench/vstar_bench.yaml", vstar())
    found, answers = lmms(tmp_path, serving, "own_vstar")
    assert found["own_vstar"]["vstar_overall_acc,none"] == 0 and answers == [""] * 5
    assert {one["max_tokens"] for one in model.asked} == {16} and len(model.asked) == 5
    assert "max_tokens of 16 cut a turn short: raise it there" in " ".join(
        (tmp_path / "errors.txt").read_text().split()
    )


def tsv(path: Path) -> None:
    """The rows of V* bench as VLMEvalKit reads its own: the picture, the question and the options apart."""
    rows = ["\t".join(("index", "category", "image", "question", *"ABCD", "answer"))]
    for number, row in enumerate(vstar()):
        file = io.BytesIO()
        picture(row["of"]).save(file, "PNG")
        shown = base64.b64encode(file.getvalue()).decode()
        rows.append("\t".join((str(number), row["of"], shown, "What colour is the corner?", *COLOURS, row["label"])))
    path.write_text("\n".join(rows) + "\n")


def by_address(folder: Path, url: str) -> list[str]:
    words = ["--data", "corners", "--model", "my-agent", "--base-url", url, "--key", "EMPTY", "--max-tokens", "8192"]
    return [*words, "--timeout", "1800", "--api-nproc", "4", "--retry", "2", "--extra-body", '{"seed": 0}']


def streamed(folder: Path, url: str) -> list[str]:
    return [*by_address(folder, url), "--stream"]


def by_config(folder: Path, url: str) -> list[str]:
    agent = {"class": "GPT4V", "model": "my-agent", "api_base": f"{url}/chat/completions", "key": "EMPTY", "retry": 2}
    agent |= {"temperature": 0, "seed": 0, "max_tokens": 8192, "timeout": 1800, "img_detail": "high"}
    data = {"corners": {"class": "CustomMCQDataset", "dataset": "corners"}}
    (folder / "config.json").write_text(json.dumps({"model": {"my-agent": agent}, "data": data}))
    return ["--config", str(folder / "config.json"), "--api-nproc", "4"]


@pytest.mark.skipif("VLMEVALKIT" not in os.environ, reason="VLMEVALKIT names no checkout of it with its .venv")
@pytest.mark.parametrize("words", [by_address, streamed, by_config])
def test_vlmevalkit_scores_what_the_agent_saw(words, serving, model, tmp_path):
    tsv(tmp_path / "corners.tsv")
    kit = Path(os.environ["VLMEVALKIT"])
    command = [str(kit / ".venv" / "bin" / "python"), "run.py", *words(tmp_path, serving), "--judge", "exact_matching"]
    command += ["--work-dir", str(tmp_path / "out")]
    home = {"LMUData": str(tmp_path), "PRED_FORMAT": "tsv", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=kit, env={**os.environ, **home}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [report] = (tmp_path / "out").glob("my-agent/T*/my-agent_corners_acc.csv")
    [found] = csv.DictReader(report.open())
    right = {"red": "1.0", "blue": "1.0", "yellow": "0.0", "grey": "0.0", "white": "0.0"}
    assert found == {"split": "none", "Overall": "0.4", **right}
    answers = report.with_name("my-agent_corners.tsv")
    failed = ["Failed to obtain answer via API."] * 2
    assert [row["prediction"].strip() for row in csv.DictReader(answers.open(), delimiter="\t")] == [*"ACB", *failed]
    assert {(one["max_tokens"], one["temperature"]) for one in model.asked} == {(8192, 0)}
    saved = read_run(tmp_path / "run").trajectories
    ends = Counter(one.stop_reason for one in saved)
    # Two tries each for the question without an answer and for the one over which the model breaks.
    assert ends == {StopReason.ANSWERED: 3, StopReason.MAX_TURNS: 2, StopReason.POLICY_ERROR: 2}
    assert {one.question.images[0].width for one in saved} == {picture(row["of"]).width for row in vstar()}
    assert {one.settings["sampling"]["seed"] for one in saved} == {0}
