"""Measures a sandbox session against a Jupyter kernel, in turns, in one run.

    python benchmarks/sandbox.py [-n SESSIONS] [--json FILE]

Needs ipykernel, jupyter-client and psutil (the extra `dev`). What is compared:

* start: from asking for a session or kernel to the moment that it runs cells. A kernel has imported nothing then; a
  session has numpy, Pillow and matplotlib loaded. The fork-server's own start is not in it: it happens once per program
  and is reported as `server_start_ms`.
* round trip: a cell `1+1` sent, run and answered, in an idle session.
* memory: private memory (USS) of an idle session's processes after the same three imports on both sides. What all
  sessions share through the fork-server is reported as `server_mb`.

Keys of the JSON file: `start_ratio`, `roundtrip_ratio`, `memory_ratio` (of medians, kernel over sandbox: how many times
less the sandbox takes); `sandbox_start_ms`, `kernel_start_ms`, `sandbox_roundtrip_ms`, `kernel_roundtrip_ms`,
`sandbox_memory_mb`, `kernel_memory_mb`, `server_start_ms`, `server_mb`; `sessions` and `cells` (on each side).
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from statistics import median

import psutil
from jupyter_client.manager import KernelManager

from foveal.tools.sandbox import LocalSandbox, LocalSession

CELLS = 100
IMPORTS = "import numpy, PIL.Image, matplotlib.pyplot"


def private_mb(pids: list[int]) -> float:
    """Memory that would be free if these processes ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile: those of the probe do
            total += psutil.Process(pid).memory_full_info().uss
    return total / 2**20


def children() -> set[int]:
    """Pids of all processes below this one."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


async def session_round(sandbox: LocalSandbox) -> tuple[float, list[float], float]:
    """Start in seconds, cells in seconds and private MB of one session."""
    others = children()
    start = time.perf_counter()
    session: LocalSession = await sandbox.open()
    started = time.perf_counter() - start
    await session.run(IMPORTS, 60)
    memory = private_mb(list(children() - others))
    trips = []
    for _ in range(CELLS):
        start = time.perf_counter()
        cell = await session.run("1+1", 60)
        trips.append(time.perf_counter() - start)
        assert cell.result == "2"
    await session.close()
    return started, trips, memory


def kernel_round() -> tuple[float, list[float], float]:
    """The same of one Jupyter kernel."""
    manager = KernelManager(kernel_name="python3")
    start = time.perf_counter()
    manager.start_kernel(env=os.environ | {"MPLBACKEND": "agg"}, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    started = time.perf_counter() - start
    client.execute_interactive(IMPORTS, timeout=60)
    provisioner = manager.provisioner
    memory = private_mb([provisioner.process.pid])
    trips = []
    for _ in range(CELLS):
        start = time.perf_counter()
        reply = client.execute_interactive("1+1", timeout=60, output_hook=lambda message: None)
        trips.append(time.perf_counter() - start)
        assert reply["content"]["status"] == "ok"
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    return started, trips, memory


async def measure(rounds: int) -> dict[str, float]:
    """Alternate sessions and kernels, so that a change of the machine's load meets both."""
    starts: dict[str, list[float]] = {"sandbox": [], "kernel": []}
    trips: dict[str, list[float]] = {"sandbox": [], "kernel": []}
    memory: dict[str, list[float]] = {"sandbox": [], "kernel": []}
    async with LocalSandbox() as sandbox:
        begin = time.perf_counter()
        await sandbox.probe()
        server_start = time.perf_counter() - begin
        server = private_mb(list(children()))
        for number in range(rounds):
            for name in ("sandbox", "kernel"):
                # A kernel's blocking client must not run in the event loop's thread.
                outcome = await session_round(sandbox) if name == "sandbox" else await asyncio.to_thread(kernel_round)
                starts[name].append(outcome[0])
                trips[name] += outcome[1]
                memory[name].append(outcome[2])
            print(
                f"round {number + 1}/{rounds}, sandbox / ipykernel: "
                f"start {starts['sandbox'][-1] * 1e3:.1f} / {starts['kernel'][-1] * 1e3:.0f} ms, "
                f"cell {median(trips['sandbox']) * 1e3:.2f} / {median(trips['kernel']) * 1e3:.1f} ms, "
                f"memory {memory['sandbox'][-1]:.1f} / {memory['kernel'][-1]:.1f} MB",
                flush=True,
            )
    return {
        "start_ratio": median(starts["kernel"]) / median(starts["sandbox"]),
        "roundtrip_ratio": median(trips["kernel"]) / median(trips["sandbox"]),
        "memory_ratio": median(memory["kernel"]) / median(memory["sandbox"]),
        **{f"{name}_start_ms": median(values) * 1e3 for name, values in starts.items()},
        **{f"{name}_roundtrip_ms": median(values) * 1e3 for name, values in trips.items()},
        **{f"{name}_memory_mb": median(values) for name, values in memory.items()},
        "server_start_ms": server_start * 1e3,
        "server_mb": server,
        "sessions": rounds,
        "cells": rounds * CELLS,
    }


def main() -> None:
    """Read the flags, measure, print and save."""
    parser = argparse.ArgumentParser(description="A sandbox session against a Jupyter kernel.")
    parser.add_argument("-n", type=int, default=7, help="sessions and kernels to start")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures = {name: round(value, 3) for name, value in asyncio.run(measure(arguments.n)).items()}
    for name, value in figures.items():
        print(f"{name:22} {value:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
