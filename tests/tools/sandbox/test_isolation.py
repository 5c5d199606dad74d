"""What code tries to do to the machine and to other sessions: files, secrets, network, system calls, signals."""

import os
import socket
import uuid
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def secret():
    """A value in the host's environment and heap since before the sandbox's server started."""
    value = os.environ["FOVEAL_TEST_CANARY"] = uuid.uuid4().hex
    yield value
    del os.environ["FOVEAL_TEST_CANARY"]


def test_no_file_of_the_machine_can_be_read(session, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("SECRET")
    tmp_path.chmod(0o755)
    canary.chmod(0o644)
    paths = [str(canary), *(f"{root}{canary}" for root in ("/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/old"))]
    paths += [str(Path(__file__)), "/etc/shadow", "/etc/hostname", "/proc/1/environ", "/proc/kcore", "/proc/kmsg"]
    cell = session.run(
        f"import os\nopened = []\nfor path in {paths!r}:\n"
        "    try:\n        open(path, 'rb').read(1)\n        opened.append(path)\n    except OSError:\n        pass\n"
        "opened, 'SECRET' in repr(list(os.walk('/tmp'))), open('/etc/passwd').read()"
    )
    assert cell.result == "([], False, 'user:x:1000:1000::/box:/bin/sh\\n')", cell.stderr


def test_symlinks_and_dots_lead_nowhere_else(session, tmp_path):
    (tmp_path / "canary").write_text("SECRET")
    cell = session.run(
        f"import os\nos.symlink({str(tmp_path / 'canary')!r}, '/box/link')\n"
        f"up = '/box/' + '../' * 30 + {str(tmp_path / 'canary').lstrip('/')!r}\n"
        "[os.path.exists('/box/link'), os.path.exists(up)]"
    )
    assert cell.result == "[False, False]"


def test_no_secret_of_the_host_process_reaches_the_code(session, secret, tmp_path):
    handle = os.open(tmp_path / "open-file", os.O_CREAT | os.O_RDWR)
    os.write(handle, secret.encode())
    os.set_inheritable(handle, True)
    cell = session.run(
        f"wanted = {secret[:16]!r} + {secret[16:]!r}\n"  # the whole secret is not in this text
        "import os\nfound = []\n"
        "if 'FOVEAL_TEST_CANARY' in os.environ or wanted in repr(os.environ): found.append('environ')\n"
        "for pid in ('1', 'self'):\n"
        "    for file in ('environ', 'cmdline', 'mountinfo', 'maps'):\n"
        "        try:\n"
        "            if wanted.encode() in open(f'/proc/{pid}/{file}', 'rb').read(): found.append(file)\n"
        "        except OSError: pass\n"
        "for fd in range(3, 256):\n"
        "    try:\n"
        "        if wanted.encode() in os.pread(fd, 4096, 0): found.append(fd)\n"
        "    except OSError: pass\n"
        "found"
    )
    os.close(handle)
    assert cell.result == "[]", cell.stderr


def test_the_memory_of_the_code_process_holds_no_secret(session, secret):
    cell = session.run(
        f"pieces = {secret[:16]!r}, {secret[16:]!r}\n"
        "found = 0\n"
        "memory = open('/proc/self/mem', 'rb', 0)\n"
        "for line in open('/proc/self/maps'):\n"
        "    if not line.split()[1].startswith('r') or '[v' in line: continue\n"
        "    start, end = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "    memory.seek(start)\n"
        "    data = memory.read(end - start)\n"
        "    at = data.find(pieces[0].encode())\n"
        "    while at >= 0:\n"
        "        found += data[at + 16 : at + 32] == pieces[1].encode()\n"
        "        at = data.find(pieces[0].encode(), at + 1)\n"
        "found"
    )
    assert cell.result == "0", cell.stderr


def test_nothing_but_its_own_folders_can_be_written(session):
    cell = session.run(
        "import os\nwritten = []\n"
        "for top in [line.split()[4] for line in open('/proc/self/mountinfo')] + ['/', '/etc', '/dev']:\n"
        "    try:\n"
        "        open(os.path.join(top, 'x'), 'w').close()\n        written.append(top)\n"
        "    except OSError:\n        pass\n"
        "sorted(set(written))"
    )
    assert cell.result == "['/box', '/dev/shm', '/tmp']", cell.stderr


def test_there_is_no_network(session):
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0foveal-{uuid.uuid4().hex}"
        abstract.bind(name)
        abstract.listen()
        cell = session.run(
            "import ctypes, os, socket, urllib.request\n"
            "def tries():\n"
            f"    yield lambda: socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 2)\n"
            f"    yield lambda: socket.socket(socket.AF_UNIX).connect({name!r})\n"
            "    yield lambda: socket.getaddrinfo('example.org', 80)\n"
            "    yield lambda: urllib.request.urlopen('http://127.0.0.1', timeout=2)\n"
            "    yield lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\n"
            "    yield lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n"
            "    yield lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW)\n"
            "reached = []\n"
            "for number, action in enumerate(tries()):\n"
            "    try:\n        action()\n        reached.append(number)\n"
            "    except OSError:\n        pass\n"
            "reached, os.listdir('/sys') if os.path.exists('/sys') else None, open('/proc/net/dev').read().count(':')"
        )
        assert cell.result == "([], None, 1)", cell.stderr  # the one device is its own loopback, which is down
        tcp.settimeout(0.1)
        with pytest.raises(TimeoutError):
            tcp.accept()


def test_dangerous_system_calls_are_refused(session):
    cell = session.run(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*a):\n    ctypes.set_errno(0)\n    r = libc.syscall(*a)\n"
        "    return errno.errorcode.get(ctypes.get_errno(), r)\n"
        "{name: call(number, *rest) for name, number, *rest in [('unshare', 272, 0x10000000), "
        "('clone', 56, 0x10000011, 0, 0, 0, 0), ('clone3', 435, 0, 0), ('setns', 308, 0, 0), "
        "('ptrace', 101, 0, 0, 0, 0), ('mount', 165, 0, 0, 0, 0, 0), ('bpf', 321, 0, 0, 0), "
        "('keyctl', 250, 0, 0), ('io_uring_setup', 425, 1, 0), ('userfaultfd', 323, 0), "
        "('memfd_create', 319, b'x', 0), ('shmget', 29, 0, 4096, 0o1777), ('newest', 500), "
        "('io_setup', 206, 1, ctypes.byref(ctypes.c_ulong())), ('vmsplice', 278, -1, 0, 0, 0), "
        "('inotify_init', 253), ('inotify_init1', 294, 0), ('setsockopt', 54, -1, 1, 7, 0, 0)]}"
    )
    assert eval(cell.result) == {
        "clone3": "ENOSYS",
        "newest": "ENOSYS",
        **dict.fromkeys(["unshare", "clone", "setns", "ptrace", "mount", "bpf", "keyctl", "shmget"], "EPERM"),
        **dict.fromkeys(["io_uring_setup", "userfaultfd", "memfd_create", "io_setup", "vmsplice"], "EPERM"),
        **dict.fromkeys(["inotify_init", "inotify_init1", "setsockopt"], "EPERM"),
    }


def test_asyncio_and_subprocess_still_work(session):
    cell = session.run(
        "import asyncio, subprocess, sys\n"
        "async def main():\n"
        "    process = await asyncio.create_subprocess_exec(sys.executable, '-c', 'import numpy; print(6 * 7)')\n"
        "    return await process.wait()\n"
        "asyncio.run(main())",
        timeout=60,
    )
    assert (cell.stdout, cell.result) == ("42\n", "0"), cell.stderr


def test_a_session_is_a_process_group_of_its_own(session):
    """In the server's group, `kill(0, ...)` and `setpriority` would reach other sessions of the same user."""
    assert session.run("import os\nos.getpgid(1), os.getsid(1), os.getpgrp()").result == "(1, 1, 1)"


def test_sessions_do_not_see_each_other(box):
    one, two = box.open(), box.open()
    token = uuid.uuid4().hex
    wrote = one.run(
        f"token = {token!r}\nimport os, time\n"
        "for folder in ('/box', '/tmp', '/dev/shm'):\n    open(folder + '/canary', 'w').write(token)\n"
        "from multiprocessing import shared_memory\nos.environ['CANARY'] = token"
    )
    assert wrote.status == "ok"
    cell = two.run(
        "import os\nfound = [f for f in ('/box', '/tmp', '/dev/shm') if os.path.exists(f + '/canary')]\n"
        "pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())\n"
        "found, pids, 'CANARY' in os.environ, 'token' in globals()"
    )
    assert cell.result == "([], [1, 2], False, False)"
    assert two.run("import os\nos.kill(-1, 9)").status in ("ok", "error", "died")
    assert one.run("token").result == repr(token)
    one.close()
    two.close()


@pytest.mark.parametrize("target", ["1", "os.getppid()", "-1"])
def test_code_cannot_kill_the_machines_processes(session, box, target, alive):
    other = box.open()
    session.run(f"import os, signal\nfor number in (15, 9, 2):\n    os.kill({target}, number)")
    assert alive(other)
    assert alive(session)
    other.close()


def test_the_runner_is_an_unprivileged_user_with_no_way_up(session):
    cell = session.run(
        "import os\nstatus = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines())\n"
        "os.getuid(), os.getgid(), os.getgroups() in ([], [65534]), "
        "*(status[k] for k in ('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp'))"
    )
    zero = "0" * 16
    assert eval(cell.result) == (1000, 1000, True, zero, zero, "1", "2")
    outer = session.run("open('/proc/self/uid_map').read().split()").result
    assert eval(outer)[:2] != ["1000", "0"]
