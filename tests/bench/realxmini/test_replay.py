"""A run of the benchmark with a live provider is recorded, and repeated to the letter where nothing can be reached."""

import json
import subprocess
import sys
from pathlib import Path

from foveal.micro import checkpoint_folder, world

PROVIDER = """
import asyncio, base64, io, json, sys
from pathlib import Path
from PIL import Image
from foveal.tools.search.folder import open_index
from foveal.trajectory import ImageStore

async def answer(asked):
    text, pictures = open_index(Path(sys.argv[1]))
    if asked["tool"] == "search":
        return [{"title": hit.title, "link": hit.link, "snippet": hit.snippet}
                for hit in await text.search(asked["query"], asked["k"])]
    found, store = [], ImageStore()
    sought = Image.open(io.BytesIO(base64.b64decode(asked["image"])))
    for hit in await pictures.search(sought, asked["k"], store):
        buffer = io.BytesIO()
        store.get(hit.thumbnail).save(buffer, "PNG")
        url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        found.append({"title": hit.title, "link": hit.link, "thumbnail": url})
    return found

print(json.dumps({"hits": asyncio.run(answer(json.load(sys.stdin)))}))
"""
"""A search program of the user, as the provider `command` starts it."""

WITHOUT_NETWORK = """
import socket, sys

def refuse(event, args):
    looked_up = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
    if looked_up or (event == "socket.connect" and args[0].family != socket.AF_UNIX) or event == "subprocess.Popen":
        assert event == "subprocess.Popen" and "provider.py" not in str(args), f"{event} {args}"

sys.addaudithook(refuse)
from foveal.cli import main
main()
"""


def trajectories(run: Path) -> list[str]:
    """The saved lines in the order of their ids, without times."""
    lines = (run / "with-tools" / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        json.dumps(row) for row in sorted((timeless(json.loads(line)) for line in lines), key=lambda row: row["id"])
    ]


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "started")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def test_a_recorded_run_is_repeated_without_network_to_the_letter(folder: Path, tmp_path):
    (tmp_path / "provider.py").write_text(PROVIDER)
    (tmp_path / "program.py").write_text(WITHOUT_NETWORK)
    profile = world.profile(tools=True)
    (tmp_path / "system.txt").write_text(profile.system_prompt)
    (tmp_path / "suffix.txt").write_text(profile.user_suffix)
    settings = """
concurrency = 1
no_tools = false
[prompt]
system_prompt = "system.txt"
user_suffix = "suffix.txt"
[limits]
max_turns = 8
max_turn_tokens = 160
max_context = 2048
max_image_pixels = 100352
[tools.live]
provider = "command"
"""
    command = json.dumps([sys.executable, str(tmp_path / "provider.py"), str(folder / "index")])
    (tmp_path / "bench.toml").write_text(f'{settings}command = {command}\ncache = "answers.sqlite"\n')
    asked = ("bench", "realx-mini", "--policy", str(checkpoint_folder("sft")), "--data", str(folder), "--n", "6")

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("-m", "foveal.cli", *asked, "--config", "bench.toml", "--tools.live.mode", "record", "--run", "recorded")
    run("program.py", *asked, "--config", "bench.toml", "--tools.live.mode", "replay", "--run", "replayed")
    recorded = trajectories(tmp_path / "recorded")
    assert len(recorded) == 6 and any('"thumbnail": {' in line for line in recorded)
    assert trajectories(tmp_path / "replayed") == recorded
    pictures = [sorted(path.name for path in (tmp_path / name).rglob("*.png")) for name in ("recorded", "replayed")]
    assert pictures[0] == pictures[1]
