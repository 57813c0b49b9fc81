"""cuvee ingest --labels: labels from outside."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import SQL, doc_id, write_jsonl
from tests.warehouse.ingest.helpers import assert_consistent, essential_web
from udfs.errors import UsageError
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import Taxonomy
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.labels.external_labeler import LabelsReport, external_labeler
from warehouse.ingest.labels.label_files import StrictLabelsError, ingest_labels
from warehouse.ingest.labels.label_tables import LabelFileError
from warehouse.ingest.labels.labelers import labelers
from warehouse.ingest.records import IngestOptions
from warehouse.lake.lake import Lake

SEEDS = SQL / "seeds"
EAI = Taxonomies((SQL,)).get("eai")

Give = Callable[..., LabelsReport]
Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def give(lake: Lake, tmp_path: Path) -> Give:
    """Ingest a file of labels, by its name and content."""

    def run(
        name: str, content: str | bytes | pa.Table, labeler: str = "people", taxonomy: Taxonomy = EAI, **options: Any
    ) -> LabelsReport:
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        (report,) = ingest_labels(
            lake, find_inputs([str(path)]), external_labeler(labeler, taxonomy, []), IngestOptions(**options)
        )
        return report

    return run


@pytest.fixture
def documents(read: Callable[..., object], tmp_path: Path) -> None:
    """Six documents; 0 and 4 share a url."""
    records = [{"id": f"i{n}", "url": f"https://e.org/{n % 4}", "text": f"document {n}"} for n in range(6)]
    read(write_jsonl(tmp_path / "documents.jsonl", records))


KINDS = (
    "select document_type_v1.primary, document_type_v1.secondary, status, labeler from labels.eai"
    " order by doc_id, labelled_at"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "doc_id,document_type_v1,document_type_v1_secondary\n{id},Code/Software,3\n"),
        ("l.tsv", "text\tdocument_type_v1_primary\tdocument_type_v1_secondary\ndocument 2\t4\t3\n"),
        ("l.csv", "url;document_type_v1.primary;document_type_v1.secondary\nhttps://e.org/2;4.0;3.0\n"),
        ("l.jsonl", '{"id": "i2", "document_type_v1": {"primary": 4, "secondary": "3"}}\n'),
        ("l.jsonl", '{"id": "i2", "label": {"document_type_v1": {"primary": "4", "secondary": 3}}}\n'),
        ("l.jsonl", '{"doc_id": "{id}", "category": "Document Type V1", "primary": 4, "secondary": 3}\n'),
        (
            "l.csv",
            "id,category,rank,code\ni2,document_type_v1,secondary,3\ni2,document_type_v1,primary,code/software\n",
        ),
    ],
)
def test_every_form_says_the_same(give: Give, ask: Ask, documents: None, name: str, content: str) -> None:
    report = give(name, content.replace("{id}", doc_id("document 2")))
    assert (report.answers, report.rejected, dict(report.reasons)) == (1, 0, {})
    assert ask(KINDS) == [("4", "3", "partial", "people")]
    assert ask("select doc_id from labels.eai") == [(doc_id("document 2"),)]
    assert ask("select category, rank, code from labels.eai_long order by 2") == [
        ("document_type_v1", "primary", "4"),
        ("document_type_v1", "secondary", "3"),
    ]


def test_a_table_of_essential_web_is_read_by_its_texts(give: Give, ask: Ask, documents: None) -> None:
    table = essential_web(
        [
            {"free_decimal_correspondence": ("005.1", "641.563.2")},
            {"free_decimal_correspondence": ("513.2", "-1"), "document_type_v1": ("-1", "-1")},
        ]
    )
    report = give("train.parquet", table, "published")
    assert dict(report.statuses) == {"partial": 1, "ok": 1}
    assert report.reasons == {"free_decimal_correspondence: '641.563.2' is no FDC code": 1}
    rows = ask(
        "select doc_id, free_decimal_correspondence, document_type_v1.primary, raw from labels.eai order by status desc"
    )
    assert [row[0] for row in rows] == [doc_id("document 0"), doc_id("document 1")]
    assert rows[0][1] == {"primary": None, "secondary": None}
    written = json.loads(rows[0][3])["free_decimal_correspondence"]
    assert written == {"primary": "005.1", "secondary": "641.563.2", "reason": "'641.563.2' is no FDC code"}
    assert rows[1][1:] == ({"primary": "513.2", "secondary": None}, "-1", None)


def test_what_has_no_document_or_no_meaning_is_kept(give: Give, ask: Ask, lake: Lake, documents: None) -> None:
    content = (
        "url,id,document_type_v1\n"
        "https://e.org/2,,Cod/Software\n"
        "https://e.org/0,,4\n"
        "https://e.org/9,,4\n"
        ",i9,4\n"
        ",,4\n"
        "https://e.org/0,i5,99\n"
        "too,many,columns,here\n"
        "\xff,,4\n"
    ).encode("latin-1")
    report = give("l.csv", content)
    assert report.answers == 2
    assert report.statuses == {"unparsed": 2}
    assert (
        report.hints["document_type_v1: 'Cod/Software' is no code of document_type_v1"] == "did you mean Code/Software?"
    )
    assert ask("select position, reason from raw.rejects order by position") == [
        (2, "several documents have its url"),
        (3, "no document has its url"),
        (4, "no document has its id"),
        (5, "it names no document"),
        (7, "is no row: too many columns"),
        (8, "is not UTF-8"),
    ]
    assert [bytes(raw) for (raw,) in ask("select raw from raw.rejects where position > 6 order by position")] == [
        b"too,many,columns,here",
        b"\xff,,4",
    ]
    assert (
        json.loads(ask("select decode(raw) from raw.rejects where position = 3")[0][0])["document_type_v1_primary"]
        == "4"
    )
    assert_consistent(lake)


def test_broken_lines_of_json_keep_their_numbers(give: Give, ask: Ask, documents: None) -> None:
    good = b'{"id": "i1", "category": "document_type_v1", "code": "2"}\n'
    content = b'\xff\n\n{"a": "\\ud800"}\n' + good + b'[1]\n\xfe\xff\n{"id": "i1", "category": "kind", "code": 1}\n'
    report = give("l.jsonl.gz", gzip.compress(content))
    assert report.answers == 1
    assert ask("select position, reason, raw from raw.rejects order by position")[:4] == [
        (1, "is not UTF-8", b"\xff"),
        (3, "is no JSON object", b'{"a": "\\ud800"}'),
        (5, "is no JSON object", b"[1]"),
        (6, "is not UTF-8", b"\xfe\xff"),
    ]
    assert ask("select position, reason from raw.rejects where position > 6") == [(7, "no category kind")]


def test_again_changes_nothing_and_another_content_has_the_last_word(give: Give, ask: Ask, lake: Lake) -> None:
    first = f"doc_id,document_type_v1\n{doc_id('a')},3\n{doc_id('b')},3\n{doc_id('b')},4\n"
    assert give("l.csv", first).overruled == 1
    before = lake.snapshot()
    assert give("l.csv", first).unchanged
    assert lake.snapshot() == before
    give("l.csv", f"doc_id,document_type_v1\n{doc_id('b')},5\n")
    assert ask("select count(distinct fingerprint) from labels.eai") == [(2,)]
    last = "qualify row_number() over (partition by doc_id order by labelled_at desc) = 1"
    assert sorted(ask(f"select document_type_v1.primary from labels.eai {last}")) == [("3",), ("5",)]
    assert give("copy.csv", first).answers == 0, "the same content elsewhere has nothing new to say"
    assert ask("select count(*) from labels.eai") == [(3,)]


def test_rows_wait_for_their_documents(give: Give, ask: Ask, read: Callable[..., object], tmp_path: Path) -> None:
    content = f"doc_id,url,document_type_v1\n{doc_id('document 1')},,2\n,https://e.org/1,3\n"
    first = give("l.csv", content)
    assert (first.answers, first.rejected, first.unknown) == (1, 1, 1)
    read(write_jsonl(tmp_path / "d.jsonl", [{"url": "https://e.org/1", "text": "another"}]))
    second = give("l.csv", content)
    assert (second.answers, second.rejected) == (1, 0)
    assert ask("select count(*) from raw.rejects") == [(0,)]
    assert ask("select count(*) from raw.files where format = 'labels'") == [(1,)]
    assert give("l.csv", content).unchanged


def test_an_id_is_looked_up_in_one_source(give: Give, ask: Ask, read: Callable[..., object], tmp_path: Path) -> None:
    for source in ("one", "two"):
        read(write_jsonl(tmp_path / f"{source}.jsonl", [{"id": "i", "text": source}]))
    assert give("l.csv", "id,document_type_v1\ni,2\n").rejected == 1
    assert give("l.csv", "id,document_type_v1\ni,2\n", source="two").answers == 1
    assert ask("select doc_id from labels.eai") == [(doc_id("two"),)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", "doc_id,document_typ_v1\n", "did you mean document_type_v1"),
        ("l.csv", "name,document_type_v1\nx,1\n", "no column names the documents"),
        ("l.csv", "doc_id,doc_id\n", "the first line does not name the columns"),
        ("l.json", '[{"doc_id": 1}]', "it is one JSON value"),
        ("l.csv", "", "it is empty"),
        ("l.parquet", "PAR1 and no more", "cannot be read as parquet"),
        ("l.txt", "prose", "is not a table of labels: it is text"),
    ],
)
def test_a_file_that_is_no_table_of_labels(give: Give, ask: Ask, name: str, content: str, message: str) -> None:
    with pytest.raises(LabelFileError, match=message) as caught:
        give(name, content)
    assert name in str(caught.value)
    assert ask("select count(*) from raw.files") == [(0,)]


def test_strict_keeps_nothing_of_a_file_with_a_bad_label(give: Give, ask: Ask) -> None:
    with pytest.raises(StrictLabelsError, match="'99' is no code of document_type_v1"):
        give("l.csv", f"doc_id,document_type_v1\n{doc_id('a')},99\n{doc_id('b')},1\n", strict=True)
    assert ask("select count(*) from raw.files") == [(0,)]


def test_a_labeler_from_outside_has_a_name_of_its_own() -> None:
    with pytest.raises(UsageError, match="fake is a labeler of this project"):
        external_labeler("fake", EAI, ["fake"])
    with pytest.raises(UsageError, match="'GPT 4o' is not a valid labeler name"):
        external_labeler("GPT 4o", EAI, [])


_label = st.none() | st.sampled_from(["1", "3", "-1", "Code/Software", "99", "skip", "3.0", "ü", "a,b", 'q"', "x\ny"])


@given(st.lists(st.tuples(st.integers(0, 5), _label, _label), min_size=1, max_size=20))
@settings(
    max_examples=12 if os.environ.get("CUVEE_PROVE") else 5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_wide_and_long_tables_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("both")
    lake = Lake.create(folder / "lake")
    last = {number: (first, second) for number, first, second in rows}
    wide = [
        {"doc_id": doc_id(str(number)), "document_type_v1": {"primary": first, "secondary": second}}
        for number, first, second in rows
    ]
    long = [
        {"doc_id": each["doc_id"], "category": "document_type_v1", **each["document_type_v1"]}  # type: ignore[dict-item]
        for each in wide
    ]
    table = pa.Table.from_pylist(wide, schema=pa.schema([
        ("doc_id", pa.string()),
        ("document_type_v1", pa.struct([("primary", pa.string()), ("secondary", pa.string())])),
    ]))  # fmt: skip
    pq.write_table(table, folder / "wide.parquet")
    write_jsonl(folder / "wide.jsonl", wide)
    write_jsonl(folder / "long.jsonl", long)
    answers = []
    for name in ("wide.parquet", "wide.jsonl", "long.jsonl"):
        who = external_labeler(name.replace(".", "_"), EAI, [])
        try:
            (report,) = ingest_labels(lake, find_inputs([str(folder / name)]), who, IngestOptions())
        except LabelFileError:
            assert all(label is None for pair in last.values() for label in pair), "JSON nulls alone have no struct"
            continue
        assert report.answers == len(last)
        assert report.overruled == len(rows) - len(last)
        query = f"select doc_id, status, document_type_v1, raw from labels.eai where labeler = '{who.name}' order by 1"
        answers.append(lake.reader().execute(query).fetchall())
    assert all(each == answers[0] for each in answers)


def test_real_documents_get_the_domains_that_are_known(
    lake: Lake, read: Callable[..., object], ask: Ask, shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "domains" / "domain_docs.jsonl.gz"
    read(path)
    file = tmp_path / "taxonomies" / "subjects.yml"
    file.parent.mkdir()
    names = [name for (name,) in ask("select distinct metadata->>'domain' from raw.occurrences order by 1")]
    labels = ", ".join(f"{{code: {number}, label: {name}}}" for number, name in enumerate(names))
    file.write_text(f"categories: [{{name: domain, labels: [{labels}]}}]")
    taxonomy = Taxonomies((tmp_path,)).get("subjects")
    (report,) = ingest_labels(lake, find_inputs([str(path)]), external_labeler("source", taxonomy, []), IngestOptions())
    assert report.statuses == {"ok": report.answers}
    assert report.rejected == report.unknown == 0
    wrong = (
        "select count(*) from labels.subjects join raw.occurrences using (doc_id)"
        f" where (metadata->>'domain') <> {names!r}[domain.primary::int + 1]"
    )
    assert ask(wrong) == [(0,)]
    assert ask("from raw.documents anti join labels.subjects using (doc_id)") == []


def test_labelers_are_counted_by_their_answers(give: Give, lake: Lake) -> None:
    from udfs.labels.labelers.labeler_registry import LabelerRegistry

    give("l.csv", f"doc_id,document_type_v1\n{doc_id('a')},3\n{doc_id('b')},99\n")
    known = {each.name: each for each in labelers(lake, LabelerRegistry((SQL,)))}
    people = known["people"]
    assert (people.statuses, people.external, people.backend, people.speed) == ((0, 1, 1, 0), True, None, None)
    assert (known["zero_shot"].statuses, known["zero_shot"].backend) == ((0, 0, 0, 0), "encoder")
