import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import foveal

CODE = """
import sys
from pathlib import Path
from foveal.tools.sandbox.guest import fences
allowed, forbidden = map(Path, sys.argv[1:])
(allowed / "old").write_text("x")
(forbidden / "old").write_text("x")
fences.gain_nothing()
version = fences.landlock(["/usr", "/lib", "/dev/null"], [str(allowed), "/dev/zero"])
(allowed / "new").write_text("x")
print((allowed / "old").read_text(), sorted(path.name for path in forbidden.iterdir()))
for action in (lambda: (forbidden / "old").read_text(), lambda: (forbidden / "new").touch(),
               lambda: Path("/usr/x").touch(), lambda: open("/dev/null", "w"), lambda: (forbidden / "old").unlink()):
    try:
        action()
        print("allowed")
    except PermissionError:
        print("refused")
open("/dev/zero", "w")
"""


def test_landlock_opens_only_what_is_named(tmp_path):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(444, None, ctypes.c_size_t(0), 1) < 1:
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "allowed").mkdir()
    (tmp_path / "forbidden").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(foveal.__file__).parents[1])}
    reply = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "allowed", tmp_path / "forbidden"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert reply.stdout.splitlines() == ["x ['old']", *["refused"] * 5], reply.stderr
    assert (reply.returncode, reply.stderr) == (0, "")
