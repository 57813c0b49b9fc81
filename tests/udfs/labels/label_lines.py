"""Label texts in another environment: ``python label_lines.py SEEDS LABELER``, a JSON list of texts on standard input.

Prints a JSON list with what the model wrote about each, in their order.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main() -> None:
    import pyarrow as pa

    from udfs.expensive import INPUT_SCHEMA
    from udfs.labels.label_document import LabelDocument

    seeds, labeler = sys.argv[1:]
    texts = json.load(sys.stdin)
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]  # decide what is read of a long text
    function = LabelDocument((Path(seeds).parent,)).bind((labeler,))
    raw = {}
    for batch in function.answers(iter([pa.record_batch([keys, texts], schema=INPUT_SCHEMA)])):
        for row in batch.to_pylist():
            assert row["status"] == "ok", row
            raw[row["key"]] = row["raw"]
    print(json.dumps([raw[key] for key in keys]))


if __name__ == "__main__":
    main()
