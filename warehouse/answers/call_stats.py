"""The figures of a function that answers in a build, and who receives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from udfs.expensive import Price


@dataclass(slots=True)
class CallStats:
    """The answers of one function for one node. ``missing`` counts what there was, or still is, to answer.

    ``elsewhere`` are inputs that other builds of the lake answered meanwhile.
    """

    title: str
    missing: int
    reused: int
    price: Price | None = None
    done: int = 0
    elsewhere: int = 0
    tokens: int = 0
    money: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    _since: float | None = None

    def start(self) -> None:
        """Start the clock: answering begins, or goes on."""
        self._since = monotonic()

    def stop(self) -> None:
        """Stop the clock: until the next ``start`` no time counts."""
        self.seconds, self._since = self.elapsed, None

    def count(self, statuses: dict[str, int], tokens: int) -> None:
        """Add answers."""
        self.done += sum(statuses.values())
        self.statuses.update(statuses)
        self.tokens += tokens

    def found(self, missing: int) -> None:
        """Set the number of inputs without an answer: others may have answered some, or added new ones."""
        self.elsewhere = max(0, self.missing - self.done - missing)
        self.missing = self.done + self.elsewhere + missing

    @property
    def elapsed(self) -> float:
        """Return the seconds spent on answering."""
        return self.seconds + (monotonic() - self._since if self._since is not None else 0.0)

    @property
    def left(self) -> int:
        """Return the number of inputs that have no answer yet, as far as this build knows."""
        return max(0, self.missing - self.done - self.elsewhere)

    @property
    def speed(self) -> float:
        """Return answers per second."""
        return self.done / max(self.elapsed, 1e-9)

    @property
    def parsed(self) -> float | None:
        """Return the share of answers with a value: those whose status is not ``error``."""
        came = self.done - self.statuses["error"]
        return (self.statuses["ok"] + self.statuses["partial"]) / came if came else None

    def words(self) -> list[str]:
        """Return the figures for people, without the title."""
        said = [f"{self.speed:,.1f} documents/s" if self.speed < 100 else f"{self.speed:,.0f} documents/s"]
        if self.tokens:
            said.append(f"{self.tokens / max(self.elapsed, 1e-9):,.0f} tokens/s")
        if self.parsed is not None:
            said.append(f"{100 * self.parsed:.{0 if self.parsed in (0, 1) else 1}f} % parsed")
        said += [f"{n:,} {status}" for status in ("partial", "unparsed", "error") if (n := self.statuses[status])]
        if self.tokens:
            said.append(f"{short(self.tokens)} tokens")
        if self.price is not None:
            said.append(f"{self.money:,.2f} {self.price.currency}")
        return said

    def line(self) -> str:
        """Return the progress in one line."""
        left = f", {duration(self.left / self.speed)} left" if self.done and self.left else ""
        return f"{self.title}: {self.done:,} of {self.missing - self.elsewhere:,}{left}; {', '.join(self.words())}"

    def summary(self) -> str:
        """Return the outcome in one line."""
        besides = [f"{self.reused:,} answered before"] if self.reused else []
        besides += [f"{self.elsewhere:,} by another build"] if self.elsewhere else []
        figures = ", ".join([*self.words(), *besides])
        return f"{self.title}: {self.done:,} answered in {duration(self.elapsed)}; {figures}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            "call": self.title, "answered": self.done, "left": self.left, "reused": self.reused,
            "elsewhere": self.elsewhere, "tokens": self.tokens, "seconds": round(self.elapsed, 3),
            "statuses": dict(self.statuses), "cost": self.money if self.price else None,
            "currency": self.price.currency if self.price else None,
        }  # fmt: skip


class AnswerCallback:
    """Receives progress events while functions answer. The base class ignores them."""

    def answering(self, tally: CallStats) -> Callable[[CallStats], None]:
        """Receive a call that is about to be answered; return what receives its figures at each batch of answers."""
        return lambda tally: None

    def answered(self, tally: CallStats) -> None:
        """Receive the figures of a call that has been answered, or was stopped."""

    def say(self, line: str) -> None:
        """Receive a line worth knowing."""


def short(count: int) -> str:
    """Write a large number in three digits.

    >>> short(950), short(12_345), short(7_890_000)
    ('950', '12.3k', '7.89M')
    """
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def duration(seconds: float) -> str:
    """Write a length of time in one unit.

    >>> duration(4.2), duration(600), duration(9000)
    ('4 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
