"""One comparison of many methods on many problems: each tuned by a small study, then trained with fresh seeds."""

from study.methods._file import MethodsFile, load_methods, methods_files
from study.methods._run import run_methods

__all__ = ["MethodsFile", "load_methods", "methods_files", "run_methods"]
