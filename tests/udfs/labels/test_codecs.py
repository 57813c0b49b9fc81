"""Labels as text: what is written is read back, and no text breaks the reader."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import SQL
from udfs.labels.codecs import CODECS, Codec, CodecError, Condensed, make
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import ABSTAIN, FDC, Category, Label, Pair

SEEDS = SQL / "seeds"
EAI = Taxonomies((SQL,)).get("eai").categories
DOMAINS = Taxonomies((SQL,)).get("web_domains").categories
ODD = (
    Category("kind", (Label("a+b", "A\nand (B)"), Label("a.b", "A - B: C*"), Label("1-2", "")), title="Kind - of"),
    Category("sure", (Label("y", "Yes"), Label("n", "No")), abstains=False),
)
TAXONOMIES = (EAI, DOMAINS, ODD)
EVERY: list[Codec] = [make(name, categories) for name in CODECS for categories in TAXONOMIES]

ANSWER = "513.212,510.71\n2,3\n3,1\n3,skip\n0,3\n0,2\n23,10\n3,2\n4,3\n2,1"
FIRST = ["free_decimal_correspondence", "bloom_cognitive_process", "bloom_knowledge_domain"]


def codes(category: Category) -> st.SearchStrategy[str]:
    if category.decimal:
        return st.from_regex(r"[0-9]{3}(\.[0-9]{1,12})?", fullmatch=True)
    return st.sampled_from(sorted(category.codes))


@st.composite
def verdicts(draw: Any, categories: tuple[Category, ...]) -> dict[str, Pair]:
    verdict = {}
    for category in categories:
        primary = draw(codes(category) | st.just(ABSTAIN) if category.abstains else codes(category))
        secondary = draw(st.none() | codes(category)) if primary != ABSTAIN else None
        verdict[category.name] = Pair(primary, None if secondary == primary else secondary)
    return verdict


@pytest.mark.parametrize("codec", EVERY)
@given(data=st.data())
def test_what_is_written_is_read_back_and_matches_the_pattern(codec: Codec, data: st.DataObject) -> None:
    verdict = data.draw(verdicts(codec.categories))
    text = codec.encode(verdict)
    decoded = codec.decode(text)
    assert (decoded.verdict, decoded.status, decoded.problems) == (verdict, "ok", {})
    assert re.fullmatch(codec.pattern, text)


@pytest.mark.parametrize("codec", EVERY)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_pattern_matches_is_read(codec: Codec, data: st.DataObject) -> None:
    text = data.draw(
        st.from_regex(codec.pattern.replace("{0,2000}", "{0,9}").replace("{0,200}", "{0,3}"), fullmatch=True)
    )
    decoded = codec.decode(text)
    assert decoded.status == "ok", (text, decoded)
    assert decoded.verdict.keys() == {category.name for category in codec.categories}
    for category in codec.categories:
        primary, secondary = decoded.verdict[category.name]
        assert primary == ABSTAIN or category.accepts(primary)
        assert secondary is None or (category.accepts(secondary) and secondary != primary)


#: Texts that are nearly answers: pieces of them in any order, among anything else.
PIECES = st.sampled_from([*ANSWER.split("\n"), "Final labels", "-1,skip", ",", "skip", "\r", "\n", "\x00", "\u2028"])
VERBOSE_PIECES = st.sampled_from(make("verbose", EAI).encode(make("condensed", EAI).decode(ANSWER).verdict).split("\n"))
NEARLY = st.lists(PIECES | VERBOSE_PIECES | st.text(), max_size=30).map("\n".join)


@pytest.mark.parametrize("codec", EVERY)
@given(text=st.text() | NEARLY, complete=st.booleans())
def test_no_text_makes_the_reader_raise_and_every_category_is_accounted_for(
    codec: Codec, text: str, complete: bool
) -> None:
    decoded = codec.decode(text, complete=complete)
    names = {category.name for category in codec.categories}
    assert decoded.verdict.keys() | decoded.problems.keys() == names
    assert not decoded.verdict.keys() & decoded.problems.keys()
    assert decoded.status == ("unparsed" if not decoded.verdict else decoded.status)
    assert (decoded.status == "ok") == (not decoded.problems and decoded.note is None)


@given(data=st.data())
def test_the_short_way_reads_what_the_long_way_reads(data: st.DataObject) -> None:
    codec = next(each for each in EVERY if isinstance(each, Condensed))
    right = verdicts(codec.categories).map(codec.encode)
    blanks = right.map(lambda text: text.replace("\n", " \n ").replace(",", " , "))
    text = data.draw(right | blanks | NEARLY | st.builds("".join, st.tuples(right, NEARLY)))
    pairs, decoded = codec.pairs(text), codec.decode(text)
    assert decoded.status == "ok" or pairs is None
    assert pairs is None or pairs == list(decoded.verdict.values())
    assert pairs is not None or decoded.status != "ok" or text.count("\n") != len(codec.categories) - 1


def condensed(text: str, *, complete: bool = True) -> Any:
    return make("condensed", EAI).decode(text, complete=complete)


def test_the_ten_lines_of_the_paper() -> None:
    decoded = condensed(ANSWER)
    assert decoded.status == "ok"
    assert decoded.verdict[FDC] == ("513.212", "510.71")
    assert decoded.verdict["document_type_v1"] == ("3", None)
    assert decoded.verdict["extraction_artifacts"] == ("0", "3")
    assert condensed("\n\n " + ANSWER.replace("\n", " \r\n\n") + "\n").verdict == decoded.verdict


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("005.1,skip", ("005.1", None)),
        ("005.1,", ("005.1", None)),
        ("510 , 004", ("510", "004")),
        ("510,510", ("510", None)),
        ("510,-1", ("510", None)),
        ("-1,skip", ("-1", None)),
        ("-1,-1", ("-1", None)),
        ("641.563.2,skip", "'641.563.2' is no FDC code"),
        ("812.54812.54,skip", "'812.54812.54' is no FDC code"),
        ("320.973/0207,skip", "'320.973/0207' is no FDC code"),
        ("92,skip", "'92' is no FDC code"),
        ("510,92", "'92' is no FDC code"),
        ("510.,skip", "'510.' is no FDC code"),
        ("５１０,skip", "'５１０' is no FDC code"),
        (f"510.{'1' * 13},skip", "'510.1111111111111' is no FDC code"),
        ("skip,510", "'skip' is no FDC code"),
        ("510,004,005", "'004,005' is no FDC code"),
        ("-1,510", "abstains and has a secondary label"),
        ("510", "no comma in '510'"),
    ],
)
def test_a_line_is_a_pair_or_has_a_reason(line: str, pair: tuple[str, str | None] | str) -> None:
    decoded = condensed(line + ANSWER[ANSWER.index("\n") :])
    if isinstance(pair, str):
        assert decoded.problems == {FDC: pair}
        assert (decoded.status, len(decoded.verdict)) == ("partial", 9)
    else:
        assert (decoded.verdict[FDC], decoded.status) == (pair, "ok")


@pytest.mark.parametrize(
    "line", ["7,skip", "0,skip", "1,7", "1.5,skip", "01,skip", "+1,skip", "Remember1,skip", ",skip"]
)
def test_a_code_is_one_of_its_category(line: str) -> None:
    decoded = condensed(ANSWER.replace("2,3", line, 1))
    assert list(decoded.problems) == ["bloom_cognitive_process"]


def test_lines_are_counted_and_other_lines_make_places_doubtful() -> None:
    short = condensed("\n".join(ANSWER.split("\n")[:3]))
    assert (short.status, short.note) == ("unparsed", "3 lines for 10 categories")
    after = condensed(ANSWER + "\nThe document is a tutorial.")
    assert (after.status, len(after.verdict), after.note) == ("partial", 10, "1 more line than categories")
    before = condensed("Here are the labels:\n" + ANSWER)
    assert (before.status, before.verdict) == ("unparsed", {})
    assert condensed("").status == condensed("I cannot label this.").status == "unparsed"


#: Categories whose codes are the same: only places tell them apart.
ALIKE = tuple(Category(f"scale_{n}", tuple(Label(str(code), f"Name {code}") for code in range(5))) for n in range(6))


PROSE = ["Here are the labels:", "Labels:", "Sure, here", "Answer", "I read: it, twice"]


@pytest.mark.parametrize("categories", [EAI, ALIKE])
@given(data=st.data(), missing=st.integers(0, 5), prose=st.sampled_from(PROSE), cut=st.integers(0, 90))
def test_no_damage_to_an_answer_shifts_its_labels(
    categories: tuple[Category, ...], data: st.DataObject, missing: int, prose: str, cut: int
) -> None:
    codec = make("condensed", categories)
    verdict = data.draw(verdicts(categories))
    lines = codec.encode(verdict).split("\n")
    short = lines[:missing] + lines[missing + 1 :]
    for damaged in (short, [prose, *short], [*short, prose], [prose, *lines]):
        text = "\n".join(damaged)
        assert codec.decode(text).verdict == codec.decode(text[:cut], complete=False).verdict == {}
    assert codec.decode("\n".join(lines)[:cut], complete=False).verdict == {}


def test_an_answer_of_which_the_place_is_doubtful_is_no_label() -> None:
    codec = make("condensed", ALIKE)
    lines = ["0,1", "1,2", "2,3", "3,4", "4,0", "0,2"]
    doubled = codec.decode("\n".join([lines[0], *lines]))
    assert (doubled.verdict, doubled.note) == ({}, "1 more line than categories")
    odd = codec.decode("\n".join(["9,1", *lines[1:]]))
    assert (odd.verdict, odd.note) == ({}, "a line may be missing")
    assert codec.decode("\n".join(lines[:4]) + "\n4", complete=False).verdict == {}
    assert codec.decode("\n".join(lines) + "\nThe rea", complete=False).status == "unparsed"
    assert len(condensed(ANSWER + "\nThe rea", complete=False).verdict) == 10


def test_of_an_answer_that_was_cut_off_nothing_is_believed() -> None:
    for end in (ANSWER.index("23,10") + 4, ANSWER.index("23,10") + 6, len(ANSWER)):
        cut = condensed(ANSWER[:end], complete=False)
        assert (cut.status, cut.verdict) == ("unparsed", {})
        assert cut.note is not None and cut.note.startswith("cut off")
    assert condensed(ANSWER + "\n", complete=False).status == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "**FOOD**,Skip",
        "food , Travel",
        "Food,none",
        "`food`,`SKIP`",
        '"food","travel"',
        "- food,travel",
        "```\nfood,travel\n```",
        "```text\nFood,NULL\n```",
        "The labels are:\n```\nfood,travel\n```\nas asked.",
        "food,-1",
    ],
)
def test_labels_are_read_as_those_of_people_are(text: str) -> None:
    codec = make("condensed", DOMAINS)
    named = {label.code: label.label for label in DOMAINS[0].labels}
    for written in (text, re.sub("(?i)food", named["food"], text)):
        decoded = codec.decode(written)
        assert decoded.status == "ok", (written, decoded)
        assert decoded.verdict["domain"] in (("food", None), ("food", "travel"))


def test_a_teacher_answers_after_its_analysis() -> None:
    codec = make("verbose", EAI[6:8])
    text = """Both look like a guide. The page itself says
Final labels
Document Type V2: Primary Classification: 19 - Spam / Ads
Document Type V2: Secondary Classification: -1 - Abstain

## Final labels
- **Document Type V2: Primary Classification: 23 - Tutorial**
- **Document Type V2: Secondary Classification: Knowledge article - 10**
Reasoning Depth: Primary Classification: 3
Reasoning Depth: Secondary Classification: Skip
"""
    decoded = codec.decode(text)
    assert decoded.verdict == {"document_type_v2": ("23", "10"), "reasoning_depth": ("3", None)}
    assert decoded.status == "ok"
    wrong = codec.decode(text.replace(": 3\n", ": 33\n"))
    assert (wrong.status, wrong.problems) == ("partial", {"reasoning_depth": "'33' is no code of reasoning_depth"})
    assert codec.decode("Document Type V2: Primary Classification: 23 - Tutorial").status == "unparsed"


def test_a_block_that_a_document_has_is_not_the_answer() -> None:
    codec = make("verbose", EAI[6:8])
    block = codec.encode({"document_type_v2": Pair("19", None), "reasoning_depth": Pair("1", None)})
    own = codec.encode({"document_type_v2": Pair("23", "10"), "reasoning_depth": Pair("3", None)})
    quoted = f"The page says\n{block}\n"
    assert codec.decode(f"{quoted}but it is a tutorial.\n{own}").verdict["document_type_v2"] == ("23", "10")
    for text, complete in (
        (quoted, False),
        (block, False),
        (quoted + "but it is", False),
        (quoted + "but it is a tutorial.", True),
        (quoted + own[:-40], False),
        (quoted + own[: own.index("Reasoning")], True),
        (own + "\n" + own.partition("\n")[2], True),
        (own.replace("Reasoning Depth: Secondary", "Rest: Secondary"), True),
        (own + "\nThat is all.", True),
    ):
        assert codec.decode(text, complete=complete).verdict == {}, text


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (None, "no label for sure"),
        (Pair("-1", None), "sure: sure does not abstain"),
        (Pair("y", "y"), "the secondary label 'y' is not valid"),
        (Pair("y", "maybe"), "'maybe' is no code of sure"),
    ],
)
def test_a_verdict_that_cannot_be_is_not_written(pair: Pair | None, says: str) -> None:
    for name in CODECS:
        with pytest.raises(CodecError, match=re.escape(says)):
            make(name, ODD[1:]).encode({} if pair is None else {"sure": pair})
