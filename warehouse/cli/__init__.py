"""The command line: one module for each command, imported only when it is called.

Main name: ``main.main``. Commands are grouped as ``cuvee --help`` shows them.
"""
