"""Measures the offline search: text against bm25s and tantivy in the same run, pictures against changed copies.

    python benchmarks/search.py [--docs N] [--dense FOLDER] [--images N] [--pictures FOLDER] [--tower FOLDER]

Needs bm25s and tantivy (the extra `dev`). Documents are made up (`search_data.py`), 20 to 60 words each, one in ten
Chinese. Three kinds of queries, 200 each, five hits: `and` (three words of one document), `or` (four words as they are
used, of no document together), `cjk` (two to six neighbouring characters). First one at a time, then eight readers at a
time; times are wall times of one search as a caller sees them, snippets included. The others answer the `or` queries,
eight readers too, each in its own way: bm25s holds its index in memory and stems nothing, tantivy stems.

Recall is over 500 questions about one document each: a third name it, a third describe it in its words, a third in
others. With `--dense FOLDER` (a sentence-embedding model, such as all-MiniLM-L6-v2) also by meaning, and by both, over
the first `--dense-docs` documents: embedding takes a hundred times as long as all the rest. Pictures come from
`--pictures`, filled up with made ones; 300 of them are searched for after each change. Flags are the 194 of the micro
world, those of one artist searched for among those of another, after the same changes. With `--tower FOLDER` (a Qwen-VL
checkpoint) both are done again with its vision tower.

Keys of the JSON file: `docs`, `build_s`, `file_mb`, `p50_ms_and`, `p95_ms_and`, ... `_or`, `_cjk` (eight readers),
`alone_p95_ms_and`, ... (one reader); `cjk_found` (share of the queries whose first five hold the characters);
`recall5_fts`; `dense_docs`, `dense_s` (to embed them), `recall5_dense`, `recall5_fused`, `recall5_fts_dense_docs` (by
words alone, over the same documents); `bm25s_p95_ms_or`, `vs_bm25s`, the same of `tantivy` (p95, theirs over ours:
above 1, ours is faster), `vs_bm25s_build` (theirs over ours, too); `images`, `images_real` (of `--pictures`),
`image_recall1`, `image_recall5` (mean over pictures cropped, rescaled, saved as JPEG, recoloured), `image_ms` (median),
`image_recalls` (first and first five, of every change), `flag_recalls` (the same of flags); `tower_images_s` (to embed
the pictures), `tower_recalls`, `tower_ms`, `tower_flag_recalls`.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image

from foveal.micro.scenes import sprites
from foveal.policy.tower import Tower
from foveal.tools.base import ImageSearch
from foveal.tools.search.dense import DenseText, embed_index
from foveal.tools.search.embedding import Embedder
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.pictures import EmbeddedImages, embed_pictures
from foveal.tools.search.text import FILE, TextIndex
from foveal.trajectory import ImageStore, SearchHit
from search_data import CHANGES, COUNTED, Corpus, pictures

QUERIES, QUESTIONS, READERS, SOUGHT = 200, 500, 8, 300
K = 5

Find = Callable[[str], Awaitable[Any]]


def times(find: Find, queries: Sequence[str], readers: int) -> list[float]:
    """Seconds of each query, with so many under way in one event loop, as the searches of an agent are."""

    async def everyone() -> list[float]:
        room = asyncio.Semaphore(readers)

        async def one(query: str) -> float:
            async with room:
                start = time.perf_counter()
                await find(query)
                return time.perf_counter() - start

        return await asyncio.gather(*map(one, queries))

    return asyncio.run(everyone())


def quantile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return float(np.quantile(seconds, share)) * 1e3


def text_figures(corpus: Corpus, folder: Path) -> tuple[dict[str, float], TextIndex]:
    """Build, size and times of our index."""
    start = time.perf_counter()
    index = TextIndex.create(folder)
    index.add(corpus.documents)
    figures = {"build_s": time.perf_counter() - start, "file_mb": (folder / FILE).stat().st_size / 1e6}

    def find(query: str) -> Awaitable[Any]:
        return index.search(query, K)

    for kind, queries in queries_of(corpus).items():
        times(find, queries[:1], 1)
        figures[f"alone_p95_ms_{kind}"] = quantile(times(find, queries, 1), 0.95)
        seconds = times(find, queries, READERS)
        figures[f"p50_ms_{kind}"], figures[f"p95_ms_{kind}"] = quantile(seconds, 0.5), quantile(seconds, 0.95)
    shown = [(query, asyncio.run(index.search(query, K))) for query in queries_of(corpus)["cjk"]]
    figures["cjk_found"] = mean(any(query in f"{hit.title} {hit.snippet}" for hit in hits) for query, hits in shown)
    return figures, index


def queries_of(corpus: Corpus) -> dict[str, list[str]]:
    """The queries of each kind."""
    kinds = {"and": corpus.words_of_one, "or": corpus.words_of_many, "cjk": corpus.chinese_words}
    return {kind: [make(random.Random(number)) for number in range(QUERIES)] for kind, make in kinds.items()}


def bm25s_finder(corpus: Corpus) -> Find:
    """The same documents in bm25s."""
    import bm25s

    texts = [f"{one.title} {one.text}" for one in corpus.documents]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def find(query: str) -> Any:
        words = bm25s.tokenize([query], stopwords="en", show_progress=False)
        found, _ = index.retrieve(words, k=K, show_progress=False)
        return [texts[number] for number in found[0]]

    return lambda query: asyncio.to_thread(find, query)


def tantivy_finder(corpus: Corpus, folder: Path) -> Find:
    """The same documents in tantivy."""
    import tantivy

    folder.mkdir()
    builder = tantivy.SchemaBuilder()
    for field in ("title", "body"):
        builder.add_text_field(field, stored=True, tokenizer_name="en_stem")
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(128_000_000)
    for one in corpus.documents:
        writer.add_document(tantivy.Document(title=one.title, body=one.text))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def find(query: str) -> Any:
        hits = searcher.search(index.parse_query(query, ["title", "body"]), K).hits
        return [searcher.doc(address).to_dict() for _, address in hits]

    return lambda query: asyncio.to_thread(find, query)


def compared(corpus: Corpus, ours: dict[str, float], folder: Path) -> dict[str, float]:
    """The other engines on the `or` queries."""
    queries, figures = queries_of(corpus)["or"], {}
    makers = {"bm25s": bm25s_finder, "tantivy": lambda corpus: tantivy_finder(corpus, folder)}
    for name, make in makers.items():
        start = time.perf_counter()
        try:
            find = make(corpus)
        except ImportError:
            sys.exit(f"{name} is not installed: pip install 'foveal[dev]', or pip install {name}")
        figures[f"vs_{name}_build"] = (time.perf_counter() - start) / ours["build_s"]
        times(find, queries[:1], 1)
        theirs = quantile(times(find, queries, READERS), 0.95)
        figures |= {f"{name}_p95_ms_or": theirs, f"vs_{name}": theirs / ours["p95_ms_or"]}
    return figures


def dense_figures(corpus: Corpus, folder: Path, model: Path) -> dict[str, float]:
    """Recall by meaning, and by both."""
    words = TextIndex.create(folder)
    words.add(corpus.documents)
    embedder = Embedder(model)
    start = time.perf_counter()
    embed_index(folder, embedder)
    figures = {"dense_docs": float(corpus.size), "dense_s": time.perf_counter() - start}
    alone, both = DenseText(folder, embedder, words=False), DenseText(folder, embedder)
    finders = {"recall5_dense": alone, "recall5_fused": both, "recall5_fts_dense_docs": words}
    for name, index in finders.items():
        figures[name] = recall(index.search, corpus)
    return figures


def recall(search: Callable[[str, int], Awaitable[list[SearchHit]]], corpus: Corpus) -> float:
    """Share of the questions whose document is among the first five."""
    asked = corpus.questions(min(QUESTIONS, corpus.size // 2))
    return mean(f"d/{one.answer}" in [hit.link for hit in asyncio.run(search(one.text, K))] for one in asked)


def image_figures(folder: Path, source: Path | None, count: int, tower: Path | None) -> dict[str, Any]:
    """Recall after each change, of pictures and of flags, and the time of a search."""
    held, real = pictures(source, count)
    index = ImageIndex.create(folder / "images")
    index.add(Picture(f"{number}", image) for number, image in enumerate(held))
    sought = random.Random(2).sample(range(real or len(held)), min(SOUGHT, real or len(held)))
    queries = {number: held[number] for number in sought}
    drawn, other = sprites("scene"), sprites("index")
    flags = ImageIndex.create(folder / "flags")
    flags.add(Picture(f"{number}", other[code]) for number, code in enumerate(sorted(other)))
    flag_queries = {number: drawn[code] for number, code in enumerate(sorted(drawn))}
    recalls, took = image_recalls(index, queries)
    figures: dict[str, Any] = {
        "images": len(held),
        "images_real": real,
        "image_recall1": mean(recalls[change][0] for change in COUNTED),
        "image_recall5": mean(recalls[change][1] for change in COUNTED),
        "image_ms": took,
        "image_recalls": recalls,
        "flag_recalls": image_recalls(flags, flag_queries)[0],
    }
    if tower is not None:
        embedder = Tower(tower)
        start = time.perf_counter()
        embed_pictures(folder / "images", embedder)
        figures["tower_images_s"] = time.perf_counter() - start
        embed_pictures(folder / "flags", embedder)
        seen = EmbeddedImages(folder / "images", embedder)
        figures["tower_recalls"], figures["tower_ms"] = image_recalls(seen, queries)
        figures["tower_flag_recalls"], _ = image_recalls(EmbeddedImages(folder / "flags", embedder), flag_queries)
    return figures


def image_recalls(
    index: ImageSearch, sought: Mapping[int, Image.Image]
) -> tuple[dict[str, tuple[float, float]], float]:
    """Share of the pictures found first and among the first five after each change; median milliseconds of a search."""
    found: dict[str, tuple[float, float]] = {}
    took = []
    for change, apply in CHANGES.items():
        places = []
        for number, picture in sought.items():
            query = apply(picture, random.Random(number))
            start = time.perf_counter()
            hits = [hit.title for hit in asyncio.run(index.search(query, K, ImageStore()))]
            took.append(time.perf_counter() - start)
            places.append(hits.index(str(number)) if str(number) in hits else K)
        found[change] = (round(mean(place < 1 for place in places), 3), round(mean(place < K for place in places), 3))
    return found, quantile(took, 0.5)


def main() -> None:
    """Read the flags, measure, print and save."""
    parser = argparse.ArgumentParser(description="Offline search against bm25s and tantivy, and by picture.")
    parser.add_argument("--docs", type=int, default=50_000, help="documents, at least 1000")
    parser.add_argument("--images", type=int, default=1_000, help="pictures, at least 10")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures that are searched for")
    parser.add_argument("--tower", type=Path, help="a checkpoint folder whose vision tower describes pictures, too")
    parser.add_argument("--dense", type=Path, help="a folder with a sentence-embedding model")
    parser.add_argument("--dense-docs", type=int, default=5_000, help="documents that are embedded")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"docs": arguments.docs}
    with tempfile.TemporaryDirectory(prefix="foveal-search-") as name:
        folder = Path(name)
        print("writing documents", flush=True)
        corpus = Corpus(arguments.docs)
        print("our index", flush=True)
        ours, index = text_figures(corpus, folder / "text")
        figures |= ours | {"recall5_fts": recall(index.search, corpus)}
        if arguments.dense is not None:
            print("embedding", flush=True)
            figures |= dense_figures(Corpus(arguments.dense_docs), folder / "dense", arguments.dense)
        print("bm25s and tantivy", flush=True)
        figures |= compared(corpus, ours, folder / "tantivy")
        print("pictures", flush=True)
        figures |= image_figures(folder, arguments.pictures, arguments.images, arguments.tower)
    for key, value in figures.items():
        print(f"{key:20} {value if isinstance(value, dict) else f'{value:g}'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
