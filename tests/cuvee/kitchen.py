"""A project of two models over documents about cooking."""

from __future__ import annotations

PROJECT = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\n",
    "models/components.sql": "select doc_id, min(source) as component from raw.occurrences group by doc_id\n",
    "models/my_mixture.sql": (
        "select doc_id, component, 1::bigint as copies, n_chars // 4 as n_tokens\n"
        "from {{ ref('components') }} join raw.documents using (doc_id) where component = 'kitchen'\n"
    ),
}
TEXTS = ["Bread is baked in an oven.", "Butter melts in a warm kitchen.", "Cheese is made of milk and time."]
