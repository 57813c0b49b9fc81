"""A user's project that calls everything in Cuvée's package, parsed by two versions of dbt and by Cuvée."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conformance.peer import find_dbt, run_dbt, write
from tests.helpers import SQL, install_package
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake

POOL = "ref('pool')"
SHARES = "{'code': 0.6, 'prose': 0.4}"
KEPT = f"{SHARES}, 2000, 1, 'fail'"
LABELS = "ref('current_labels')"

#: The arguments with which each macro is called.
MACROS = {
    "annotator_kappa": "ref('label_pairs')",
    "by_facet": "'cells'",
    "built_by": "",
    "bytes_per_token": "",
    "category_cells": LABELS,
    "chance_corrected": "'a', 'b'",
    "code_of": "'fdc_level_1', 'primary'",
    "connected_components": "ref('duplicate_pairs'), 'a', 'b'",
    "dropped_duplicates": "ref('duplicate_pairs')",
    "domain_recall": "'labelled', 'golden', [{'domain': 'web', 'name': 'all', 'keeps': 'true'}]",
    "eai_categories": "",
    "eai_code": "'document_type_v2', 'primary'",
    "eai_label": "'document_type_v2', 'primary'",
    "eai_label_names": "",
    "facet_labels": "",
    "facets": "",
    "fdc_class": "'code', 2",
    "fdc_label": "'code'",
    "found_at": "'occurrences', 'bases'",
    "given_labels": "['people']",
    "gold_kappa": f"{LABELS}, 'people'",
    "held_out": "'doc_id', 0.1, 17",
    "held_out_by_component": f"{SHARES}, 17",
    "is_benchmark": "'source'",
    "kappa_of_sets": "'sets', [], false, 'shared', 0, 0, 0, 17",
    "kept_for_evaluation": "'doc_id'",
    "label_cells": LABELS,
    "label_distribution": LABELS,
    "label_drift": "'before', 'after'",
    "label_is": "'document_type_v2', 'Tutorial'",
    "label_limit_rows": "0.9, 'found'",
    "label_limits": "'parse_rate', 'at_least', 0.9, 'eai', 0, false",
    "label_of_fdc": "'513'",
    "label_pairs": LABELS,
    "label_samples": f"{LABELS}, 5, 17",
    "label_set": "'a', 'b'",
    "labeler_kappas": "ref('documents'), 'a', 'b'",
    "labels_by": "'people'",
    "labels_long": "'eai'",
    "literals": "['a', 'b']",
    "minhash_bands": "'signature', 14, 9",
    "mixture": f"{POOL}, {SHARES}, tokens=2000",
    "mixture_arguments": f"{SHARES}, 2000, 'fail', none, none, none, none, none, 'proportionally'",
    "mixture_condition": "'true'",
    "mixture_documents": f"{POOL}, {SHARES}, true, none, none, none",
    "mixture_got_shares": POOL,
    "mixture_names": f"{SHARES}, true",
    "mixture_overlapping": f"{SHARES}, 1, 'fail', 17, none, 'proportionally'",
    "mixture_placed": f"{POOL}, {SHARES}, true",
    "mixture_report": f"ref('cuvee_mixture'), {POOL}, {SHARES}, tokens=2000",
    "mixture_targets": f"{POOL}, {KEPT}",
    "mixture_text": "'code'",
    "mixture_weight": "0.6",
    "nmi": "ref('label_cooccurrence'), by=['labeler']",
    "nmi_cells": "'cells', [], 'documents'",
    "normalized_words": "'text'",
    "plain_categories": "",
    "pointwise_nmi": "ref('label_cooccurrence')",
    "published_budget": "",
    "published_mixture": "'mix_domain_upsampling', 'blakeney_baseline_1T'",
    "published_probe": "0.3",
    "published_shares": "'mix_domain_upsampling', 'blakeney_baseline_1T'",
    "quality_filter": "ref('document_signals'), ref('document_scores')",
    "set_match": "false",
    "shared_kappa": "'ratings'",
    "signature_similarity": "'a', 'b'",
    "single_label_agreement": "'ratings'",
    "taxonomy_labels": "",
    "url_host": "'url'",
    "url_path": "'url'",
    "with_split": f"{POOL}, 0.1",
}

#: The arguments with which each test is called.
TESTS = {
    "abstention_rate": {"labeler": "people", "at_most": 0.1},
    "disjoint_from": {"to": "ref('pool')"},
    "label_agreement": {"labeler": "people", "gold": "gold", "at_least": 0.5},
    "licence_allowed": {"allowed": ["MIT"]},
    "max_document_share": {},
    "max_epochs": {"at_most": 4},
    "max_shift": {"reference": "ref('pool')", "at_most": 0.5},
    "mixture_shares": {"shares": {"code": 0.6, "prose": 0.4}},
    "no_contamination": {},
    "parse_rate": {"labeler": "people", "at_least": 0.9},
}

#: Those that are of a model, not of a column of ids.
OF_MODELS = ("max_document_share", "max_epochs", "max_shift", "mixture_shares")

#: Cuvée looks up the names of labels when it renders; dbt's SQL reads the seeds.
NAMES_LOOKED_UP = {"fdc_label", "label_is", "label_of_fdc", "taxonomy_labels"}

SETTINGS = "name: user\nprofile: user\nflags: {require_ref_searches_node_package_before_root: true}\n"
VARIABLES = "vars: {published_mixtures: true, published_components: {code: \"component = 'code'\"}}\n"


@pytest.fixture(params=[("CUVEE_DBT", ".venv-dbt"), ("CUVEE_PEERS", ".venv-peers")], ids=["1.11", "1.12"])
def either_dbt(request: pytest.FixtureRequest) -> Path:
    return find_dbt(*request.param)


def project(folder: Path) -> Path:
    """A project with a model for each macro, and a model that every test of the package tests."""
    tests = {name: {f"cuvee.{name}": {"arguments": arguments}} for name, arguments in TESTS.items()}
    of_pool = {
        "name": "pool",
        "data_tests": [tests[name] for name in OF_MODELS],
        "columns": [{"name": "doc_id", "data_tests": [tests[name] for name in tests if name not in OF_MODELS]}],
    }
    models = {
        f"models/cuvee_{name}.sql": f"select $called${{{{ cuvee.{name}({given}) }}}}$called$ as text"
        for name, given in MACROS.items()
    }
    root = write(
        folder / "user",
        {
            "dbt_project.yml": SETTINGS + VARIABLES,
            "models/pool.sql": "select 'a' as doc_id, 'code' as component, 1 as copies, 100 as n_tokens",
            "models/schema.yml": yaml.safe_dump({"models": [of_pool]}),
            **models,
        },
    )
    install_package(root)
    return root


def test_everything_in_the_package_is_called_here() -> None:
    text = "".join(path.read_text() for path in (SQL / "macros").rglob("*.sql"))
    assert set(re.findall(r"{%-? macro (\w+)\(", text)) == MACROS.keys()
    assert set(re.findall(r"{%-? test (\w+)\(", text)) == TESTS.keys()


def test_both_parse_a_project_that_calls_all_of_it(either_dbt: Path, lake: Lake, tmp_path: Path) -> None:
    root = project(tmp_path)
    run_dbt(either_dbt, root, "--warn-error", "parse")
    theirs = json.loads((root / "target" / "manifest.json").read_text())["nodes"]
    ours = open_project(lake, root).graph.steps
    assert {key for key in theirs if key.startswith("model.")} == {key for key in ours if key.startswith("model.")}
    for key in (f"model.user.cuvee_{name}" for name in MACROS.keys() - NAMES_LOOKED_UP):
        wanted = {each for each in theirs[key]["depends_on"]["nodes"] if not each.startswith("source.")}
        assert {each for each in ours[key].parents if not each.startswith("source.")} == wanted, key
