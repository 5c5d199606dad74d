import base64
import io
import json
import random

from PIL import Image

from foveal.micro import scenes
from foveal.micro.facts import countries
from foveal.records import read_run
from foveal.trajectory import StopReason, Trajectory

BOX = (130, 60, 360, 330)
CROP = f"""<think>I look at the face more closely.</think>
<code>
```python
face = image_1.crop({BOX})
print(face.size)
face
```
</code>"""
ANSWER = "<think>A person in uniform.</think>\n<answer>a naval officer</answer>"


def test_a_crop_of_a_real_photo_is_cut_in_the_sandbox_shown_to_the_model_and_drawn(process, endpoint, photo, tmp_path):
    server = endpoint([CROP, ANSWER], key="s3cret")
    key = {"FOVEAL_API_KEY": "s3cret", "OPENAI_API_KEY": "another"}
    out = tmp_path / "answer.json"
    done = process("ask", photo, "Who is this?", "--policy", server.url, "--run", "run", "--json", out, env=key)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""

    # In the terminal: thought, code, what came back, the answer, where the page is.
    for words in ("I look at the face more closely.", "image_1.crop", "(230, 270)", "picture 230 × 270"):
        assert words in done.stdout
    assert done.stdout.count("a naval officer") == 1
    page = tmp_path / "run" / "pages" / "1.html"
    assert str(page) in done.stdout

    # The model was shown the photo, then exactly the pixels of the crop.
    assert [request["model"] for request in server.requests] == ["tiny-vlm"] * 2
    shown = server.requests[1]["messages"][-1]["content"]
    assert [part["type"] for part in shown] == ["text", "image_url"]
    [trajectory] = read_run(tmp_path / "run").trajectories
    store = read_run(tmp_path / "run").images
    with Image.open(photo) as original:
        expected = original.convert("RGB").crop(BOX)
    cell = trajectory.turns[0].observation.cell
    assert (cell.status, cell.stdout) == ("ok", "(230, 270)\n")
    assert store.get(cell.images[0]).tobytes() == expected.tobytes()

    # The same trajectory everywhere; the key nowhere.
    assert Trajectory.model_validate_json(out.read_text()) == trajectory
    assert (trajectory.answer, trajectory.stop_reason) == ("a naval officer", StopReason.ANSWERED)
    text = page.read_text()
    assert 'x="130" y="60" width="230" height="270"' in text
    assert text.count(f"{cell.images[0].sha256}.png") >= 1
    assert "s3cret" not in text + out.read_text() + done.stdout
    assert set(server.keys) == {"Bearer s3cret"}


def test_asks_into_one_run_come_one_after_the_other(foveal, endpoint, photo, tmp_path):
    server = endpoint(["<answer>one</answer>", "<answer>two</answer>"])
    for _ in range(2):
        done = foveal("ask", photo, "Who?", "--policy", server.url, "--run", "run")
        assert done.returncode == 0, done.stderr
    assert [t.answer for t in read_run(tmp_path / "run").trajectories] == ["one", "two"]
    assert "pages/2.html" in done.stdout


def test_limits_that_an_endpoint_needs_can_be_lowered(foveal, endpoint, photo):
    server = endpoint(["<answer>one</answer>", "<answer>two</answer>"])
    limits = ("--max-turn-tokens", "100", "--max-image-pixels", "10000")
    assert foveal("ask", photo, "Who?", "--policy", server.url, *limits).returncode == 0
    assert foveal("ask", photo, "Who?", "--policy", server.url, "--max-context", "50").returncode == 0
    first, second = server.requests
    assert (first["max_tokens"], second["max_tokens"]) == (100, 50)
    sent = first["messages"][1]["content"][0]["image_url"]["url"].partition(",")[2]
    width, height = Image.open(io.BytesIO(base64.b64decode(sent))).size
    assert 9000 < width * height <= 10000


def test_the_official_texts_come_from_files(foveal, endpoint, photo, tmp_path):
    (tmp_path / "system.txt").write_text("You are an agent.")
    (tmp_path / "suffix.txt").write_text("\nAnswer in <answer>.")
    server = endpoint(["<answer>one</answer>"])
    texts = ("--system-prompt", "system.txt", "--user-suffix", "suffix.txt")
    done = foveal("ask", photo, "Who?", "--policy", server.url, "--profile", "deepeyes-v2", *texts)
    assert done.returncode == 0, done.stderr
    system, user = server.requests[0]["messages"]
    assert system["content"] == "You are an agent."
    assert user["content"][-1] == {"type": "text", "text": "Who?\nAnswer in <answer>."}


def test_a_new_run_by_default_and_search_in_an_index(foveal, endpoint, photo, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "hopper.md").write_text("# Grace Hopper\n\nShe wrote the A-0 linker in 1952.\n")
    assert foveal("index", "build", "notes", "--out", "notes.index").returncode == 0
    call = '<tool_call>{"name": "search", "arguments": {"query": "A-0 linker"}}</tool_call>'
    server = endpoint([call, "<answer>1952</answer>"])
    done = foveal("ask", photo, "When?", "--policy", server.url, "--search", "notes.index")
    assert done.returncode == 0, done.stderr
    assert "Grace Hopper" in done.stdout
    [folder] = (tmp_path / "runs").iterdir()
    [trajectory] = read_run(folder).trajectories
    assert trajectory.turns[0].observation.hits[0].title == "Grace Hopper"
    assert "Grace Hopper" in (folder / "pages" / "1.html").read_text()


def test_pictures_of_an_index_are_searched_by_a_vision_tower(foveal, endpoint, photo, tiny_checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (80, 60), colour).save(tmp_path / "mine" / f"{colour}.png")
    assert foveal("index", "build", "mine").returncode == 0
    server = endpoint(['<tool_call>{"name": "image_search", "arguments": {}}</tool_call>', "<answer>blue</answer>"])
    words = ("ask", tmp_path / "mine" / "blue.png", "What is it?", "--policy", server.url, "--search", "mine.index")
    early = foveal(*words, "--tower", tiny_checkpoint)
    assert early.returncode == 2 and "foveal index embed-images mine.index" in early.stderr and not server.requests
    assert foveal("index", "embed-images", "mine.index", tiny_checkpoint).returncode == 0
    done = foveal(*words, "--tower", tiny_checkpoint, "--run", "run")
    assert done.returncode == 0, done.stderr
    [trajectory] = read_run(tmp_path / "run").trajectories
    best = trajectory.turns[0].observation.hits[0]
    assert (best.title, best.score) == ("blue", 1.0)


def test_pages_are_read_if_the_user_says_so(foveal, endpoint, photo, tmp_path):
    call = '<tool_call>{"name": "visit", "arguments": {"url": "http://127.0.0.1/private"}}</tool_call>'
    server = endpoint([call, "<answer>no</answer>"])
    done = foveal("ask", photo, "What is there?", "--policy", server.url, "--visit", "--run", "run")
    assert done.returncode == 0, done.stderr
    assert '"visit"' in server.requests[0]["messages"][0]["content"]
    [trajectory] = read_run(tmp_path / "run").trajectories
    assert (
        trajectory.turns[0].observation.tool == "visit"
        and "not a public" in trajectory.turns[0].observation.error.message
    )
    refused = foveal("ask", photo, "What is there?", "--visit")
    assert refused.returncode == 2


def test_the_shipped_model_refuses_a_picture_that_is_not_of_its_world(foveal, photo, tmp_path):
    done = foveal("ask", photo, "Who is this?")
    assert done.returncode == 2
    assert "knows only its own world" in done.stderr
    assert "--policy http://" in done.stderr and "--policy FOLDER" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_the_shipped_model_takes_a_scene_of_its_world_but_no_other_question(foveal, tmp_path):
    codes = [country.code for country in countries()]
    scenes.generate(random.Random(0), codes, 2, 1).image.save(tmp_path / "scene.png")
    done = foveal("ask", "scene.png", "Is this art?")
    assert done.returncode == 2
    assert "has not learned this question" in done.stderr and "What colour is the ball?" in done.stderr
    done = foveal("ask", "scene.png", "What colour is the ball?", "--profile", "deepeyes-v2")
    assert done.returncode == 2
    assert "comes with its own prompt" in done.stderr
    done = foveal("ask", "scene.png", "What colour is the ball?")
    assert "would be a guess" not in done.stderr


def test_no_answer_is_code_1_and_saved(foveal, endpoint, photo, tmp_path):
    server = endpoint([])
    done = foveal("ask", photo, "Who?", "--policy", server.url, "--run", "run")
    assert done.returncode == 1
    assert "the policy failed" in done.stdout and "the script has ended" in done.stdout
    assert read_run(tmp_path / "run").trajectories[0].stop_reason is StopReason.POLICY_ERROR


def test_what_the_model_writes_cannot_steer_the_terminal(foveal, endpoint, photo):
    server = endpoint(["<think>\x1b[2J\x1b]0;owned\x07 [red]markup[/red]</think><answer>\x1b[31mred</answer>"])
    done = foveal("ask", photo, "Who?", "--policy", server.url, "--run", "run")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
    assert "[red]markup[/red]" in done.stdout


def test_mistakes_are_code_2_and_name_the_fix(foveal, endpoint, photo, tmp_path):
    server = endpoint([], models=("a", "b"), key="right")
    wrong = {"FOVEAL_API_KEY": "wrong"}
    right = {"FOVEAL_API_KEY": "right"}
    for words, env, message in (
        ((), {}, "there is no question"),
        ((photo,), {}, "there is no question"),
        (("no.jpg", "Who?"), {}, "there is no picture no.jpg"),
        ((photo, "what", "is", "this"), {}, "there is no picture what"),
        ((photo, "Who?", "--policy", "nowhere"), {}, "there is no folder nowhere"),
        ((photo, "Who?", "--policy", "http://127.0.0.1:9/v1"), {}, "cannot be reached"),
        ((photo, "Who?", "--policy", server.url), wrong, "FOVEAL_API_KEY"),
        ((photo, "Who?", "--policy", server.url), right, "name one of them as the model"),
        ((photo, "Who?", "--policy", server.url, "--model", "a", "--search", "x"), right, "foveal index build"),
        ((photo, "Who?", "--policy", server.url, "--model", "a", "--json", "no/x"), right, "no/x cannot be written"),
        ((photo, "Who?", "--policy", server.url, "--model", "a", "--dense", "x"), right, "--search DIR"),
        ((photo, "Who?", "--policy", server.url, "--model", "a", "--search", "exa", "--tower", "x"), right, "an index"),
        ((photo, "Who?", "--policy", ".", "--model", "a"), {}, "leave the model out"),
        ((photo, "Who?", "--profile", "deepeyes-v2", "--policy", server.url), right, "system prompt"),
        ((photo, "Who?", "--max-turns", "0"), {}, "--max-turns"),
        ((photo, "Who?", "--seed", "-1"), {}, "--seed"),
        ((photo, "Who?", "--polcy", "x"), {}, "--policy"),
    ):
        done = foveal("ask", *words, env=env)
        assert done.returncode == 2, (words, done.stdout, done.stderr)
        assert message in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    assert "wrong" not in json.dumps(server.requests)
