"""What a large ingest takes beside its raw parts: embedding, Chroma and tantivy over the same chunks, by turns.

    python benchmarks/ingest_large.py FOLDER... [--chunks 100000] [--rounds 2] [--json FILE] [--plot FILE]

kbchat ingests the Markdown and, when that is used up, the Python sources of the folders, about so many chunks of it.
Then a loop embeds those chunks, writes their vectors to Chroma and their words to tantivy, with kbchat's own settings
for both: what no system of the kind can do without. What kbchat adds for its scores, a vector of each sentence, is
timed by itself over the same chunks. Each round does both anew; with two rounds the raw parts go first in the second.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import chromadb
import tantivy

import kbchat
from growth import fill
from kbchat.embedders.passages import embed_and_pack
from kbchat.embedders.static import StaticEmbedder
from kbchat.lexical.tantivy import WRITER_BYTES
from kbchat.text.splitting import embedded_text
from kbchat.threads import Threads
from reporting import Spread, about, add_outputs, bars, canvas, draw, save
from stores import raw_collection

BATCH = 512
"""Chunks that the raw parts take at a time."""
CHARS_A_CHUNK = 870
"""By which documents are chosen."""
PARTS = ("embedding", "Chroma", "tantivy")


def chosen(folders: Sequence[Path], chunks: int) -> list[kbchat.TextDocument]:
    found, left = [], chunks * CHARS_A_CHUNK
    for document in fill(folders):
        if left < 0:
            break
        found.append(document)
        left -= len(document.text)
    return found


async def ingest(documents: Sequence[kbchat.TextDocument]) -> tuple[float, list[str]]:
    """The seconds that kbchat takes, and the texts that it embeds."""
    with tempfile.TemporaryDirectory() as data:
        async with kbchat.KnowledgeBase(data) as kb:
            space = await kb.create_space("large")
            await space.ingest(kbchat.TextDocument(name="warm", text="warm"))
            started = time.perf_counter()
            await space.ingest(documents)
            spent = time.perf_counter() - started
            texts = [
                embedded_text(chunk.metadata.get("headings", ()), chunk.content)  # type: ignore[arg-type]
                for document in await space.documents()
                for chunk in await space.document_chunks(document.id)
            ]
    return spent, texts


def raw(texts: Sequence[str], static: StaticEmbedder) -> dict[str, float]:
    """The seconds that each of the parts takes."""
    spent = dict.fromkeys(PARTS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(f"{folder}/chroma", chromadb.Settings(anonymized_telemetry=False))
        collection = raw_collection(client, "raw")
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", tokenizer_name="en_stem")
        builder.add_integer_field("id", indexed=True, fast=True)
        (Path(folder) / "words").mkdir()
        writer = tantivy.Index(builder.build(), path=f"{folder}/words").writer(WRITER_BYTES, 1)
        for first in range(0, len(texts), BATCH):
            part = texts[first : first + BATCH]
            started = time.perf_counter()
            vectors = static.embed(part)
            embedded = time.perf_counter()
            collection.upsert([str(first + place) for place in range(len(part))], vectors)  # type: ignore[arg-type]
            stored = time.perf_counter()
            for place, text in enumerate(part):
                writer.add_document(tantivy.Document(text=text, id=first + place))
            indexed = time.perf_counter()
            for name, seconds in zip(PARTS, (embedded - started, stored - embedded, indexed - stored), strict=True):
                spent[name] += seconds
        started = time.perf_counter()
        writer.commit()
        writer.wait_merging_threads()
        spent["tantivy"] += time.perf_counter() - started
    return spent


def sentences(texts: Sequence[str], static: StaticEmbedder) -> float:
    """The seconds that embedding takes with the vectors of sentences."""
    started = time.perf_counter()
    for first in range(0, len(texts), BATCH):
        embed_and_pack(static, texts[first : first + BATCH])
    return time.perf_counter() - started


def plot(rounds: Sequence[dict[str, float]], path: Path) -> None:
    """The seconds of each part, and of kbchat, which makes the vectors of sentences too."""
    figure, (axes,) = canvas()
    bars(axes, {"seconds": {part: Spread.of(each[part] for each in rounds) for part in rounds[0]}}, told=",.1f")
    axes.set(xlabel="seconds")
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    add_outputs(parser)
    options = parser.parse_args()
    documents = chosen(options.folders, options.chunks)
    header = about("chromadb", "tantivy", "wordllama", documents=len(documents), rounds=options.rounds)
    static = StaticEmbedder(threads=Threads())
    static.embed(["warm"])
    rounds: list[dict[str, float]] = []
    texts: list[str] = []
    for number in range(options.rounds):
        before = raw(texts, static) if number % 2 else {}
        spent, texts = asyncio.run(ingest(documents))
        parts = before or raw(texts, static)
        more = sentences(texts, static) - parts["embedding"]
        alone, count = sum(parts.values()), len(texts)
        print(f"round {number + 1}: {count} chunks")
        print(f"  kbchat     {spent:6.1f} s  {count / spent:6.0f} chunks/s")
        print(f"  raw parts  {alone:6.1f} s  {count / alone:6.0f} chunks/s  ({shown(parts)})")
        print(f"  kbchat has {alone / spent:.0%} of the raw parts' speed; vectors of sentences take {more:.1f} s more")
        rounds.append({**parts, "raw parts": alone, "kbchat": spent, "vectors of sentences": more})
    share = Spread.of(each["raw parts"] / each["kbchat"] for each in rounds)
    print(f"kbchat's speed over the raw parts': {share:.2f}")
    save(options.json, header, {"chunks": len(texts), "share": share, "rounds": rounds})
    if options.plot:
        plot(rounds, options.plot)


def shown(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())


if __name__ == "__main__":
    main()
