import subprocess
import sys

import pytest

GROUPED = """
import socket, sys
import torch.distributed as group
from foveal.cli.common import run_training
from foveal.errors import InputError

with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
group.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)

def work(console):
    assert group.is_initialized()
    if "refused" in sys.argv:
        raise InputError("taken", "name another")
    return {}

try:
    run_training(work, None)
except InputError:
    assert "refused" in sys.argv
else:
    assert "refused" not in sys.argv
assert not group.is_initialized()
"""


@pytest.mark.parametrize("end", ["done", "refused"])
def test_a_training_leaves_its_group_of_processes_before_it_ends(end):
    """Of 80 processes on a CPU that ended within one, 5 were aborted by threads of gloo."""
    done = subprocess.run([sys.executable, "-c", GROUPED, end], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
