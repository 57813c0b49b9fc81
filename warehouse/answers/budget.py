"""Limits of one build: new answers of each function, and tokens or money in all."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from udfs.errors import AnswersError, UsageError

if TYPE_CHECKING:
    from udfs.expensive import BoundFunction

#: Inputs that are sent before anything is known of what an answer costs.
_FIRST = 32
#: How much more than the average so far the next answers may cost.
_MARGIN = 1.1
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_COST = re.compile(r"(\d+(?:[._]\d+)*)\s*([A-Za-z]*)(?:\s+([A-Za-z]+))?\Z")


class LimitReachedError(AnswersError):
    """A limit of the build leaves inputs without an answer."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A number of tokens (``currency`` None), or an amount of money."""

    amount: float
    currency: str | None = None

    def __str__(self) -> str:
        if self.currency:
            return f"{self.amount:,.2f} {self.currency}"
        return f"{self.amount:,.0f} tokens"


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The answers that a build may ask for, and how often they are committed."""

    retry: tuple[str, ...] = ()  # ask again for answers with these statuses
    limit: int | None = None  # new answers of each function
    max_cost: Cost | None = None  # of all new answers together
    commit_every: int = 500  # answers
    lease_seconds: float = 60.0  # for which another build leaves inputs to one that sends no sign of life


NO_LIMITS = AnswerLimits()


def parse_cost(text: str) -> Cost:
    """Read the value of ``--max-cost``. Raises UsageError.

    >>> str(parse_cost("2M")), str(parse_cost("500k tokens")), str(parse_cost("12.50 USD"))
    ('2,000,000 tokens', '500,000 tokens', '12.50 USD')
    """
    hint = "tokens: 500k, 2M; money, where labelers state a price: '12.50 USD'"
    found = _COST.match(text.strip())
    if found is None:
        raise UsageError(f"--max-cost is a number of tokens or an amount of money, not {text!r}", hint=hint)
    amount, unit, word = float(found[1].replace("_", "")), found[2], found[3]
    if word is None and len(unit) == 3:
        unit, word = "", unit
    scale = _UNITS.get(unit.lower()) if unit.lower() not in ("token", "tokens") else 1
    if scale is None or (word and word.lower() not in ("token", "tokens") and (len(word) != 3 or unit)):
        raise UsageError(f"--max-cost knows no unit in {text!r}", hint=hint)
    currency = word.upper() if word and word.lower() not in ("token", "tokens") else None
    if not amount:
        raise UsageError("--max-cost 0 allows nothing", hint=hint)
    return Cost(amount * scale, currency)


def parse_statuses(text: str) -> tuple[str, ...]:
    """Read the value of ``--retry``: statuses with commas between them. Raises UsageError with the nearest ones."""
    from udfs.errors import did_you_mean
    from udfs.expensive import STATUSES

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    allowed = [status for status in STATUSES if status != "ok"]
    for name in names or ("",):
        if name not in allowed:
            raise UsageError(
                f"--retry takes statuses of answers, not {name!r}",
                hint=did_you_mean(name, allowed) or f"known: {', '.join(allowed)}",
            )
    return names


@dataclass(slots=True)
class Budget:
    """The rest of a build's limits. Counts and costs are those of this run. Threads may share it."""

    limit: int | None = None
    cost: Cost | None = None
    _sent: dict[str, int] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)
    _answered: dict[str, int] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def check(self, function: BoundFunction) -> None:
        """Raise UsageError if the cost of a function cannot be limited in the currency asked for."""
        if self.cost is None or self.cost.currency is None or not function.store.startswith("labels."):
            return
        price = function.price
        if price is None or price.currency != self.cost.currency:
            stated = f"its price in {price.currency}" if price else "no price"
            raise UsageError(
                f"the labeler {function.labeler} states {stated}, so --max-cost {self.cost} cannot be kept",
                hint="add price: {input: …, output: …} (per million tokens; 0 for your own machine) to its file,"
                " or give tokens: --max-cost 2M",
            )

    def grant(self, fingerprint: str) -> int | None:
        """Return how many more inputs may be sent to a function; None if there is no limit."""
        with self._mutex:
            sent = self._sent.get(fingerprint, 0)
            grants = [] if self.limit is None else [self.limit - sent]
            if self.cost is not None:
                answered = self._answered.get(fingerprint, 0)
                left = self.cost.amount - sum(self._spent.values())
                each = self._spent.get(fingerprint, 0.0) / answered if answered else None
                if each is None:
                    grants.append(_FIRST - sent if left > 0 else 0)
                elif each:
                    grants.append(int(left / (each * _MARGIN)) - (sent - answered))
            return max(0, min(grants)) if grants else None

    def send(self, fingerprint: str, count: int) -> None:
        """Count inputs that are sent."""
        with self._mutex:
            self._sent[fingerprint] = self._sent.get(fingerprint, 0) + count

    def pay(self, fingerprint: str, count: int, tokens: int, money: float) -> None:
        """Count answers that have come."""
        with self._mutex:
            self._answered[fingerprint] = self._answered.get(fingerprint, 0) + count
            spent = money if self.cost is not None and self.cost.currency else tokens
            self._spent[fingerprint] = self._spent.get(fingerprint, 0.0) + spent

    def unanswered(self, fingerprint: str) -> None:
        """Forget what was sent and will never be answered."""
        with self._mutex:
            self._sent[fingerprint] = self._answered.get(fingerprint, 0)

    def reached(self) -> str:
        """Return the limit as its option was given."""
        words = [f"--limit {self.limit}"] if self.limit is not None else []
        return " or ".join([*words, *([f"--max-cost {self.cost}"] if self.cost else [])])
