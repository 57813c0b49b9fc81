"""Domain upsampling at toy size on real documents, as `make prove` shows it: windows, leave-one-out, three seeds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import CUVEE, macros_only

pytest.importorskip("composer")
pytest.importorskip("streaming")

DOMAINS = ("law", "mathematics", "medicine")
SOURCES = ("web/extracted_docs", "domains/literature_chapters", "domains/domain_docs")

MODELS = {
    "documents": """
select d.doc_id, any_value(coalesce(
    case when (o.metadata ->> '$.domain') in ('law', 'mathematics', 'medicine') then o.metadata ->> '$.domain' end,
    'general')) as component,
    {{ cuvee.held_out('d.doc_id', share=0.1, seed=17) }} as held_out
from {{ source('raw', 'documents') }} as d
join {{ source('raw', 'occurrences') }} as o on o.doc_id = d.doc_id
where o.source <> 'domain_docs' or (o.metadata ->> '$.domain') in ('law', 'mathematics', 'medicine')
group by d.doc_id
""",
    "training_documents": "select doc_id from {{ ref('documents') }} where not held_out",
    "counted": """
select p.doc_id, p.component, p.held_out, n_tokens(d.text, 'domains') as n_tokens
from {{ ref('documents') }} as p join {{ source('raw', 'documents') }} as d on d.doc_id = p.doc_id
""",
    "pool": "select doc_id, component, n_tokens from {{ ref('counted') }} where not held_out",
    "held_out": "select doc_id, component, 1 as copies, n_tokens from {{ ref('counted') }} where held_out",
    "baseline": """{{ cuvee.mixture(pool=ref('pool'), seed=17, tokens=600000,
    shares={'general': 0.85, 'law': 0.05, 'mathematics': 0.05, 'medicine': 0.05}) }}""",
    "upsampled": """{{ cuvee.mixture(pool=ref('pool'), seed=17, tokens=180000,
    shares={'general': 0.2, 'law': 0.4, 'mathematics': 0.2, 'medicine': 0.2}) }}""",
}

RECIPE = """\
name: domains
model: {layers: 2, hidden: 64, intermediate: 96, heads: 1}
budget: 600k
windows: [5%, 10%, 20%, 30%]
trunk: {mixture: baseline, warmup: 2%, learning_rate: 3e-3}
anneal: {schedule: linear}
arms: {control: baseline, upsampled: upsampled}
control: control
leave_out: {upsampled: {components: [law, mathematics, medicine], windows: [20%]}}
seeds: [1, 2, 3]
evaluation: {mixture: held_out, samples: 128}
sequence_length: 256
batch_tokens: 2048
microbatch: 8
optimizer: {name: decoupled_adamw, weight_decay: 1e-5}
"""


def cuvee(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*CUVEE, *arguments], cwd=folder, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_domain_upsampling_on_real_documents(shared_data: Path, tmp_path: Path) -> None:
    """Domains gain from being upsampled by more than the spread; left out, each of them loses by more."""
    folder = Path(os.environ.get("CUVEE_EXPERIMENT", tmp_path))  # named: what was trained before stays, and is shown
    if not (folder / "lake").exists():
        for name, query in MODELS.items():
            (folder / "sql" / "models").mkdir(parents=True, exist_ok=True)
            (folder / "sql" / "models" / f"{name}.sql").write_text(query)
        (folder / "sql" / "dbt_project.yml").write_text(macros_only("domains"))
        (folder / "sql" / "models" / "sources.yml").write_text(
            "sources: [{name: raw, schema: raw, tables: [{name: documents}, {name: occurrences}]}]\n"
        )
        (folder / "domains.yaml").write_text(RECIPE)
        cuvee(folder, "init")
        for source in SOURCES:
            cuvee(folder, "ingest", str(shared_data / f"{source}.jsonl.gz"), "--source", Path(source).name)
        cuvee(folder, "build", "--select", "training_documents", "documents")
        cuvee(folder, "tokenizer", "train", "domains", "--from", "training_documents", "--vocab-size", "2048")
        cuvee(folder, "build")
        for name in ("baseline", "upsampled", "held_out"):
            arguments = ("--tokenizer", "domains", "--sequence-length", "256")
            cuvee(folder, "export", name, "--out", f"exports/{name}", *arguments)
    print(cuvee(folder, "anneal", "domains.yaml", "--plan"))
    rows = json.loads(cuvee(folder, "anneal", "domains.yaml", "--json"))
    print(cuvee(folder, "anneal", "domains.yaml"))

    def beyond(row: dict[str, float], difference: str, spread: str) -> bool:
        return abs(row[difference]) > row[spread]

    for row in rows:
        if row["component"] in DOMAINS:
            assert row["upsampled - control"] < 0, row
            assert beyond(row, "upsampled - control", "spread upsampled"), row
    at_20 = {row["component"]: row for row in rows if row["window"] == 0.2}
    for domain in DOMAINS:
        arm = f"upsampled-without-{domain}"
        assert at_20[domain][f"{arm} - upsampled"] > 0
        assert beyond(at_20[domain], f"{arm} - upsampled", f"spread {arm} - upsampled"), at_20[domain]
