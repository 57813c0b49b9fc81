"""Training tokenizers from the lake's documents, taking in those of others, and the table of those it has.

A tokenizer's file is <lake>/tokenizers/<name>/tokenizer.json; its row in cuvee.tokenizers says what it was trained on,
or where it is from.
Exports name tokenizers, so one that exists is not replaced by another unless that is forced.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from udfs.errors import UsageError, did_you_mean
from udfs.tokens import tokenizer
from udfs.tokens.tokenizer import TokenizerError
from warehouse.lake.connection import reading, relation_of, stream_texts
from warehouse.lake.lake import Lake

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_COLUMNS = "name, fingerprint, vocab_size, trained_on, documents, trained_at"


@dataclass(frozen=True, slots=True)
class TokenizerRow:
    """A tokenizer of the lake: a row of cuvee.tokenizers."""

    name: str
    fingerprint: str
    vocab_size: int
    trained_on: str
    documents: int
    trained_at: datetime


@dataclass(frozen=True, slots=True)
class TokenizerCorpus:
    """What a tokenizer is trained on: the documents of ``source``, a model's name or SQL that yields a doc_id.

    Documents are taken in the order of md5('tokenizer:' || doc_id), each once, up to the one in which
    ``max_characters`` are reached. So a tokenizer depends on the set of documents only.
    """

    source: str
    max_characters: int


class TokenizerExistsError(TokenizerError):
    """Another tokenizer has this name."""


def tokenizers(lake: Lake) -> list[TokenizerRow]:
    """List the lake's tokenizers by name."""
    rows = lake.cursor().execute(f"select {_COLUMNS} from cuvee.tokenizers order by name").fetchall()
    return [TokenizerRow(*row) for row in rows]


def load(lake: Lake, name: str) -> tokenizer.Tokenizer:
    """Load a tokenizer of the lake. Raises UsageError with the nearest names."""
    known = [row.name for row in tokenizers(lake)]
    if name not in known:
        hint = did_you_mean(name, known) or f"train one: cuvee tokenizer train {name} --from MODEL"
        raise UsageError(f"no tokenizer {name!r} in this lake", hint=hint)
    return tokenizer.Tokenizer(lake.root / "tokenizers" / name)


def train(
    lake: Lake,
    name: str,
    corpus: TokenizerCorpus,
    vocab_size: int,
    *,
    force: bool = False,
    progress: Callable[[int], None] = lambda characters: None,
) -> tuple[TokenizerRow, bool]:
    """Train the tokenizer ``name`` on the documents of ``corpus``.

    100 million characters take about 25 s to learn from, on 2 cores. ``progress`` is told of the characters read.
    Returns the tokenizer's row and whether it is new: an equal tokenizer that is there already is left alone.

    Raises UsageError for a bad name or source, TokenizerExistsError if a different tokenizer has the name.
    """
    _check_name(name)
    with lake.staging() as staging:
        with contextlib.closing(lake.reader()) as reader:
            reader.execute("begin transaction")  # the choice of documents and their texts are of one snapshot
            documents = _choose(reader, corpus)
            made = tokenizer.train(_texts(reader, progress), staging.folder / name, vocab_size)
        row = TokenizerRow(name, made.fingerprint, made.vocab_size, corpus.source, documents, datetime.now(UTC))
        return _keep(lake, made, row, force)


def add(
    lake: Lake, name: str, place: str, *, end_of_text: str | None = None, force: bool = False
) -> tuple[TokenizerRow, bool]:
    """Copy a tokenizer into the lake under ``name``: that of a folder, a tokenizer.json or a model of the hub.

    ``end_of_text`` is the token that ends a document; by default the ``eos_token`` of the tokenizer_config.json next to
    the file, else the first of ``udfs.tokens.tokenizer.ENDS`` that it has. Gives what ``train`` gives.

    Raises UsageError for a bad name or place, TokenizerError if there is no such token, TokenizerExistsError if a
    different tokenizer has the name.
    """
    _check_name(name)
    # With a slash it is not taken for the name of one of the lake's own.
    source = tokenizer.find(place if "/" in place else f"./{place}", lake.root / "tokenizers", Path())
    with lake.staging() as staging:
        folder = staging.folder / name
        folder.mkdir()
        shutil.copyfile(source, folder / tokenizer.FILE)
        end = end_of_text or tokenizer.eos(source.with_name(tokenizer.CONFIG))
        if end is not None:
            (folder / tokenizer.CONFIG).write_text(json.dumps({"eos_token": end}), encoding="utf-8")
        made = tokenizer.Tokenizer(folder)
        row = TokenizerRow(name, made.fingerprint, made.vocab_size, f"from {place}", 0, datetime.now(UTC))
        return _keep(lake, made, row, force)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid tokenizer name", hint="use letters, digits, '.', '_' and '-'")


def _choose(reader: duckdb.DuckDBPyConnection, corpus: TokenizerCorpus) -> int:
    """Fill the temporary table ``chosen`` with the doc_ids to read. Returns how many there are."""
    with reading(reader, corpus.source, "train on"):
        reader.execute(
            f"""
            create temp table chosen as
            with asked as (select distinct doc_id from {relation_of(corpus.source)}),
            ordered as (
                select doc_id, n_chars,
                    sum(n_chars) over (order by md5('tokenizer:' || doc_id), doc_id rows unbounded preceding) as so_far
                from raw.documents semi join asked using (doc_id)
            )
            select doc_id from ordered where so_far - n_chars < ?
            """,
            [corpus.max_characters],
        )
    row = reader.execute("select count(*) from chosen").fetchone()
    assert row is not None
    if not row[0]:
        raise UsageError(f"no documents in {corpus.source!r}", hint="its doc_ids must be those of raw.documents")
    return int(row[0])


def _texts(reader: duckdb.DuckDBPyConnection, progress: Callable[[int], None]) -> Iterator[str]:
    query = "select text from raw.documents semi join chosen using (doc_id)"
    for batch in stream_texts(reader, query, 512):
        characters = 0
        for text in batch.column(0).to_pylist():
            characters += len(text)
            yield text
        progress(characters)


def _keep(lake: Lake, made: tokenizer.Tokenizer, row: TokenizerRow, force: bool) -> tuple[TokenizerRow, bool]:
    """Put a tokenizer in its place and in the table, or find that it is there."""
    folder = lake.root / "tokenizers" / row.name
    with lake.commit(f"the tokenizer {row.name}", author="cuvee tokenizer") as commit:
        old = tokenizer.Tokenizer(folder) if (folder / tokenizer.FILE).exists() else None
        same = old is not None and (old.fingerprint, old.end_of_text) == (made.fingerprint, made.end_of_text)
        found = commit.sql(f"select {_COLUMNS} from cuvee.tokenizers where name = ?", [row.name]).fetchone()
        if same and found and found[1] == row.fingerprint:
            return TokenizerRow(*found), False
        if old is not None and not same and not force:
            cited = commit.sql("select count(*) from exports.exports where tokenizer = ?", [row.name]).fetchone()
            exports = f", named by {cited[0]} exports" if cited and cited[0] else ""
            raise TokenizerExistsError(
                f"there is a different tokenizer {row.name!r} (fingerprint {old.fingerprint}{exports})",
                hint="choose another name, or replace it with --force",
            )
        folder.mkdir(exist_ok=True)
        (folder / tokenizer.CONFIG).unlink(missing_ok=True)
        for name in (tokenizer.CONFIG, tokenizer.FILE):
            if (file := made.path.with_name(name)).exists():
                file.replace(folder / name)
        commit.sql("delete from cuvee.tokenizers where name = ?", [row.name])
        commit.sql(
            f"insert into cuvee.tokenizers ({_COLUMNS}) values (?, ?, ?, ?, ?, ?)",
            [row.name, row.fingerprint, row.vocab_size, row.trained_on, row.documents, row.trained_at],
        )
    return row, True
