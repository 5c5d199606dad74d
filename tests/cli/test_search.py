"""`foveal search` and `foveal ask --search`, against a program as provider and a loopback SearXNG."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from foveal.records import read_run

PROGRAM = """
import base64, io, json, sys
from PIL import Image
question = json.load(sys.stdin)
open("asked.txt", "a").write(question["tool"] + "\\n")
if question["tool"] == "search":
    hit = {"title": f"{question['query']} [b] \\x1b[31m", "link": "https://a.example/", "snippet": "found"}
    hits = [hit] * question["k"]
else:
    with Image.open(io.BytesIO(base64.b64decode(question["image"]))) as picture:
        hits = [{"title": f"a picture of {picture.width} x {picture.height}",
                 "thumbnail": "data:image/png;base64," + question["image"]}]
json.dump({"hits": hits}, sys.stdout)
"""


@pytest.fixture
def program(tmp_path):
    """A TOML file of settings that name a program, and where it notes what it was asked."""
    (tmp_path / "mine.py").write_text(PROGRAM)
    command = json.dumps([sys.executable, str(tmp_path / "mine.py")])
    (tmp_path / "search.toml").write_text(f'provider = "command"\ncommand = {command}\nk = 2\n')
    return tmp_path / "search.toml"


@pytest.fixture
def searxng():
    """A loopback SearXNG; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            query = parse_qs(urlsplit(self.path).query)["q"][0]
            body = json.dumps({"results": [{"title": f"page on {query}", "url": "https://x.example/"}]}).encode()
            self.send_response(403 if query == "forbidden" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_words_with_a_live_provider(process, searxng, tmp_path):
    done = process("search", "zebra", "--provider", "searxng", "--json", "out.json", env={"SEARXNG_URL": searxng})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1. page on zebra  https://x.example/"
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["from"], written["query"], written["k"]) == ("searxng", "zebra", 5)
    assert [hit["title"] for hit in written["hits"]] == ["page on zebra"] and written["seconds"] > 0


def test_a_provider_that_fails_is_code_1_and_names_the_fix(foveal, searxng):
    done = foveal("search", "forbidden", "--provider", "searxng", env={"SEARXNG_URL": searxng})
    assert done.returncode == 1
    assert "HTTP 403" in done.stderr and "search.formats" in done.stderr and "Traceback" not in done.stderr


def test_words_and_a_part_of_a_picture_with_a_program(foveal, program, photo):
    words = foveal("search", "zebra", "--provider", program)
    assert words.returncode == 0, words.stderr
    assert "1. zebra [b] ␛[31m  https://a.example/" in words.stdout and "3." not in words.stdout
    assert words.stdout.count("found") == 2
    assert foveal("search", "zebra", "--provider", program, "--k", "3").stdout.count("found") == 3
    whole = foveal("search", "--image", photo, "--provider", program)
    assert whole.stdout.strip() == "1. a picture of 512 x 600"
    part = foveal("search", "--image", photo, "--box", "10,20,110,70", "--provider", program)
    assert part.stdout.strip() == "1. a picture of 100 x 50"


def test_an_index(foveal, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "zebra.md").write_text("# Zebras\nA zebra has stripes.")
    assert foveal("index", "build", "mine").returncode == 0
    found = foveal("search", "stripes", "--index", "mine.index")
    assert found.stdout.startswith("1. Zebras  zebra.md")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    done = foveal("search", "--image", "a.png", "--index", "mine.index")
    assert done.returncode == 2 and "holds documents only" in done.stderr


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        ((), {}, "name words or a picture"),
        ((" ", "--provider", "serper"), {}, "name words or a picture"),
        (("a", "--image", "b.png", "--provider", "serper"), {}, "name words or a picture"),
        (("a",), {}, "name a provider or an index"),
        (("a", "--provider", "serper", "--index", "b"), {}, "name a provider or an index"),
        (("a", "--provider", "google"), {}, "there is no search provider google"),
        (("a", "--provider", "serper"), {}, "SERPER_API_KEY is not set"),
        (("a", "--provider", "command"), {}, "needs command"),
        (("a", "--provider", "no.toml"), {}, "no.toml cannot be read"),
        (("a", "--index", "nowhere"), {}, "there is no index folder nowhere"),
        (("a", "--provider", "searxng", "--box", "1,2,3,4"), {}, "there is none"),
        (("a", "--provider", "searxng"), {"SEARXNG_URL": "localhost"}, "address of a search provider"),
        (("--image", "no.png", "--provider", "serper"), {}, "there is no file no.png"),
        (("--image", "a.png", "--provider", "serper"), {"SERPER_API_KEY": "k"}, "no uploader is set"),
        (("--image", "a.png", "--provider", "brave"), {"BRAVE_API_KEY": "k"}, "does not search by picture"),
        (("--image", "a.png", "--box", "1,2,3", "--provider", "serper"), {}, "is no box"),
        (("--image", "a.png", "--box", "0,0,41,30", "--provider", "serper"), {}, "does not lie in the picture"),
        (("a", "--provider", "searxng", "--json", "no/such"), {}, "cannot be written"),
    ],
)
def test_mistakes_are_code_2_and_name_the_fix(foveal, tmp_path, words, env, told):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    done = foveal("search", *words, env=env)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert told in done.stderr and "Traceback" not in done.stderr


def test_ask_records_live_search_and_replays_it_to_the_letter(foveal, endpoint, program, photo, tmp_path):
    calls = [
        '<tool_call>{"name": "search", "arguments": {"query": "zebra"}}</tool_call>',
        '<tool_call>{"name": "image_search", "arguments": {"box": [0, 0, 64, 64]}}</tool_call>',
        "<answer>a horse</answer>",
    ]
    runs = []
    for mode in ("replay_or_record", "replay"):
        (tmp_path / f"{mode}.toml").write_text(program.read_text() + f'mode = "{mode}"\ncache = "answers.sqlite"\n')
        server = endpoint(calls)
        done = foveal("ask", photo, "What?", "--policy", server.url, "--search", f"{mode}.toml", "--run", mode)
        assert done.returncode == 0, done.stderr
        runs.append(read_run(tmp_path / mode).trajectories[0])
    assert (tmp_path / "asked.txt").read_text().split() == ["search", "image_search"]
    observed = [[turn.observation_parts for turn in run.turns] for run in runs]
    assert observed[0] == observed[1]
    assert len(runs[0].turns[0].observation.hits) == 2
    assert runs[0].turns[1].observation.hits[0].thumbnail is not None


def test_ask_offers_what_the_provider_has(foveal, endpoint, searxng, photo, tmp_path):
    call = '<tool_call>{"name": "search", "arguments": {"query": "zebra"}}</tool_call>'
    server = endpoint([call, "<answer>1</answer>"])
    env = {"SEARXNG_URL": searxng}
    done = foveal("ask", photo, "What?", "--policy", server.url, "--search", "searxng", "--run", "run", env=env)
    assert done.returncode == 0, done.stderr
    assert "image search is not offered: searxng does not search by picture" in done.stdout
    [trajectory] = read_run(tmp_path / "run").trajectories
    assert trajectory.settings["tools"]["search"] == "searxng"
    assert trajectory.settings["tools"]["image_search"] is None
    assert trajectory.turns[0].observation.hits[0].title == "page on zebra"


def test_ask_with_neither_an_index_nor_a_provider(foveal, endpoint, photo):
    server = endpoint([])
    done = foveal("ask", photo, "What?", "--policy", server.url, "--search", "nowhere")
    assert done.returncode == 2
    assert "no index folder, no search provider" in done.stderr and "serper" in done.stderr
