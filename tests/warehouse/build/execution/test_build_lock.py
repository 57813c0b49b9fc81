"""Builds take turns: given up while a function answers, and back afterwards, whatever came of it."""

from __future__ import annotations

import pytest

from udfs.errors import CuveeError
from warehouse.build.execution.build_run import BuildLock
from warehouse.lake.lake import Lake


def is_free(lake: Lake) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(lake.root / "build.lock", timeout=0):
            return True
    except Timeout:
        return False


def test_a_turn_comes_back_after_answers_and_after_a_failure(lake: Lake) -> None:
    said: list[str] = []
    with BuildLock(lake, said.append) as turn:
        assert not is_free(lake)
        with turn.given_up():
            assert is_free(lake)
        assert not is_free(lake)
        with pytest.raises(CuveeError), turn.given_up():
            raise CuveeError("the function failed")
        assert not is_free(lake), "the build goes on with other models"
    assert is_free(lake) and not said


def test_a_turn_does_not_come_back_after_ctrl_c(lake: Lake) -> None:
    with pytest.raises(KeyboardInterrupt), BuildLock(lake, print) as turn, turn.given_up():
        raise KeyboardInterrupt
    assert is_free(lake)
