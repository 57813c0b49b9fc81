"""The errors that Cuvée raises on purpose.

    CuveeError  a build, a test or a run failed: exit code 1
      UsageError  the request itself is wrong: exit code 2
        CheckpointError  a file is not a checkpoint, or must not be read as one
        LakeNotFoundError  there is no lake where one was looked for
        RecipeError  a recipe of training is not valid, or does not fit its exports or a run's folder
          MixtureChangedError  an export is not the one that a run began with
        RefusedStatementError  a reader's statement would change more than a temporary table
        SelectionError  a selection of nodes cannot be understood
      ProjectError  a project says what is not valid, or what it describes cannot be built
        CheckError  the settings of a data test are not valid
        ProjectErrors  all mistakes that were found in a project
        TemplateError  a template cannot be read or rendered
          RenderError  something undefined was called, or a computation went wrong
        UnitTestError  a unit test cannot be understood or run
      SqlError  the SQL of a model is wrong
        LineageError  the columns of a query cannot be followed
      LakeError  a lake cannot be used, or a file cannot be taken into it
        DamagedStreamError  a compressed file is cut off or corrupt
        LabelFileError  a file is not a table of labels
        PinnedSnapshotError  an export or a run needs the snapshot that was to expire
        StrictError  under --strict, a record could not be read
        StrictLabelsError  under --strict, a label could not be read or has no document
      AnswersError  a function could not answer, or its answers cannot be used
        CallError  an expensive function is called in a wrong way, or in a wrong place
        LimitReachedError  a limit of the build leaves inputs without an answer
        NotBuiltError  a query reads what is not built yet
      LabelerError  a labeler or a part of it (model, prompt, taxonomy) cannot be used
        ChatError  a chat template or its tokenizer cannot be used
        CodecError  a codec cannot write a taxonomy's answers
        ModelError  a fastText model cannot be used
        PromptError  a prompt cannot be rendered
        TaxonomyError  a taxonomy is not valid
      ExportError  a mixture, an export or a shard is not valid
        MDSError  an MDS shard or index is not valid
        ManifestError  an export's manifest is not valid
        MixtureError  a relation is not a mixture
      TokenizerError  a tokenizer cannot be used
        TokenizerExistsError  another tokenizer has this name
      YamlError  a YAML file is not valid

Families that several packages raise are defined here, all others next to the code that raises them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """The place of an error in the user's own files. Lines and columns count from 1."""

    path: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)


class CuveeError(Exception):
    """An error with its place in a file and a hint. The base of all errors that are raised on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, where: Location | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


class UsageError(CuveeError):
    """The request itself is wrong: an unknown name, a missing folder, an impossible option."""

    exit_code = 2


class ProjectError(CuveeError):
    """A project says what is not valid, or what it describes cannot be built."""


class LakeError(CuveeError):
    """A lake cannot be used, or a file cannot be taken into it."""


class AnswersError(CuveeError):
    """A function could not answer, or its answers cannot be used."""


class LabelerError(CuveeError):
    """A labeler, or a part of it, cannot be used."""


class ExportError(CuveeError):
    """A mixture, an export or a shard is not valid."""


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a hint with the closest known names, or with all if there are few. None if there are none.

    >>> did_you_mean("raw_docs", ["raw_documents", "labels"])
    'did you mean raw_documents?'
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if 0 < len(names) <= 12:
        return f"known: {', '.join(names)}"
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, at most 300 characters; its class if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
