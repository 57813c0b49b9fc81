"""cuvee label: one document through a labeler, in the open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, Location, UsageError
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from warehouse.cli.output import Output, output_options, project_option
from warehouse.project.package import project_folders

if TYPE_CHECKING:
    from udfs.labels.labeler import Labeler
    from udfs.labels.labelers.trial import Trial

#: A longer text is shown by its beginning and its end; --json has all of it.
_SHOWN = 3_000


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--labeler", "name", metavar="NAME", help="Who labels  [default: zero_shot]")
@project_option
@output_options
def label(files: tuple[str, ...], name: str | None, project_dir: Path, out: Output) -> None:
    """Label documents without keeping the labels, and show how: what is read, prompts, raw answers, labels.

    A file is one document; - is standard input. Needs no lake, and for the labelers that come with Cuvée no project.

        cuvee label README.md --labeler fake
    """
    from udfs.labels.label_document import DEFAULT_LABELER
    from udfs.labels.labelers.trial import attempt

    texts = [(file, _text(file)) for file in files]
    labeler = LabelerRegistry(project_folders(project_dir)).get(name or DEFAULT_LABELER)
    shown = []
    try:
        for file, text in texts:
            trial = attempt(labeler, text)
            if out.as_json:
                shown.append(_as_dict(file, labeler, trial))
            else:
                _print(file, labeler, trial, out)
    finally:
        labeler.close()
    if out.as_json:
        out.json(shown)


def _text(file: str) -> str:
    """Read a document's text. Raises UsageError if there is no such file, CuveeError if it is not text."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no such file: {file}") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"is not valid UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise CuveeError(message, where=Location("standard input" if file == "-" else file)) from error


def _print(file: str, labeler: Labeler, trial: Trial, out: Output) -> None:
    from udfs.labels.labelers.trial import names

    out.text(f"{file}: {trial.characters:,} characters, {trial.doc_id}")
    for number, part in enumerate(trial.read, 1):
        of = f", part {number} of {len(trial.read)}" if len(trial.read) > 1 else ""
        _section(f"read{of}: {len(part):,} characters", part, out)
    for number, question in enumerate(trial.questions, 1):
        which = f" {number}" if len(trial.questions) > 1 else ""
        for message in question.messages:
            _section(f"prompt{which}, {message.role}", message.content, out)
        if question.chat is not None:
            _section(f"prompt{which} for the model: {question.tokens:,} tokens", question.chat, out)
        if question.answer is not None:
            cut = "" if question.complete else ", cut off at max_tokens"
            _section(f"answer{which}{cut}", question.answer, out)
    rows = []
    for category, codes in trial.labels.items():
        primary, secondary = (_named(code, names(labeler, category, code)) for code in codes)
        rows.append((category, primary, secondary, trial.reasons.get(category)))
    out.rows(("category", "primary", "secondary", "why not"), rows)
    tokens = "" if trial.tokens is None else f", {trial.tokens:,} tokens"
    note = f": {trial.note}" if trial.note else ""
    out.text(f"{trial.status}{note} ({labeler.name}{tokens}, {trial.seconds:.2f} s)\n")


def _section(title: str, text: str, out: Output) -> None:
    if len(text) > _SHOWN:
        left = len(text) - _SHOWN
        text = f"{text[: _SHOWN * 2 // 3]}\n[… {left:,} characters more; --json has them …]\n{text[-_SHOWN // 3 :]}"
    out.text(f"--- {title} ---\n{text}\n")


def _named(code: str | None, name: str | None) -> str | None:
    return f"{code} {name}" if code and name else code


def _as_dict(file: str, labeler: Labeler, trial: Trial) -> dict[str, object]:
    from udfs.labels.labelers.trial import names

    return {
        "file": file,
        "labeler": labeler.name,
        "taxonomy": labeler.taxonomy.name,
        "doc_id": trial.doc_id,
        "characters": trial.characters,
        "read": list(trial.read),
        "prompts": [
            {
                "messages": [message._asdict() for message in question.messages],
                "chat": question.chat,
                "tokens": question.tokens,
                "answer": question.answer,
                "complete": question.complete,
            }
            for question in trial.questions
        ],
        "status": trial.status,
        "note": trial.note,
        "labels": {
            category: {
                "primary": codes[0],
                "primary_name": names(labeler, category, codes[0]),
                "secondary": codes[1],
                "secondary_name": names(labeler, category, codes[1]),
                "reason": trial.reasons.get(category),
            }
            for category, codes in trial.labels.items()
        },
        "tokens": trial.tokens,
        "seconds": trial.seconds,
    }
