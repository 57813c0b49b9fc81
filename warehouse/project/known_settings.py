"""Find what is misspelt in a project's own files: vars, config keys and keys of schema.yml that nothing reads.

A key is known if dbt, one of its adapters or this project reads it, or a template of the project or of its packages
does: ``config.get('x')``, ``var('x')``. One that is not known but near to a known one is a mistake. Any other is
counted in a warning: it may be there for people or for other tools. What is below ``meta:`` is free. The files of
packages are not judged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from udfs import yamlfile
from udfs.errors import CuveeError, Location
from warehouse.project.properties import MAPPINGS, SETTINGS, TEST_SETTINGS, listed, setting

#: Config keys of dbt 1.11 and 1.12 in addition to SETTINGS, then those of its adapters.
_CONFIG = """
    packages freshness node_color inserts_only store_failures_as static_analysis on_configuration_change name
    description export_as cache required_tests latest_version_pointer file_format identifier

    partition_by cluster_by kms_key_name labels hours_to_expiration require_partition_filter copy_partitions partitions
    partition_expiration_days enable_refresh refresh_interval_minutes max_staleness allow_non_incremental_definition
    enable_change_history policy_tags resource_tags intermediate_format dataproc_cluster_name submission_method
    notebook_template_id job_execution_timeout_seconds enable_list_inference timeout grant_access_to project dataset
    execution_project compute_region catalog_name table_format external_volume base_location_root base_location_subpath
    storage_uri adapter_properties options jar_file_uri gcs_bucket dataproc_region dataproc_batch batch_id

    transient automatic_clustering query_tag copy_grants secure target_lag snowflake_warehouse refresh_mode initialize
    tmp_relation_type row_access_policy table_tag scheduler immutable_where storage_serialization_policy
    max_data_extension_time_in_days data_retention_time_in_days change_tracking iceberg_version auto_refresh
    catalog_linked_database target_file_size imports use_anonymous_sproc python_version secrets
    external_access_integrations warehouse catalog base_location

    dist sort sort_type bind backup diststyle distkey sortkey encode

    location_root clustered_by buckets liquid_clustered_by auto_liquid_cluster tblproperties databricks_tags
    databricks_compute compression include_full_name_in_path http_path cluster_id job_cluster_config create_notebook
    user_folder_for_python use_user_folder_for_python unique_tmp_table_suffix use_uniform merge_with_schema_evolution
    matched_condition not_matched_condition not_matched_by_source_action not_matched_by_source_condition source_alias
    target_alias skip_matched_step skip_not_matched_step incremental_apply_config_changes schedule notebook_permissions
    python_job_config additional_libs index_url environment_key environment_dependencies workflow_job_config predicates
    row_filter column_mask column_tags query_tags use_safer_relation_operations view_update_via_alter

    indexes unlogged

    location format glue_register glue_database external_location formatter plugin overwrite partition_columns
    per_thread_output file_size_bytes sorted_by partitioned_by merge_clauses merge_on_using_columns
    merge_update_condition merge_insert_condition merge_update_set_expressions merge_returning_columns

    engine order_by primary_key ttl settings query_settings projections s3_data_dir s3_data_naming s3_tmp_table_dir ha
    table_type bucketed_by bucket_count table_properties native_drop lf_tags_config lf_grants seed_by_insert
    force_batch field_delimiter write_compression properties view_security on_table_exists as_columnstore
"""
_KNOWN_CONFIG = frozenset(_CONFIG.split()) | SETTINGS | TEST_SETTINGS

#: Keys of dbt_project.yml.
_PROJECT = """
    name version config-version profile require-dbt-version model-paths seed-paths test-paths analysis-paths macro-paths
    snapshot-paths docs-paths asset-paths function-paths source-paths data-paths target-path log-path modules-path
    packages-install-path clean-targets query-comment dispatch quoting flags vars on-run-start on-run-end packages
    dbt-cloud restrict-access config models seeds snapshots sources tests data_tests unit_tests analyses exposures
    metrics semantic-models saved-queries functions macros static_analysis
"""
_SECTIONS = ("models", "seeds", "snapshots", "sources", "tests", "data_tests", "unit_tests", "exposures", "analyses")

#: Settings of dbt_project.yml whose value is a mapping: no folders.
_MAPPED = MAPPINGS | {"quoting", "freshness", "labels", "partition_by", "options", "tblproperties", "properties"}


def _shape(words: str, **inner: str) -> dict[str, str | None]:
    """Return the keys of an entry of schema.yml: those whose values are free, and those of entries with a shape."""
    return {**dict.fromkeys(words.split()), **inner}


_NODE: dict[str, str] = {"config": "config", "columns": "column", "docs": "docs"}
_TESTED = {"tests": "test", "data_tests": "test"}

#: The keys that a properties file may have, by the kind of entry. Exposures and unit tests are judged where they are
#: read.
_SHAPES: dict[str, dict[str, str | None]] = {
    "file": _shape(
        "version exposures unit_tests anchors metrics semantic_models saved_queries functions catalogs",
        models="model", seeds="seed", snapshots="snapshot", sources="source", macros="macro", analyses="analysis",
        groups="group", tests="singular test", data_tests="singular test",
    ),
    "model": _shape(
        "name description latest_version deprecation_date access group meta tags time_spine primary_key semantic_model"
        " agg_time_dimension primary_entity metrics derived_semantics",
        constraints="constraint", versions="version", contract="contract", **_NODE, **_TESTED,
    ),
    "version": _shape(
        "v defined_in name description access group meta tags deprecation_date latest_version",
        constraints="constraint", contract="contract", **_NODE, **_TESTED,
    ),
    "column": _shape(
        "name description data_type quote meta tags policy_tags database_tags databricks_tags column_mask granularity"
        " dimension entity encode include exclude",
        constraints="constraint", config="config", docs="docs", **_TESTED,
    ),
    "seed": _shape("name description meta tags group access contract", constraints="constraint", **_NODE, **_TESTED),
    "snapshot": _shape("name description relation meta tags group access", **_NODE, **_TESTED),
    "source": _shape(
        "name description database schema loader loaded_at_field loaded_at_query meta tags overrides quoting catalog",
        config="config", freshness="freshness", tables="table", **_TESTED,
    ),
    "table": _shape(
        "name description identifier loader loaded_at_field loaded_at_query meta tags quoting external catalog",
        freshness="freshness", **_NODE, **_TESTED,
    ),
    "macro": _shape("name description meta", config="config", docs="docs", arguments="argument"),
    "argument": _shape("name type description"),
    "analysis": _shape("name description meta tags", **_NODE),
    "group": _shape("name owner description meta", config="config"),
    "singular test": _shape("name description meta tags arguments", config="config", docs="docs"),
    "constraint": _shape("type expression name warn_unenforced warn_unsupported to to_columns columns"),
    "contract": _shape("enforced alias_types"),
    "docs": _shape("show node_color"),
    "freshness": _shape("filter build_after", warn_after="limit", error_after="limit"),
    "limit": _shape("count period"),
}  # fmt: skip

#: A name with at least this many characters may differ from a known one by two, a shorter one by one.
_LONG = 8

#: So many unknown names are listed in a warning.
_LISTED = 12

_SUFFIXES = (".sql", ".yml", ".yaml")
_OPENING = re.compile(r"\{[{%#]")
_PART = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[{}]|%\}", re.DOTALL)
_VAR = re.compile(r"\bvar(?:\.has_var)?\(\s*(?:(['\"])([^'\"]*)\1\s*[,)])?")
_READ = (
    re.compile(r"config\.(?:get|require|meta_get|meta_require)\(\s*['\"]([\w-]+)"),
    re.compile(r"config['\"]?\]?\s*(?:\[|\.get\()\s*['\"]([\w-]+)"),
    re.compile(r"\bconfig\.(\w+)"),
)
#: config.get(name): which keys are read is not known.
_COMPUTED = re.compile(r"config\.(?:get|require)\(\s*[^'\"\s]|config\[\s*[^'\"\s]")
_CALL = re.compile(r"(?<![.\w])config\(")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_DIGITS = re.compile(r"\d+")
_ARGUMENT = re.compile(r"(\w+)\s*=(?!=)")


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A file of the project, by its path in the project."""

    path: str
    text: str


@dataclass(frozen=True)
class Templates:
    """All templates that may read a setting: the project's own, and those in the folders of packages.

    ``declared`` are the vars in the dbt_project.yml of packages. Files of packages are read only if it matters.
    """

    own: Sequence[WrittenText]
    folders: Sequence[Path] = ()
    declared: frozenset[str] = frozenset()

    @cached_property
    def inside(self) -> tuple[str, ...]:
        """The insides of all templates."""
        texts = [each.text for each in self.own]
        for folder in self.folders:
            files = (file for file in sorted(folder.rglob("*")) if file.suffix in _SUFFIXES and file.is_file())
            texts += [file.read_text("utf-8", "replace") for file in files]
        return tuple(inside for text in texts for _, inside in insides(text))

    @cached_property
    def variables(self) -> frozenset[str] | None:
        """The vars that are read. None if a template computes the name of one."""
        found = [match for text in self.inside for match in _VAR.finditer(text)]
        return self.declared | {match[2] for match in found} if all(match[1] for match in found) else None

    @cached_property
    def config(self) -> frozenset[str]:
        """The config keys that templates read."""
        found = {setting(name) for text in self.inside for each in _READ for name in each.findall(text)}
        return frozenset(found - {"get", "require", "set"})

    @cached_property
    def computes_config(self) -> bool:
        """Whether a template computes the name of a config key."""
        return any(map(_COMPUTED.search, self.inside))


@dataclass
class Judge:
    """Collects misspelt names as errors, and others that nothing reads for one warning."""

    templates: Templates
    errors: list[CuveeError] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def warnings(self) -> list[str]:
        """One warning for all names that nothing reads; none if there are none."""
        if not self.unknown:
            return []
        names = [f"{name} ({count})" for name, count in self.unknown.most_common()]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        what = f"{len(names)} setting{'s' * (len(names) != 1)} that nothing reads"
        return [f"{what}: {', '.join(names[:_LISTED])}{more}"]

    # --- dbt_project.yml ------------------------------------------------------------------------------------

    def project(self, settings: Mapping[str, Any], path: str, packages: Iterable[str]) -> None:
        """Judge dbt_project.yml. Vars below the name of a package belong to it."""
        for key in settings:
            self._key(str(key), _PROJECT.split(), settings, path, "dbt_project.yml")
        for section in _SECTIONS:
            self._folders(settings.get(section), path)
        variables = settings.get("vars")
        if isinstance(variables, Mapping):
            scopes = {name for name, value in variables.items() if name in packages and isinstance(value, Mapping)}
            self.variables(variables, path, scopes)
            for scope in scopes:
                self.variables(variables[scope], path)

    def _folders(self, level: Any, path: str) -> None:
        for key, value in level.items() if isinstance(level, Mapping) else ():
            if str(key).startswith("+") or not isinstance(value, Mapping):
                self._config(str(key), _at(level, key, path))
            elif setting(str(key)) not in _MAPPED:
                self._folders(value, path)

    def variables(self, given: Mapping[str, Any], path: str, scopes: Iterable[str] = ()) -> None:
        """Judge vars: those of a file, or those of an option, which is then the ``path``."""
        unknown = given.keys() - set(scopes) - self.templates.declared
        if not unknown or (read := self.templates.variables) is None:
            return
        for name in sorted(unknown - read, key=str):
            self._unknown(str(name), read, _at(given, name, path), "the var ")

    # --- config ---------------------------------------------------------------------------------------------

    def calls(self, file: WrittenText) -> None:
        """Judge the calls ``config(...)`` in the templates of a file."""
        for start, inside in insides(file.text):
            for call in _CALL.finditer(inside):
                for name, at in _arguments(inside, call.end()):
                    line = file.text.count("\n", 0, start + at) + 1
                    self._config(name, Location(file.path, line))

    def _configs(self, given: Any, path: str) -> None:
        """Judge a mapping ``config:`` of schema.yml."""
        for key, value in given.items() if isinstance(given, Mapping) else ():
            self._config(str(key), _at(given, key, path))
            if key == "freshness" and isinstance(value, Mapping):
                self._entry(value, "freshness", path)

    def _config(self, key: str, where: Location) -> None:
        name = setting(key)
        if name not in _KNOWN_CONFIG and name not in self.templates.config:
            known = _KNOWN_CONFIG | self.templates.config
            self._unknown(name, known, where, "the config ", counted=not self.templates.computes_config)

    # --- schema.yml -----------------------------------------------------------------------------------------

    def schema(self, content: Mapping[str, Any], path: str) -> None:
        """Judge a properties file."""
        self._entry(content, "file", path)

    def _entry(self, entry: Any, shape: str, path: str) -> None:
        """Judge the keys of an entry, and the entries inside of it."""
        if shape == "config":
            return self._configs(entry, path)
        if shape == "test":
            return self._test(entry, path)
        inner = _SHAPES[shape]
        for key, value in entry.items() if isinstance(entry, Mapping) else ():
            if shape != "file" or not str(key).startswith((".", "_", "x-")):  # which are for anchors
                self._key(str(key), inner, entry, path, f"a {shape}")
            if below := inner.get(str(key)):
                for each in listed(value):
                    self._entry(each, below, path)
        return None

    def _test(self, spec: Any, path: str) -> None:
        """Judge the config of a test. Its other keys may be its arguments, which its macro knows."""
        if isinstance(spec, Mapping):
            bodies = [spec, *(each for key, each in spec.items() if key not in ("config", "arguments", "meta"))]
            for body in bodies:
                self._configs(body.get("config") if isinstance(body, Mapping) else None, path)

    def _key(self, name: str, known: Iterable[str], entry: Mapping[str, Any], path: str, whose: str) -> None:
        if name not in known:
            self._unknown(name, known, _at(entry, name, path), f"the key of {whose} ")

    def _unknown(self, name: str, known: Iterable[str], where: Location, what: str, *, counted: bool = True) -> None:
        if like := near(name, known):
            message = f"nothing reads {what}{name!r}"
            self.errors.append(CuveeError(message, where=where, hint=f"did you mean {like}?"))
        elif counted:
            self.unknown[f"var {name}" if what == "the var " else name] += 1


def insides(text: str) -> Iterator[tuple[int, str]]:
    """Yield what is inside of each template, ``{{ … }}`` or ``{% … %}``, and where that begins."""
    position = 0
    while opening := _OPENING.search(text, position):
        position = end = opening.end()
        if opening[0] == "{#":
            position = max(text.find("#}", position), position)
            continue
        depth = 0
        for part in _PART.finditer(text, position):
            if depth == 0 and (part[0] == "%}" or text.startswith("}}", part.start())):
                end = part.start()
                break
            depth += {"{": 1, "}": -1}.get(part[0], 0)
        yield position, text[position:end]
        position = max(end, position)


def _at(given: Mapping[str, Any], key: object, path: str) -> Location:
    return Location(path, given.line_of(str(key)) if isinstance(given, yamlfile.Mapping) else None)


def _arguments(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield the names of the arguments of the call whose parenthesis opens before ``start``, and their places."""
    plain = _STRING.sub(lambda found: " " * len(found[0]), text)
    depth = 1
    for place in range(start, len(plain)):
        if plain[place] in "([{":
            depth += 1
        elif plain[place] in ")]}":
            depth -= 1
        elif depth == 1 and plain[place - 1] in "(, \t\n" and (found := _ARGUMENT.match(plain, place)):
            yield found[1], place
        if depth == 0:
            return


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a name is a slip of the keyboard from; None if there is none.

    >>> near("descriptoin", ["description", "docs"])
    'description'
    >>> near("year_2024", ["year_2025"])
    """
    plain, long = name.lower().replace("-", "_"), len(name) >= _LONG
    names = {each.lower().replace("-", "_"): each for each in sorted(set(known))}
    if plain in names:
        return names[plain]
    for each in get_close_matches(plain, names, n=5, cutoff=0.7) if len(name) > 2 else ():
        # A short name with another first letter, or with another number, is a name of its own: kind and bind.
        own = _DIGITS.sub("", plain) == _DIGITS.sub("", each) or (each[0] != plain[0] and not long)
        if not own and _distance(plain, each) <= (2 if long else 1):
            return names[each]
    return None


def _distance(a: str, b: str) -> int:
    """Count the letters that were left out, added, changed or exchanged with their neighbours."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
