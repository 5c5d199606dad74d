"""Disks that are full, and processes that were killed, cost nothing that was paid for."""

import subprocess
import sys
from pathlib import Path

import pytest

import foveal
from foveal.errors import InputError
from foveal.policy.paid import read_spent

SOURCE = str(Path(foveal.__file__).parents[1])


def test_who_looks_at_a_ledger_writes_nothing(tmp_path):
    _in_a_process(tmp_path / "ledger.sqlite", "book.close()")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read_spent(tmp_path / "ledger.sqlite", {}).calls == 1
    with pytest.raises(InputError, match=r"none\.sqlite cannot be used"):
        read_spent(tmp_path / "none.sqlite", {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_session_killed_before_it_had_a_table_has_spent_nothing(tmp_path):
    (tmp_path / "ledger.sqlite").touch()
    assert read_spent(tmp_path / "ledger.sqlite", {}) == (0, 0, 0.0)


def test_a_killed_session_may_have_left_replies_beside_the_file(tmp_path):
    path = tmp_path / "a % b.sqlite"
    _in_a_process(path, "book.keep('2', 'p', reply); os._exit(0)")
    assert path.with_name(f"{path.name}-wal").exists() and read_spent(path, {}).calls == 2


def test_a_full_disk_is_no_reason_to_give_up_what_was_paid_for(tmp_path):
    """No file may grow beyond 4 KiB: as on a full disk, there is no room for what SQLite writes beside the ledger."""
    path = tmp_path / "ledger.sqlite"
    full = "book.close(); import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY)); "
    assert _in_a_process(path, f"{full} print(read_spent(path, {{}}).calls)") == "1"
    again = _in_a_process(path, f"{full} Ledger(path, {{}}, Ceiling())")
    assert "disk I/O error" in again and "make room on the disk" in again


def test_a_program_that_holds_the_ledger_is_no_reason_to_move_it_away(tmp_path):
    path = tmp_path / "ledger.sqlite"
    held = "import sqlite3; other = sqlite3.connect(path); other.execute('BEGIN IMMEDIATE'); book.keep('2', 'p', reply)"
    told = _in_a_process(path, held)  # after the 5 seconds that SQLite waits by itself
    assert "locked" in told and "let one process write to it" in told
    assert read_spent(path, {}).calls == 1


def _in_a_process(path, code):
    """What a process says that has opened a ledger and kept one reply."""
    program = f"""
import os, pathlib
from foveal.errors import FovealError
from foveal.policy.base import Generation
from foveal.policy.paid import Ceiling, Ledger, read_spent
path, reply = pathlib.Path({str(path)!r}), Generation("x", "stop", 1, 1)
book = Ledger(path, {{}}, Ceiling())
book.keep("1", "p", reply)
try:
    {code}
except FovealError as error:
    print(error)
"""
    words = [sys.executable, "-c", program]
    return subprocess.run(words, env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True).stdout.strip()
