"""The project's YAML files, read by ``udfs.yamlfile``."""

from udfs.yamlfile import Mapping, YamlError, line_of, parse

__all__ = ["Mapping", "YamlError", "line_of", "parse"]
