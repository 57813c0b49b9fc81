"""The command ``cuvee`` as ``python -m cuvee``."""

from cuvee.command import main

main()
