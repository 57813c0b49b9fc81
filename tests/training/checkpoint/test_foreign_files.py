"""Checkpoints and model folders of others: whatever reads them, no code in them runs unless it is trusted."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.training.helpers import train
from training.cli.anneal import anneal
from training.cli.checkpoint import checkpoint as checkpoint_command
from udfs.errors import UsageError
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
torch = pytest.importorskip("torch")

from training.checkpoint import reading  # noqa: E402  it is about torch's files

pytestmark = pytest.mark.usefixtures("one_thread")


class Touch:
    """What writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self._path,)


def in_callbacks(state: dict[str, Any], mark: Path) -> None:
    state["callbacks"]["Mine"] = Touch(mark)


def in_the_optimizer(state: dict[str, Any], mark: Path) -> None:
    next(iter(state["optimizers"].values()))["param_groups"][0]["note"] = [{"deep": (Touch(mark),)}]


def among_the_weights(state: dict[str, Any], mark: Path) -> None:
    state["model"]["scorer.model.extra"] = Touch(mark)


def in_the_place(state: dict[str, Any], mark: Path) -> None:
    state["dataset_state"]["train"]["mixture"] = Touch(mark)


PLACES = [in_callbacks, in_the_optimizer, among_the_weights, in_the_place]


@pytest.fixture(scope="module")
def place(decoder_place: Path) -> Path:
    return decoder_place


@pytest.fixture
def evil(place: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the decoder's trunk, whose last checkpoint is changed by a function; it would write ``mark``."""

    def make(change: Callable[[dict[str, Any], Path], None], mark: Path) -> Path:
        folder = tmp_path / "evil"
        shutil.copytree(place / "runs/decoder/trunk-17", folder, dirs_exist_ok=True)
        file = sorted(folder.glob("checkpoints/*.pt"))[-1]
        content = torch.load(file, weights_only=False)
        change(content["state"], mark)
        torch.save(content, file)
        return folder

    return make


def call(command: Any, place: Path, *arguments: str, check: bool = False) -> Result:
    result = CliRunner().invoke(command, [*arguments, "--lake", str(place / "lake")], catch_exceptions=False)
    assert result.exit_code == 0 or not check, result.output
    return result


def start(place: Path, origin: Path, out: Path, *more: str) -> list[str]:
    settings = ("trunk=", f"start.checkpoint={origin}", "seeds=[1]", "arms={control: baseline}", "anneal.tokens=512")
    sets = [part for setting in (*settings, "checkpoints.every=", "name=foreign", *more) for part in ("--set", setting)]
    return [str(place / "tiny.yaml"), "--out", str(out), *sets]


def test_no_way_of_reading_a_checkpoint_runs_its_code(place: Path, tmp_path: Path, evil: Callable[..., Path]) -> None:
    mark = tmp_path / "mark"
    run = evil(in_callbacks, mark)
    out = tmp_path / "out"
    ways = {
        "plan": lambda: call(anneal, place, *start(place, run, out), "--plan"),
        "weights": lambda: call(anneal, place, *start(place, run, out, "start.optimizer=false")),
        "optimizer": lambda: call(anneal, place, *start(place, run, out)),
        "export": lambda: call(checkpoint_command, place, "export", str(run), str(tmp_path / "model")),
    }
    for name, way in ways.items():
        with pytest.raises(UsageError, match="It may run code") as caught:
            way()
        assert "--trust" in str(caught.value), name
        assert not mark.exists(), name
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("change", PLACES)
def test_code_is_refused_wherever_it_is_in_a_checkpoint(tmp_path: Path, evil: Callable[..., Path], change: Any) -> None:
    mark = tmp_path / "mark"
    file = sorted(evil(change, mark).glob("checkpoints/*.pt"))[-1]
    for read in (reading.read_state, reading.read_weights, reading.learning_rates, reading.check):
        with pytest.raises(UsageError, match="It may run code"):
            read(file)
    with pytest.raises(UsageError, match="It may run code"):
        reading.write_start(file, tmp_path / "start.pt")
    assert not mark.exists() and not (tmp_path / "start.pt").exists()


def test_a_run_does_not_go_on_from_a_checkpoint_with_code(
    place: Path, tmp_path: Path, evil: Callable[..., Path]
) -> None:
    from training.recipe.exports import Reading, find
    from training.recipe.recipe import read_recipe
    from training.run.run import Job

    mark = tmp_path / "mark"
    recipe = read_recipe(place / "tiny.yaml", ("arms={control: baseline}", "boundaries=false"))
    exports = find(Lake.open(place / "lake"), recipe)
    job = Job(evil(in_callbacks, mark), (Reading(exports["baseline"], 12),), exports["held_out"], 12, 17, None)
    with pytest.raises(UsageError, match="It may run code"):
        train(job, recipe)
    assert not mark.exists()


@pytest.fixture
def evaluated(place: Path, tmp_path: Path) -> list[str]:
    pytest.importorskip("lm_eval")
    (tmp_path / "quiz.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n')
    return [str(tmp_path / "quiz.jsonl")]


def test_a_benchmark_does_not_run_a_checkpoints_code(
    place: Path, tmp_path: Path, evil: Callable[..., Path], evaluated: list[str]
) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(UsageError, match="It may run code"):
        call(checkpoint_command, place, "evaluate", str(evil(in_callbacks, mark)), *evaluated)
    assert not mark.exists()


def test_trust_reads_what_is_in_a_checkpoint(place: Path, tmp_path: Path, evil: Callable[..., Path]) -> None:
    mark = tmp_path / "mark"
    run = evil(in_callbacks, mark)
    call(checkpoint_command, place, "export", str(run), str(tmp_path / "model"), "--trust", check=True)
    assert mark.exists()
    mark.unlink()
    call(anneal, place, *start(place, run, tmp_path / "out"), "--trust", check=True)
    assert mark.exists()


def algorithm(state: dict[str, Any], mark: Path) -> None:
    """Composer evaluates this text; to torch it is a text like any other."""
    state["algorithms"].append(("Alibi", {"repr": f"Alibi and __import__('pathlib').Path({str(mark)!r}).touch()"}))


def test_composer_evaluates_no_text_of_a_checkpoint(place: Path, tmp_path: Path, evil: Callable[..., Path]) -> None:
    mark = tmp_path / "mark"
    run = evil(algorithm, mark)
    call(anneal, place, *start(place, run, tmp_path / "out"), check=True)
    assert not mark.exists(), "the run starts with what it inherits, and nothing else"
    assert not list((tmp_path / "out").rglob("start.*"))
    file = sorted(run.glob("checkpoints/*.pt"))[-1]
    with pytest.raises(UsageError, match="the algorithm Alibi"):
        reading.check(file)


def test_what_a_run_starts_with_is_what_was_in_the_checkpoint(place: Path, tmp_path: Path) -> None:
    file = sorted(place.glob("runs/decoder/trunk-17/checkpoints/*.pt"))[-1]
    reading.write_start(file, tmp_path / "start.pt")
    before, after = (torch.load(path, weights_only=False)["state"] for path in (file, tmp_path / "start.pt"))
    assert set(after) == {*reading.INHERITED, "algorithms"} and after["algorithms"] == []
    torch.testing.assert_close(after["model"], before["model"], rtol=0, atol=0)
    for name, optimizer in before["optimizers"].items():
        assert after["optimizers"][name]["param_groups"] == optimizer["param_groups"]
        torch.testing.assert_close(after["optimizers"][name]["state"], optimizer["state"], rtol=0, atol=0)
    assert after["dataset_state"] == before["dataset_state"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        b"PK\x03\x04 cut off",
        pickle.dumps({"state": {"model": {}}}),
        "list",
        "no state",
        "numbers",
    ],
    ids=str,
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, content: object) -> None:
    file = tmp_path / "ba000000000004.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        values: dict[object, Any] = {"list": [1], "no state": {"model": {}}, "numbers": {"state": {"model": 3}}}
        torch.save(values[content], file)
    for read in (reading.read_state, reading.read_weights, reading.learning_rates, reading.check):
        with pytest.raises(reading.CheckpointError, match=r"ba000000000004\.pt"):
            read(file)


def test_a_pickle_that_is_not_torchs_is_not_read(tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "ba000000000004.pt"
    file.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(reading.CheckpointError):
        reading.read_state(file)
    assert not mark.exists()


@pytest.fixture
def with_code(place: Path, tmp_path: Path) -> Path:
    """A model's folder with Python code that writes ``mark``, and weights."""
    folder = tmp_path / "coded"
    call(checkpoint_command, place, "export", str(place / "runs/decoder/control-1"), str(folder), check=True)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'mark')!r}).touch()\n"
    (folder / "mine.py").write_text(
        code + "from transformers import ModernBertDecoderConfig as C, ModernBertDecoderForCausalLM as M\n"
        "class Config(C):\n    model_type = 'mine'\nclass Model(M):\n    config_class = Config\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_folders_own_python_does_not_run(tmp_path: Path, with_code: Path) -> None:
    from training.checkpoint.models import count
    from training.distillation import models as students
    from training.distillation.recipe import Distillation, StudentSettings
    from training.recipe.settings import ModelSettings

    student = StudentSettings("generative", str(with_code))
    recipe = Distillation("x", "teacher", student, 1024, 512, 32)
    for way in (
        lambda: count(ModelSettings(folder=str(with_code)), 300),
        lambda: students.make(recipe, with_code / "tokenizer.json", None),
        lambda: students.parameters(recipe, with_code / "tokenizer.json", None),
    ):
        with pytest.raises(UsageError, match="cannot read the model in"):
            way()
        assert not (tmp_path / "mark").exists()


def test_weights_in_a_folder_are_safetensors(place: Path, tmp_path: Path) -> None:
    from training.checkpoint.models import make
    from training.distillation import models as students
    from training.distillation.recipe import Distillation, StudentSettings
    from training.recipe.settings import ModelSettings

    folder, mark = tmp_path / "pickled", tmp_path / "mark"
    call(checkpoint_command, place, "export", str(place / "runs/decoder/control-1"), str(folder), check=True)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Touch(mark)}, folder / "pytorch_model.bin")
    recipe = Distillation("x", "teacher", StudentSettings("generative", str(folder)), 1024, 512, 32)
    for way in (
        lambda: make(ModelSettings(folder=str(folder)), 300, 32, end_of_text=0),
        lambda: students.make(recipe, folder / "tokenizer.json", None),
    ):
        with pytest.raises(UsageError, match=r"pytorch_model\.bin, a pickle"):
            way()
    assert not mark.exists()
