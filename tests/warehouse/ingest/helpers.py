"""What the tests of ingest check, and files as others publish them."""

from __future__ import annotations

import pyarrow as pa

from warehouse.ingest.formats.essential_web import FIELDS
from warehouse.lake.lake import Lake


def assert_consistent(lake: Lake) -> None:
    """Every file's rows are its occurrences, every occurrence has its document exactly once, nothing is left over."""
    reader = lake.reader()
    faults = {
        "a file is there twice": "select file_id from raw.files group by 1 having count(*) > 1",
        "a document is there twice": "select doc_id from raw.documents group by 1 having count(*) > 1",
        "an occurrence without document": "from raw.occurrences anti join raw.documents using (doc_id)",
        "a document without occurrence": "from raw.documents anti join raw.occurrences using (doc_id)",
        "an occurrence without file": "from raw.occurrences anti join raw.files using (file_id)",
        "a reject without file": "from raw.rejects anti join raw.files using (file_id)",
        "a record is there twice": "from raw.occurrences group by file_id, position having count(*) > 1",
        "a file's rows are not its occurrences": "select file_id from raw.files left join (select file_id, count(*) n"
        " from raw.occurrences group by 1) using (file_id) where coalesce(n, 0) <> rows",
        "a file's rejects are not counted": "select file_id from raw.files left join (select file_id, count(*) n"
        " from raw.rejects group by 1) using (file_id) where coalesce(n, 0) <> rejected",
        "duplicates do not add up": "select 1 where (select coalesce(sum(rows - duplicates), 0) from raw.files)"
        " <> (select count(*) from raw.documents)",
        "an id that is not its text's": "from raw.documents where doc_id <> left(sha256(text), 32)",
        "a length that is not its text's": "from raw.documents where n_chars <> length(text)",
    }
    for fault, query in faults.items():
        query = query if query.startswith("select") else f"select 1 {query}"
        assert not reader.execute(query).fetchall(), fault


def essential_web(codes: list[dict[str, tuple[str, str | None]]]) -> pa.Table:
    def pair(name: str, codes: tuple[str, str | None]) -> dict[str, object]:
        if name == "free_decimal_correspondence":
            return {
                rank: {"code": code, "labels": {f"level_{n}": "x" for n in (1, 2, 3)}}
                for rank, code in zip(("primary", "secondary"), codes, strict=True)
            }
        return {rank: {"code": code, "label": "x"} for rank, code in zip(("primary", "secondary"), codes, strict=True)}

    rows = [
        {
            "id": -5 - number,
            "text": f"document {number}",
            "pid": "p",
            "metadata": {
                "url": f"https://example.org/{number}",
                "source_domain": "example.org",
                "warc_metadata": {"WARC-Date": "2024"},
            },
            "line_start_n_end_idx": {"line_start_idx": [0], "line_end_idx": [10]},
            "quality_signals": {"fasttext": {"dclm": 0.5, "english": float("nan")}},
            "eai_taxonomy": {name: pair(name, row.get(name, ("1", "-1"))) for name in FIELDS},
        }
        for number, row in enumerate(codes)
    ]
    return pa.Table.from_pylist(rows)
