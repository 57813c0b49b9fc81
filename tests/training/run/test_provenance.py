"""SQL from batches to documents and back, and a run's data in order, from rows as a run of two ranks leaves them."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers import CUVEE
from tests.training.tiny_sweep import Part, language, write_export
from udfs.errors import UsageError
from warehouse.lake.lake import Lake

pytest.importorskip("streaming")

COMMON, RARE = language(1, 30), language(2, 10)
#: Samples of each batch and rank. Ids up to 29 are common's, then come rare's.
TRUNK = {batch: ((2 * batch, 2 * batch + 1), (2 * batch + 2, 30 + batch)) for batch in range(8)}
ANNEAL = {batch: ((30 + batch, 31), (32, 33)) for batch in range(4)}
MODELS = "run_stages batch_documents checkpoint_intervals checkpoint_documents realised_shares"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk of 8 batches with checkpoints at 3, 6 and 8; an anneal of 4 from the one at 6."""
    folder = tmp_path_factory.mktemp("place")
    lake = Lake.create(folder / "lake")
    parts = {"common": Part(COMMON), "rare": Part(RARE)}
    write_export(lake, folder / "exports", "baseline", parts, vocabulary=64)
    with lake.commit("runs", author="test") as commit:
        for run, parent, before, batches, saved in (
            ("trunk", None, 0, TRUNK, (3, 6, 8)),
            ("anneal", "trunk", 6 * 128, ANNEAL, (4,)),
        ):
            commit.sql(
                "insert into runs.runs values (?, 'r', ?, 1, ?, 'baseline', 'baseline-export', 1, ?, ?, now(), now())",
                [run, run, parent, len(batches) * 128, f'{{"batch_tokens": 128, "tokens_before": {before}}}'],
            )
            for batch, ranks in batches.items():
                for rank, ids in enumerate(ranks):
                    commit.sql("insert into runs.batches values (?, ?, ?, ?)", [run, batch, rank, list(ids)])
            for batch in saved:
                row = [run, batch, batch * 128, f"{run}/{batch}.pt"]
                commit.sql("insert into runs.checkpoints values (?, ?, ?, ?, now())", row)
    (folder / "dbt_project.yml").write_text("name: p\nmodels: {cuvee: {}}")
    command = [*CUVEE, "build", "--select", MODELS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def rows(place: Path, query: str) -> list[tuple[object, ...]]:
    return Lake.open(place / "lake").reader().execute(query).fetchall()


def samples(batches: dict[int, tuple[tuple[int, ...], ...]], begin: int, end: int) -> Iterator[int]:
    for batch in range(begin, end):
        for ids in batches[batch]:
            yield from ids


def name(sample: int) -> str:
    return f"common-{sample}" if sample < 30 else f"rare-{sample - 30}"


def test_what_was_seen_between_two_checkpoints(place: Path) -> None:
    found = rows(place, "select from_batch, to_batch, doc_id, times, n_tokens from main.checkpoint_intervals"
                        " where run_id = 'trunk'")  # fmt: skip
    expected = []
    for begin, end in ((0, 3), (3, 6), (6, 8)):
        seen = Counter(map(name, samples(TRUNK, begin, end)))
        expected += [(begin, end, document, times, 32 * times) for document, times in seen.items()]
    assert sorted(found) == sorted(expected)


def test_which_checkpoints_saw_a_document(place: Path) -> None:
    """rare-3 is in the trunk's batch 3 and five times in the anneal, which left the trunk before it met rare-7."""
    query = "select run_id, batch, from_run_id, times from main.checkpoint_documents where doc_id = '{}' order by all"
    assert rows(place, query.format("rare-3")) == [
        ("anneal", 4, "anneal", 5),
        ("anneal", 4, "trunk", 1),
        ("trunk", 6, "trunk", 1),
        ("trunk", 8, "trunk", 1),
    ]
    assert rows(place, query.format("rare-7")) == [("trunk", 8, "trunk", 1)]


def test_realised_shares_beside_the_mixtures(place: Path) -> None:
    found = rows(
        place,
        "select batch, share, share_so_far, mixture_share from main.realised_shares"
        " where run_id = 'trunk' and component = 'rare' order by batch",
    )
    assert found == [(3, 0.25, 0.25, 0.25), (6, 0.25, 0.25, 0.25), (8, 0.25, 0.25, 0.25)]
    anneal = rows(place, "select component, n_tokens, share from main.realised_shares where run_id = 'anneal'")
    assert sorted(anneal) == [("common", 0, 0.0), ("rare", 16 * 32, 1.0)]


def test_the_order_of_the_data_as_ettin_releases_it(place: Path, tmp_path: Path) -> None:
    from training.run.data_order import write

    lake = Lake.open(place / "lake")
    files = write(lake, "trunk", tmp_path / "order")
    assert [str(path.relative_to(tmp_path / "order")) for path in files] == [
        "checkpoint_000003/steps_000001_to_000003.parquet",
        "checkpoint_000006/steps_000004_to_000006.parquet",
        "checkpoint_000008/steps_000007_to_000008.parquet",
    ]
    read = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert [row["step"] for row in read] == [batch + 1 for batch in range(8) for _ in range(4)]
    tokens = {**dict(enumerate(COMMON.tolist())), **{30 + row: tokens for row, tokens in enumerate(RARE.tolist())}}
    assert [row["input_ids"] for row in read] == [tokens[sample] for sample in samples(TRUNK, 0, 8)]
    (decay,) = write(lake, "anneal", tmp_path / "decay")
    assert decay.parent.name == "decay_000004"
    with pytest.raises(UsageError, match="no finished run 'trunks'"):
        write(lake, "trunks", tmp_path / "other")
    with pytest.raises(UsageError, match="is not empty"):
        write(lake, "trunk", tmp_path / "order")


def test_trackers_write_beside_the_run(tmp_path: Path) -> None:
    from composer import Trainer
    from composer.models import ComposerModel
    from torch import nn

    from training.run.trainer import make_loggers

    class Nothing(ComposerModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, batch: object) -> None: ...

        def loss(self, outputs: object, batch: object) -> None: ...

    (logger,) = make_loggers(["file"], tmp_path / "run-1", "recipe")
    trainer = Trainer(model=Nothing(), loggers=logger, run_name="run-1", progress_bar=False)
    trainer.logger.log_metrics({"loss/train/total": 1.5}, step=3)
    trainer.close()
    assert "loss/train/total: 1.5" in (tmp_path / "run-1/log/rank0.txt").read_text()


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.run import trainer

    monkeypatch.setattr(trainer, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="tensorboard is not installed"):
        trainer.make_loggers(["file", "tensorboard"], tmp_path, "recipe")
