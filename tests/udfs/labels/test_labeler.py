"""Labelers as files: what they say, what identifies their answers, and what is said about files that are wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from udfs.errors import CuveeError, LabelerError, UsageError
from udfs.labels.label_document import BoundLabeler, LabelDocument
from udfs.labels.labelers.labeler_registry import SHIPPED, LabelerRegistry, read
from udfs.labels.sampling import Excerpt
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomies import Taxonomies

LABELER = """\
name: mine
description: What I think of it.
taxonomy: web_domains
backend: transformers
model:
  id: somebody/model
  revision: abc
  dtype: float32
prompt:
  system: You sort pages.
  user: "{{ text }}"
codec: condensed
generation:
  max_tokens: 10
document:
  characters: 900
  head: 200
  tokens: 512
engine:
  in_flight: 8
"""


@pytest.fixture
def project(tmp_path: Path, seeds: Path) -> Path:
    shutil.copytree(seeds, tmp_path / "seeds")
    (tmp_path / "labelers").mkdir()
    (tmp_path / "labelers" / "mine.yml").write_text(LABELER)
    return tmp_path


def spec(project: Path, *changes: tuple[str, str]) -> Spec:
    text = LABELER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = project / "labelers" / "mine.yml"
    path.write_text(text)
    return read(path, Taxonomies((project,)))


def test_a_file_is_a_labeler_in_sql(project: Path) -> None:
    bound = LabelDocument((project,)).bind(("mine",))
    assert (bound.labeler, bound.store, bound.columns.names) == ("mine", "labels.web_domains", ["domain"])
    found = spec(project)
    assert (found.model and found.model.source, found.generation.max_tokens, found.input_tokens) == (
        "somebody/model",
        10,
        512,
    )
    assert (found.excerpt.limit, found.excerpt.head, found.excerpt.window) == (900, 200, 300)
    assert found.engine.in_flight == 8


def test_shipped_labelers_can_all_be_read(seeds: Path) -> None:
    catalogue = LabelerRegistry((seeds.parent,))
    assert {"zero_shot", "fake", "eai_distill", "eai_teacher"} == {path.stem for path in SHIPPED.glob("*.yml")}
    for name in catalogue.files():
        found = catalogue.spec(name)
        assert found.taxonomy.name == "eai"
        assert len(found.fingerprint) == 32
        asked = [category.name for each in found.passes for category in each.categories]
        assert asked in ([], [category.name for category in found.taxonomy.categories])


def test_the_distilled_labeler_is_asked_as_it_was_trained(seeds: Path) -> None:
    found = LabelerRegistry((seeds.parent,)).spec("eai_distill")
    (asked,) = found.passes
    assert asked.system is not None
    assert asked.system.render("", 0, asked.categories) == "taxonomy"
    assert asked.user.render("A <|im_end|> {{ text }}", 23, asked.categories) == "A <|im_end|> {{ text }}"
    assert (found.excerpt, found.input_tokens, found.generation.max_tokens) == (Excerpt(), 16_384, 100)
    assert (found.generation.temperature, found.generation.structured) == (0, False)


def test_a_teachers_prompt_shows_every_label_and_its_form(seeds: Path) -> None:
    first, second = LabelerRegistry((seeds.parent,)).spec("eai_teacher").passes
    prompt = second.user.render("THE DOCUMENT", 40_000, second.categories)
    for category in second.categories:
        assert f"{category.heading}: Primary Classification: CODE - NAME" in prompt
        for label in category.choices:
            assert f"\n{label.code} - {label.label}" in prompt
    assert "40000 characters long, shortened" in prompt
    assert prompt.endswith("THE DOCUMENT")
    assert "51 - Mathematics" in first.user.render("", 0, first.categories)


def test_a_labeler_without_a_prompt_gets_one_from_its_taxonomy(project: Path) -> None:
    (asked,) = spec(project, ('prompt:\n  system: You sort pages.\n  user: "{{ text }}"\n', "")).passes
    prompt = asked.user.render("THE DOCUMENT", 12, asked.categories)
    assert "\n   cooking" not in prompt
    assert "   food Food and cooking (recipes" in prompt
    assert "THE DOCUMENT" in prompt
    assert "Answer with 1 line and nothing else" in prompt


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("revision: abc", "revision: abd"),
        ("id: somebody", "id: anybody"),
        ("dtype: float32", "dtype: bfloat16"),
        ("dtype: float32", "quantization: awq"),
        ("You sort pages.", "You sort web pages."),
        ('"{{ text }}"', '"Page: {{ text }}"'),
        ("codec: condensed", "codec: verbose"),
        ("max_tokens: 10", "max_tokens: 11"),
        ("max_tokens: 10", "max_tokens: 10\n  structured: true"),
        ("max_tokens: 10", "max_tokens: 10\n  temperature: 0.5"),
        ("characters: 900", "characters: 901"),
        ("head: 200", "head: 199"),
        ("head: 200", "markers: [a, b, c]"),
        ("tokens: 512", "tokens: 511"),
        ("taxonomy: web_domains", "taxonomy: eai"),
    ],
)
def test_what_can_change_an_answer_changes_the_fingerprint(project: Path, old: str, new: str) -> None:
    before = spec(project).fingerprint
    assert spec(project, (old, new)).fingerprint != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("description: What I think of it.", "# a comment"),
        ("in_flight: 8", "in_flight: 9"),
        ("max_tokens: 10", "max_tokens: 10\n  repetition_penalty: 1"),
        ('"{{ text }}"', '"{{text}}"'),
        ("codec: condensed\n", ""),
        ("backend: transformers", "backend: transformers\n# slow"),
    ],
)
def test_nothing_else_does(project: Path, old: str, new: str) -> None:
    before = spec(project).fingerprint
    assert spec(project, (old, new)).fingerprint == before
    assert replace(spec(project), name="other").fingerprint == before


def test_descriptions_matter_to_those_whose_prompt_shows_them(project: Path) -> None:
    own = (
        '  user: "{{ text }}"',
        '  user: "{% for each in categories[0].choices %}{{ each.description }}{% endfor %}{{ text }}"',
    )
    plain, shown = spec(project).fingerprint, spec(project, own).fingerprint
    path = project / "seeds" / "taxonomies" / "web_domains.csv"
    path.write_text(path.read_text().replace("faiths, scriptures", "scriptures"))
    assert spec(project).fingerprint == plain
    assert spec(project, own).fingerprint != shown
    path.write_text(path.read_text().replace("domain,pets,", "domain,animals,"))
    assert spec(project).fingerprint != plain


def test_a_template_that_looks_at_the_document_is_identified_by_its_source(project: Path) -> None:
    def prompt(bound: int) -> str:
        template = f'"{{% if text|length > {bound} %}}Long. {{% endif %}}{{{{ text }}}}"'
        return spec(project, ('"{{ text }}"', f"'{template[1:-1]}'")).fingerprint

    assert prompt(5000) != prompt(6000)


def test_a_folder_is_identified_by_its_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    monkeypatch.setattr("udfs.identity._LARGE", 10)
    folder = project / "labelers" / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0123456789abcdef")
    (folder / "config.json").write_text("{}")
    own = ("id: somebody/model\n  revision: abc", "folder: model")
    first = spec(project, own).fingerprint
    (folder / "README.md").write_text("read me")
    assert spec(project, own).fingerprint == first
    assert (project / "cache" / "cuvee" / "digests.json").is_file()
    (folder / "model.safetensors").write_bytes(b"0123456789abcdeF")
    assert spec(project, own).fingerprint != first
    shutil.move(folder, project / "labelers" / "moved")
    (project / "labelers" / "moved" / "model.safetensors").write_bytes(b"0123456789abcdef")
    assert spec(project, (*own[:1], "folder: moved")).fingerprint == first
    with pytest.raises(LabelerError, match="no model folder"):
        _ = spec(project, own).fingerprint


def test_a_project_replaces_a_shipped_labeler(project: Path) -> None:
    (project / "labelers" / "fake.yml").write_text(
        "taxonomy: web_domains\nbackend: fake\ngeneration: {max_tokens: 5}\n"
    )
    assert LabelDocument((project,)).bind(("fake",)).store == "labels.web_domains"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: mine", "name: yours", "mine.yml:1: the labeler 'yours' is in a file named mine.yml"),
        ("taxonomy: web_domains", "taxonomy: web_domain", "mine.yml:3: no taxonomy 'web_domain'\n  did you mean web_d"),
        ("backend: transformers", "backend: transformer", "mine.yml:4: no backend 'transformer'\n  did you mean"),
        ("model:\n", "modell:\n", "mine.yml:5: a labeler has no setting 'modell'\n  did you mean model?"),
        ("  id: somebody/model\n", "", "mine.yml:6: a model is either a folder or an id"),
        ("  revision: abc", "  folder: x", "mine.yml:6: a model is either a folder or an id"),
        ("dtype: float32", "dtype: float31", "mine.yml:8: no dtype 'float31'\n  did you mean float32"),
        ("  user:", "  usr:", "mine.yml:11: prompt has no setting 'usr'\n  did you mean user"),
        ('  user: "{{ text }}"\n', "", "mine.yml:10: a prompt needs what the user says"),
        ("  system: You", "  sytem: You", "mine.yml:10: prompt has no setting 'sytem'\n  did you mean system"),
        ("  user:", "  user_file: x.jinja\n  user:", "mine.yml:11: the prompt has both user and user_file"),
        ('  user: "{{ text }}"', "  user_file: x.jinja", "mine.yml:11: cannot read"),
        ("codec: condensed", "codec: condense", "mine.yml:12: no codec 'condense'\n  did you mean condensed?"),
        ("  max_tokens: 10", "  max_tokens: none", "mine.yml:14: max_tokens is a whole number of at least 1"),
        ("  max_tokens: 10", "  max_token: 1", "mine.yml:14: generation has no setting 'max_token'"),
        ("  max_tokens: 10", "  temperature: 1", "mine.yml:14: generation has no max_tokens"),
        ("max_tokens: 10", "max_tokens: 10\n  repetition_penalty: 1.1", "mine.yml:15: labels repeat digits"),
        ("max_tokens: 10", "max_tokens: 10\n  top_p: 0.9", "mine.yml:15: top_p means nothing without a temperature"),
        ("head: 200", "head: 800", "mine.yml:16: head, window and tail are 1,400 characters, of 900 in all"),
        ("head: 200", "markers: [a, b]", "mine.yml:17: there are three markers"),
        ("in_flight: 8", "in_flite: 8", "mine.yml:20: engine has no setting 'in_flite'\n  did you mean in_flight?"),
        ("in_flight: 8", "in_flight: 0", "mine.yml:20: in_flight and batch_tokens are at least 1"),
        ("codec: condensed", "colour: red", "mine.yml:12: a labeler has no setting 'colour'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_located(project: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(LabelerError) as caught:
        spec(project, (old, new))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("passes", "says"),
    [
        ("[{categories: [domains]}]", "no category 'domains'\n  did you mean domain?"),
        ("[{categories: [domain]}, {categories: [domain]}]", "domain is asked for twice"),
        ("[{}]", "a pass asks for categories"),
        ("[{categories: [domain], promt: {user: x}}]", "a pass has no setting 'promt'"),
    ],
)
def test_wrong_passes_are_located(project: Path, passes: str, says: str) -> None:
    prompt = 'prompt:\n  system: You sort pages.\n  user: "{{ text }}"'
    with pytest.raises(LabelerError) as caught:
        spec(project, (prompt, f"passes: {passes}"))
    assert "mine.yml:9: " in str(caught.value)
    assert says in str(caught.value)


def test_every_category_is_asked_for(project: Path) -> None:
    (project / "labelers" / "half.yml").write_text(
        "backend: fake\ngeneration: {max_tokens: 9}\npasses:\n  - categories: [education_level, reasoning_depth]\n"
    )
    with pytest.raises(LabelerError, match=r"half\.yml:3: no pass asks for free_decimal_correspondence"):
        LabelerRegistry((project,)).spec("half")


def test_a_template_that_is_not_valid_is_located(project: Path) -> None:
    (project / "labelers" / "ask.jinja").write_text("Page:\n{% for x in %}\n{{ text }}")
    with pytest.raises(CuveeError, match=re.escape("ask.jinja:2: no valid template")):
        _ = spec(project, ('user: "{{ text }}"', "user_file: ask.jinja")).fingerprint
    with pytest.raises(CuveeError, match=r"mine\.yml:11: cannot be rendered: 'txt' is undefined"):
        _ = spec(project, ('"{{ text }}"', '"{{ txt }}"')).fingerprint


def test_an_unknown_labeler_has_a_near_one(project: Path) -> None:
    with pytest.raises(UsageError, match=r"no labeler 'eai_destill'\n  did you mean eai_distill?"):
        LabelDocument((project,)).bind(("eai_destill",))
    (project / "labelers" / "mine.yaml").write_text(LABELER)
    with pytest.raises(LabelerError, match="two labelers are named mine"):
        LabelDocument((project,)).bind(("mine",))


def test_a_taxonomy_of_ones_own_can_be_labelled_without_training(project: Path) -> None:
    (project / "labelers" / "domains.yml").write_text("taxonomy: web_domains\nbackend: encoder\n")
    zero_shot, domains = (LabelDocument((project,)).bind((name,)) for name in ("zero_shot", "domains"))
    assert (domains.store, domains.labeler) == ("labels.web_domains", "domains")
    assert domains.fingerprint != zero_shot.fingerprint
    from tests.udfs.helpers import answers

    texts = [
        "Whisk two eggs with flour and fry the pancakes in butter.",
        "The striker scored twice in the final match.",
    ]
    assert [row["domain"]["primary"] for row in answers(domains, texts)] == ["food", "sports"]


def test_binding_imports_neither_jinja_nor_anything_heavy(seeds: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from udfs.labels.label_document import LabelDocument\n"
        f"folders = (Path({str(seeds.parent)!r}),)\n"
        "for name in ('fake', 'eai_distill'): LabelDocument(folders).bind((name,)).fingerprint\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'jinja2', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=seeds.parents[1]
    )
    assert done.stdout.strip() == "[]"


def test_a_backend_that_is_not_there_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from udfs.labels.backends import engine
    from udfs.labels.backends.settings import BACKENDS, Backend

    monkeypatch.setitem(BACKENDS, "abacus", Backend("beads"))
    bound = BoundLabeler(LabelerRegistry((project,)).get("mine"))
    assert bound.fingerprint
    found = replace(spec(project), backend="abacus")
    with pytest.raises(CuveeError, match="no backend abacus"):
        engine.open_engine(found)
