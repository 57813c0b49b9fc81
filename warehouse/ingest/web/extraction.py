"""Turn a page's HTML into text.

    resiliparse    fast; the default
    trafilatura    keeps less that is not the article, takes some fifteen times as long

Both look for the main content. Where they find none, the page's whole text is taken, ``<noscript>`` and forms included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

from udfs.errors import CuveeError, UsageError, did_you_mean

EXTRACTORS = ("resiliparse", "trafilatura")

#: Deeper pages are taken whole: the search for the main content takes 7 s at 10,000 nested blocks, 28 s at 20,000.
_DEPTH = 1000
_BLOCK = re.compile(r"<(/?)(?:div|section|article|main|aside|span|center|blockquote|table|font)\b", re.IGNORECASE)

_EXTRAS = {"resiliparse": "web", "brotli": "web", "trafilatura": "trafilatura"}


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page. ``extraction`` says what gave it."""

    text: str
    extraction: str


def check_extractor(extractor: str) -> None:
    """Raise UsageError for an extractor that is none, CuveeError for one that is not installed."""
    if extractor not in EXTRACTORS:
        hint = did_you_mean(extractor, EXTRACTORS) or f"there are {' and '.join(EXTRACTORS)}"
        raise UsageError(f"no extractor called {extractor!r}", hint=hint)
    if extractor != EXTRACTORS[0]:
        require(extractor)


def require(extractor: str) -> None:
    """Raise CuveeError unless the packages that pages need are installed."""
    needed = dict.fromkeys(("resiliparse", "brotli", extractor))
    if missing := [name for name in needed if find_spec(name) is None]:
        extras = ",".join(dict.fromkeys(_EXTRAS[name] for name in missing))
        raise CuveeError(f"web pages need {' and '.join(missing)}", hint=f"pip install 'cuvee[{extras}]'")


def extract(html: str, extractor: str) -> PageText:
    """Extract the text of a page. Raises ValueError or RuntimeError for one that cannot be parsed."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    whole = _depth(html) > _DEPTH
    text = _by_trafilatura(html) if extractor == "trafilatura" and not whole else ""
    if text.strip():
        return PageText(text, extractor)
    tree = HTMLTree.parse(html)
    if extractor == "resiliparse" and not whole:
        text = extract_plain_text(tree, main_content=True, alt_texts=False, preserve_formatting=True)
        if text.strip():
            return PageText(text.replace("\0", ""), extractor)
    for more in (False, True):
        text = extract_plain_text(
            tree, main_content=False, noscript=True, alt_texts=more, form_fields=more, preserve_formatting=True
        )
        if text.strip():
            break
    return PageText(text.replace("\0", ""), f"{extractor}, whole text")


def _depth(html: str) -> int:
    """Return how deep blocks are nested, about; 0 where there are too few tags for it to matter."""
    if html.count("<") <= _DEPTH:
        return 0
    return max(accumulate(-1 if tag[1] else 1 for tag in _BLOCK.finditer(html)), default=0)


def _by_trafilatura(html: str) -> str:
    import logging

    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it logs every page without content
    try:
        text: Any = trafilatura.extract(html, include_comments=False)
    except Exception as error:  # of lxml and seven other packages: a page must not end an ingest
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return str(text or "").replace("\0", "")
