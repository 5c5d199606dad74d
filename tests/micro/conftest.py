import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from foveal.micro import facts, tokenizer, world
from foveal.micro.pool import Drawn, draw
from foveal.policy.encoding import ChatEncoder
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools


@pytest.fixture(scope="session")
def pool() -> list[Drawn]:
    return draw(3, 12, [country.code for country in facts.split("train")])


@pytest.fixture(scope="session")
def encoder(pool: list[Drawn]) -> ChatEncoder:
    return tokenizer.train(pool, seed=0, conversations=300)


@pytest.fixture(scope="session")
def real_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    world.build(folder, facts.countries())
    return folder


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    started = LocalSandbox()
    yield started
    asyncio.run(started.aclose())


@pytest.fixture
def real_tools(real_index: Path, sandbox: LocalSandbox) -> Tools:
    return world.tools(real_index, sandbox)
