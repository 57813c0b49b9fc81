"""The label macros, rendered by plain Jinja: what dbt renders too."""

from __future__ import annotations

import duckdb
import jinja2
import pytest

from tests.sql import plain_jinja


def chosen(call: str) -> list[str]:
    connection = duckdb.connect()
    connection.execute(
        """
        create table taxonomy as select * from (values
            ('kind', '1', 'Tutorial'), ('kind', '2', 'Q&A Forum'), ('kind', '3', 'Author''s note'),
            ('other', '1', 'Tutor')
        ) t(category, code, label);
        create table labelled as select * from (values
            ('primary', {kind: {'primary': '1', 'secondary': null}}),
            ('secondary', {kind: {'primary': '2', 'secondary': '1'}}),
            ('neither', {kind: {'primary': '2', 'secondary': '3'}}),
            ('unlabelled', null)
        ) t(doc_id, label)
        """
    )
    condition = plain_jinja.render(["labels.sql"], call, jinja2.Environment(), ref=str)
    return [
        row[0] for row in connection.execute(f"select doc_id from labelled where {condition} order by 1").fetchall()
    ]


def test_a_label_is_found_as_primary_and_as_secondary() -> None:
    assert chosen("{{ label_is('kind', 'tutorial') }}") == ["primary", "secondary"]
    assert chosen("""{{ label_is('kind', "Author's note") }}""") == ["neither"]


def test_a_misspelt_label_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(duckdb.Error, match=r"kind has no label Tutorail; did you mean Tutorial\?"):
        chosen("{{ label_is('kind', 'Tutorail') }}")
    with pytest.raises(duckdb.Error, match="knd has no label Tutorial"):
        chosen("{{ label_is('knd', 'Tutorial', 'struct_pack(knd := label.kind)') }}")
