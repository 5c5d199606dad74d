import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from foveal.bench.realxmini import oracle
from foveal.bench.realxmini.build import build
from foveal.bench.realxmini.kinds import Hop
from foveal.curate.questions import StoredQuestion
from foveal.tools.sandbox import LocalSandbox

Ask = Callable[..., Sequence[oracle.Verdict]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small realx-mini: the first 14 questions, over the pages of larger cities."""
    out = tmp_path_factory.mktemp("mini")
    build(out, count=14, min_city=15000)
    return out


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    started = LocalSandbox()
    yield started
    asyncio.run(started.aclose())


@pytest.fixture(scope="session")
def ask(sandbox: LocalSandbox) -> Ask:
    """Runs the oracle, without a step, over some questions."""

    def answer(
        folder: Path, off: Hop | None = None, wanted: Callable[[StoredQuestion], bool] = lambda question: True
    ) -> Sequence[oracle.Verdict]:
        return asyncio.run(oracle.run(folder, sandbox, off, wanted))

    return answer
