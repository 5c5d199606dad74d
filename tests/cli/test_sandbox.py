import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def sandbox(foveal, tmp_path):
    """Run some code with `foveal sandbox run`: in this process, or in one of its own that starts as `start` says."""

    def call(code, *words, start=()):
        (tmp_path / "cell.py").write_text(code)
        given = ["sandbox", "run", "cell.py", *words]
        if not start:
            return foveal(*given)
        return subprocess.run(
            [sys.executable, *start, *given],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": SOURCE},
            timeout=600,
            check=False,
        )

    return call


def test_it_prints_what_the_model_would_see(sandbox, tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    Image.new("RGB", (7, 5), "blue").save(tmp_path / "b.png")
    reply = sandbox(
        "print('hello [bold]')\nimage_1.crop((0, 0, 4, 3)).show()\nimage_2.size",
        *("--image", str(tmp_path / "a.png"), "--image", str(tmp_path / "b.png"), "--out", str(tmp_path / "out")),
        start=("-m", "foveal.cli"),
    )
    assert reply.returncode == 0, reply.stderr
    assert reply.stdout.startswith(
        "Code execution result:\nstdout:\n```\nhello [bold]\n```\nresult:\n```\n(7, 5)\n```\n"
        "Images:\n[image 4x3  sha256 "
    )
    (saved,) = (tmp_path / "out").iterdir()
    assert str(saved) in reply.stdout
    with Image.open(saved) as image:
        assert image.getcolors() == [(12, (255, 0, 0))]


def test_json_has_exactly_the_documented_keys(sandbox):
    code = "import sys\nfrom PIL import Image\nprint('é')\nprint('e', file=sys.stderr)\n"
    reply = sandbox(code + "display(Image.new('RGB', (2, 1), 'red'))\n1.5", "--json")
    assert reply.returncode == 0, reply.stderr
    values = json.loads(reply.stdout)
    assert set(values) == {"status", "stdout", "stderr", "result", "images", "seconds"}
    assert (values["status"], values["stdout"], values["stderr"], values["result"]) == ("ok", "é\n", "e\n", "1.5")
    pixels = hashlib.sha256(b"RGB 2x1 " + bytes([255, 0, 0]) * 2).hexdigest()
    assert values["images"] == [{"sha256": pixels, "width": 2, "height": 1}]
    assert 0 < values["seconds"] < 30


def test_code_that_fails_or_never_ends_gives_code_1(sandbox):
    reply = sandbox("1 / 0")
    assert reply.returncode == 1
    assert 'File "<cell 1>", line 1' in reply.stdout
    assert "ZeroDivisionError" in reply.stdout
    reply = sandbox("while True: pass", "--timeout", "0.3", "--json")
    assert reply.returncode == 1
    assert json.loads(reply.stdout)["status"] == "timeout"


def test_mistakes_of_the_user_give_code_2_and_the_fix(sandbox, foveal, tmp_path):
    reply = foveal("sandbox", "run", "none.py")
    assert reply.returncode == 2
    assert "there is no file" in reply.stderr
    assert "fix: write: foveal sandbox run FILE.py" in reply.stderr
    reply = sandbox("1", "--image", str(tmp_path / "none.png"))
    assert (reply.returncode, "there is no picture" in reply.stderr) == (2, True)
    (tmp_path / "text.png").write_text("no picture")
    assert sandbox("1", "--image", str(tmp_path / "text.png")).returncode == 2
    assert sandbox("1", "--timeout", "-1").returncode == 2


def test_without_isolation_it_gives_code_2_and_runs_only_if_the_user_insists(sandbox):
    forbid = str(Path(__file__).parents[1] / "tools" / "sandbox" / "elsewhere.py")
    start = (forbid, "no-namespaces", "import sys; from foveal.cli import main; main(sys.argv[1:])")
    refused = sandbox("1 + 1", start=start)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no isolation for code" in refused.stderr
    assert "fix:" in refused.stderr
    insisted = sandbox("1 + 1", "--unsafe-allow-unsandboxed", start=start)
    assert insisted.returncode == 0
    assert "result:\n```\n2\n```" in insisted.stdout
    assert "WITHOUT ISOLATION" in insisted.stderr
