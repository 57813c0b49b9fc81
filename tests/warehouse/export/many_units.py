"""`cuvee export` with buckets so small that an export of few documents has many units. Run by the tests."""

from __future__ import annotations

import sys

from warehouse.cli.main import main
from warehouse.export import encode, plan

plan.BUCKET = 1500
encode.CHUNK = 4000
encode.MEMORY = 20_000

if __name__ == "__main__":
    sys.argv = ["cuvee", "export", *sys.argv[1:]]
    main()
