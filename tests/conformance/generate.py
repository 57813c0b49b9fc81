"""A dbt project of any size: one seed, layers of models that join the layer above, three tests for each model."""

from __future__ import annotations

from pathlib import Path


def generate(root: Path, models: int, rows: int = 1000) -> Path:
    """Write a project with ``models`` models and three times as many tests."""
    (root / "seeds").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "dbt_project.yml").write_text(
        "name: generated\nversion: '1.0'\nconfig-version: 2\nprofile: generated\n"
        "seed-paths: [seeds]\nmodel-paths: [models]\nmodels:\n  generated:\n    +materialized: table\n"
    )
    (root / "seeds" / "numbers.csv").write_text(
        "id,word,amount\n" + "".join(f"{i},w{i * 7919 % 97},{i * 31 % 1000 / 8}\n" for i in range(rows))
    )
    described = ["version: 2", "models:"]
    for number in range(models):
        name = f"model_{number:03}"
        if number < 10:
            query = f"select id, word, amount + {number} as amount from {{{{ ref('numbers') }}}}"
        else:
            left, right = f"model_{number - 10:03}", f"model_{number - 1 - number % 7:03}"
            query = (
                "with joined as (\n"
                "    select l.id, l.word, l.amount + r.amount as amount\n"
                f"    from {{{{ ref('{left}') }}}} as l join {{{{ ref('{right}') }}}} as r on r.id = l.id\n"
                ")\n"
                f"select id, word, round(amount / 2, 6) as amount from joined where id % {number} <> 1"
            )
        (root / "models" / f"{name}.sql").write_text(query + "\n")
        described += [
            f"  - name: {name}",
            "    columns:",
            "      - name: id",
            "        data_tests: [unique, not_null]",
            "      - name: word",
            "        data_tests: [not_null]",
        ]
    (root / "models" / "schema.yml").write_text("\n".join(described) + "\n")
    return root
