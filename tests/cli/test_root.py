import errno
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from foveal.cli import COMMANDS
from foveal.cli.common import explain, missing_package, plain, unusable_path
from foveal.errors import ConfigError, FovealError, InputError, MissingDependency, RecordError, SandboxError

HEAVY = ("torch", "transformers", "numpy", "PIL", "httpx", "pydantic", "rich.markdown")


def test_help_names_every_command_and_imports_nothing_heavy(process):
    done = process("--help")
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name, _, _ in COMMANDS)
    script = (
        "import sys\n"
        "from foveal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_help_of_a_command_needs_no_torch():
    names = [name for name, _, _ in COMMANDS]
    script = (
        "import sys\n"
        "from foveal.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, (name, end.code)\n"
        "    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert f"Usage: foveal {name}" in done.stdout


def test_version(process):
    import foveal as package

    assert process("--version").stdout.strip() == package.__version__


def test_a_mistyped_command_is_code_2_and_suggests(process):
    done = process("asc")
    assert done.returncode == 2
    assert "ask" in done.stderr and "Traceback" not in done.stderr


def test_a_file_where_a_folder_is_to_be_made_is_code_2_and_named(foveal, endpoint, photo, tmp_path):
    (tmp_path / "taken").write_text("mine")
    server = endpoint(["<answer>1</answer>"])
    for words in (
        ("ask", photo, "Who?", "--policy", server.url, "--run", "taken"),
        ("ask", photo, "Who?", "--policy", server.url, "--run", "taken/run"),
        ("micro", "scenes", "taken"),
    ):
        done = foveal(*words)
        assert done.returncode == 2 and "taken" in done.stderr and "cannot be used" in done.stderr, (words, done.stderr)
    assert (tmp_path / "taken").read_text() == "mine"
    assert unusable_path(OSError(errno.ENOENT, "No such file or directory", "x")) is None, "that may be a bug"


def test_a_full_disk_is_the_users_to_mend():
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as raised:
        full.write(b"more")
    assert raised.value.filename is None, "a write does not say to which file"
    told = unusable_path(raised.value)
    assert told is not None and "does not fit: No space left on device" in told.what and "make room" in told.fix


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError, 2), (InputError, 2), (RecordError, 2), (MissingDependency, 2), (SandboxError, 1), (FovealError, 1)],
)
def test_exit_code_of_an_error(error, code, capsys):
    assert explain(error("it [b]broke[/b]", "mend it"), Console(stderr=True)) == code
    assert capsys.readouterr().err == "error: it [b]broke[/b]\n  fix: mend it\n"


def test_a_missing_optional_package_names_its_extra():
    cause = ModuleNotFoundError("No module named 'torch'", name="torch")
    wrapped = ImportError("cannot import module")
    wrapped.__cause__ = cause
    error = missing_package(wrapped)
    assert error is not None and error.fix == 'pip install "foveal[micro]"'
    assert missing_package(ModuleNotFoundError("No module named 'foveal.x'", name="foveal.x")) is None


def test_control_characters_are_shown():
    assert plain("a\x1b[2Jb\tc\nd\r\ne\x9b") == "a␛[2Jb\tc\nd\ne␛"
