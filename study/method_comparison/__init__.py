"""Comparison of many methods on many problems: a small study tunes each method, which is then trained on new seeds."""

from study.method_comparison._run import run_methods
from study.method_comparison._spec import MethodsFile, load_methods, methods_files
from study.method_comparison._write import WrittenStandings, write_standings

__all__ = ["MethodsFile", "WrittenStandings", "load_methods", "methods_files", "run_methods", "write_standings"]
