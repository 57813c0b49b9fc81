"""Essential-Web's published schema comes back as it was ingested, and its datasets are the published predicates."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import FIXTURES, SQL
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.graph.loaded_project import open_project
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

PUBLISHED = FIXTURES / "essential_web"


def rows(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def arrow(kind: str) -> pa.DataType:
    return {"int64": pa.int64(), "string": pa.string(), "list<int32>": pa.list_(pa.int32())}.get(kind, pa.float64())


def nested(leaves: list[tuple[list[str], pa.DataType]]) -> pa.StructType:
    """The struct that has these leaves."""
    fields: dict[str, list[tuple[list[str], pa.DataType]]] = {}
    for path, kind in leaves:
        fields.setdefault(path[0], []).append((path[1:], kind))
    return pa.struct(
        [
            pa.field(name, inner[0][1] if not inner[0][0] else nested(inner))  # a leaf, or what lies below
            for name, inner in fields.items()
        ]
    )


def published() -> pa.Schema:
    leaves = [(row["path"].split("."), arrow(row["type"])) for row in rows("dataset_schema.csv")]
    return pa.schema(list(nested(leaves)))


def leaves(kind: pa.DataType, path: str = "") -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from leaves(field.type, f"{path}.{field.name}" if path else field.name)
    else:
        yield path, kind


def names() -> dict[tuple[str, str], str]:
    with (SQL / "seeds" / "taxonomy.csv").open(encoding="utf-8", newline="") as lines:
        return {(row["category"], row["code"]): row["label"] for row in csv.DictReader(lines)}


def filled(kind: pa.DataType, path: str, number: int) -> Any:
    """A value for each leaf; labels have those names that belong to their codes."""
    if pa.types.is_struct(kind):
        if path.startswith("eai_taxonomy.") and kind.get_field_index("code") >= 0:
            _, category, rank = path.split(".")
            if category == "free_decimal_correspondence":
                if rank == "secondary":
                    return {"code": "-1", "labels": {"level_1": None, "level_2": None, "level_3": None}}
                labels = {
                    "level_1": "Science and Natural history",
                    "level_2": "Mathematics",
                    "level_3": "Geometry, Algebraic",
                }
                return {"code": "516.2", "labels": labels}
            code = "-1" if rank == "secondary" else "2"
            return {"code": code, "label": names()[category, code]}
        return {field.name: filled(field.type, f"{path}.{field.name}".lstrip("."), number) for field in kind}
    if pa.types.is_integer(kind):
        return -(2**62) + number
    if pa.types.is_list(kind):
        return [number, 7]
    return number / 7 if pa.types.is_floating(kind) else f"{path} {number}"


def project(lake: Lake) -> None:
    """Build the model of the shipped project. No labeler is asked."""
    results = build(lake, SQL, Selection(("+essential_web",)), BuildOptions(variables={"labelers": []}))
    assert not [(result.name, result.message) for result in results if result.failed]


def test_published_rows_come_back_as_they_were(lake: Lake, tmp_path: Path) -> None:
    schema = published()
    given = [filled(pa.struct(list(schema)), "", number) for number in range(3)]
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(given, schema=schema), path)
    ingest(lake, find_inputs([str(path)]), IngestOptions(source="essential_web"))
    project(lake)
    table = lake.cursor().sql("from lake.main.essential_web order by pid").to_arrow_table()
    ours = [(path, kind) for path, kind in leaves(pa.struct(list(table.schema))) if path != "doc_id"]
    assert dict(ours) == dict(leaves(pa.struct(list(schema))))
    top = ["id", "text", "metadata", "line_start_n_end_idx", "quality_signals", "eai_taxonomy", "pid", "doc_id"]
    assert table.schema.names == top
    assert table.drop_columns(["doc_id"]).to_pylist() == given


def test_our_own_labels_have_the_same_shape(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "A page.", "url": "https://example.org/x"}\n')
    ingest(lake, find_inputs([str(path)]), IngestOptions(source="own"))
    project(lake)
    assert lake.cursor().sql("from lake.main.essential_web").fetchall() == []
    from udfs.labels.label_document import LabelDocument
    from warehouse.answers.store import Answers

    function = LabelDocument((SQL,)).bind(("fake",))
    [(key, text)] = lake.cursor().sql("select doc_id, text from lake.raw.documents").fetchall()
    inputs = pa.RecordBatch.from_pydict({"key": [key], "text": [text]})
    list(Answers(lake, function).collect(function.answers(iter([inputs]))))
    project(lake)
    [row] = lake.cursor().sql("from lake.main.essential_web").to_arrow_table().to_pylist()
    assert (row["doc_id"], row["text"], row["pid"]) == (key, "A page.", None)
    assert row["id"] == int(key[:15], 16)
    assert row["metadata"]["url"] == "https://example.org/x" and row["metadata"]["source_domain"] == "example.org"
    verdict = lake.cursor().sql("select document_type_v1 from lake.labels.eai").fetchone()
    assert verdict is not None
    secondary = verdict[0]["secondary"] or "-1"
    assert row["eai_taxonomy"]["document_type_v1"] == {
        "primary": {
            "code": verdict[0]["primary"],
            "label": names()["document_type_v1", verdict[0]["primary"]],
        },
        "secondary": {"code": secondary, "label": names()["document_type_v1", secondary]},
    }


#: Columns of a made-up document, as the published table of predicates names them.
FIELDS = ("document_type_v1", "document_type_v2", "reasoning_depth", "technical_correctness")
SIGN: dict[str, Callable[[float, float], bool]] = {">": lambda a, b: a > b, ">=": lambda a, b: a >= b}
Document = dict[str, Any]


def holds(clause: dict[str, str], document: Document) -> bool:
    """Whether a document fulfils one row of the table, as it is written there."""
    field, op, values = clause["field"], clause["op"], clause["values(codes or prefixes)"]
    if " = 61 AND " in field:
        first, second = field.split(" = 61 AND ")
        return holds({**clause, "field": first, "op": "in", "values(codes or prefixes)": "61"}, document) and holds(
            {**clause, "field": second, "op": "in"}, document
        )
    if op in SIGN:
        value = document["finemath" if "FineMath" in field else "dclm"]
        return value is not None and SIGN[op](value, float(values))
    codes = set(values.split("|"))
    if field.startswith("fdc"):
        sides = [side for side in ("primary", "secondary") if f"fdc.{side}" in field]
        lengths = {int(each[-1]) for each in field.replace("/", " ").split() if each.startswith("prefix")}
        found = [document[side] for side in sides]
        return any(code is not None and code[:length] in codes for code in found for length in lengths)
    value = document[field.removesuffix(".primary")]
    return value is not None and (value in codes) == (op == "in")


def belongs(algorithm: str, document: Document) -> bool:
    """Whether a document belongs to the dataset of an algorithm: its clauses, with their ors."""
    clauses = [row for row in rows("dataset_filters.csv") if row["algorithm"].split()[0] == algorithm]
    branches: dict[str, dict[str, bool]] = {}
    for clause in clauses:
        if clause["clause"] == "1" and clause["field"].startswith("all of "):
            held = belongs(clause["field"].removeprefix("all of "), document)
        else:
            held = holds(clause, document)
        number = clause["clause"].split()[0]
        branch = branches.setdefault(number[0], {})
        branch[number] = branch.get(number, True) and held
    return all(any(branch.values()) for branch in branches.values())


DATASETS = {
    "2": "top_math",
    "3": "math_with_classifier",
    "4": "top_code",
    "5": "code_with_dclm",
    "6": "medical",
    "7": "medical_with_dclm",
    "8": "stem",
    "9": "stem_with_dclm",
}


def documents(count: int) -> list[Document]:
    """Documents whose labels are drawn so that some belong to each dataset, and most nearly do."""
    generator = random.Random(2506)
    codes = ["-1", "004", "005.1", "005.3", "005.4", "005.13", "510", "519.2", "530", "570", "500", "616", "61", "620"]
    codes += ["660", "600", "001", "590", "330", "63", "641.5", None]

    def draw(least: int, most: int, likely: list[int]) -> str | None:
        if generator.random() < 0.02:
            return None
        return str(generator.choice(likely) if generator.random() < 0.7 else generator.randint(least, most))

    return [
        {
            "doc_id": str(number),
            "primary": generator.choice(codes),
            "secondary": generator.choice(codes),
            "document_type_v1": draw(1, 17, [2, 3, 4, 5, 9, 11]),
            "document_type_v2": draw(1, 25, [3, 5, 8, 10, 16, 18, 23]),
            "reasoning_depth": draw(-1, 6, [3, 4]),
            "technical_correctness": draw(-1, 6, [4]),
            "dclm": generator.choice([0.0, 0.01811, 0.01812, 0.9, None]),
            "finemath": generator.choice([3.24, 3.25, 5.0, None]),
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Document], Any, dict[str, str]]:
    """Documents, a connection that has them in the published shape, and the models' queries."""
    lake = Lake.create(tmp_path_factory.mktemp("datasets") / "lake")
    steps = open_project(lake, SQL).graph.steps
    sql = {name: steps[f"model.cuvee.{name}"].sql for name in DATASETS.values()}
    some = documents(6000)
    cursor = lake.cursor()
    cursor.execute("create schema memory.lake_main; set search_path = 'memory.lake_main'")
    cursor.register("made", pa.Table.from_pylist(some))
    plain = ", ".join(f'{name} := struct_pack("primary" := struct_pack(code := {name}))' for name in FIELDS)
    cursor.execute(
        f"""
        create table web as select doc_id, finemath,
            struct_pack(free_decimal_correspondence := struct_pack(
                "primary" := struct_pack(code := "primary"), secondary := struct_pack(code := secondary)), {plain}
            ) as eai_taxonomy,
            struct_pack(fasttext := struct_pack(dclm := dclm)) as quality_signals
        from made
        """
    )
    return some, cursor, sql


@pytest.mark.parametrize("algorithm", DATASETS)
def test_a_dataset_is_the_published_predicate(made: Any, algorithm: str) -> None:
    some, cursor, sql = made
    name = DATASETS[algorithm]

    def local(query: str) -> str:
        for model in ("medical", "stem"):
            query = query.replace(f'"lake"."main"."{model}"', f"({sql[model]})")
        query = query.replace('"lake"."main"."essential_web"', "web")
        return query.replace('"lake"."main"."finemath_scores"', "web")

    found = {row[0] for row in cursor.execute(f"select doc_id from ({local(local(sql[name]))})").fetchall()}
    expected = {document["doc_id"] for document in some if belongs(algorithm, document)}
    assert found == expected
    assert 5 < len(found) < len(some) / 2


def test_quality_signals_are_numbers_that_are_read_once(lake: Lake, tmp_path: Path) -> None:
    """New rows are added; of a text that came twice, one place counts."""
    schema = published()

    def come(name: str, numbers: range, source: str) -> None:
        rows = [filled(pa.struct(list(schema)), "", number) for number in numbers]
        path = tmp_path / name
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        ingest(lake, find_inputs([str(path)]), IngestOptions(source=source))
        project(lake)

    signals = "select quality_signals.fasttext.dclm from main.document_quality_signals order by 1"
    come("first.parquet", range(2), "b")
    come("more.parquet", range(1, 4), "a")
    assert lake.cursor().execute(signals).fetchall() == [(number / 7,) for number in (0, 1, 2, 3)]
    built = lake.cursor().execute(
        "select count(*), any_value(typeof(quality_signals)) from main.occurrence_quality_signals"
    )
    count, kind = built.fetchall()[0]
    assert count == 5 and kind.startswith("STRUCT(red_pajama_v2 STRUCT(ccnet_original_length DOUBLE")
