"""Keeping the training libraries silent and off the network: they print deprecations of one another and defaults."""

from __future__ import annotations

import logging
import os
import warnings

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "MOSAICML_PLATFORM": "false",
    # transformers imports torch's compiler, which starts processes of 0.5 GB for what is never compiled here.
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}


def silence() -> None:
    """Make this process quiet and offline. Call it before torch, composer or streaming is imported."""
    os.environ.update(_ENVIRONMENT)
    warnings.filterwarnings("ignore")
    for name in ("composer", "streaming", "torch", "transformers", "torchmetrics"):
        logging.getLogger(name).setLevel(logging.ERROR)
