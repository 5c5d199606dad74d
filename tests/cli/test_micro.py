import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_an_error_among_many_questions_at_once_is_told_like_any_other(tmp_path):
    start = (str(TESTS / "tools" / "sandbox" / "elsewhere.py"), "no-namespaces")
    program = "import sys; from foveal.cli import main; main(sys.argv[1:])"
    words = ("micro", "sft", str(tmp_path / "run"), "--base", str(tmp_path), "--questions", "10")
    done = subprocess.run(
        [sys.executable, *start, program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent / "src")},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1 and "no isolation for code" in done.stderr and "fix:" in done.stderr
