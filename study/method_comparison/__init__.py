"""One comparison of many methods on many problems: each tuned by a small study, then trained with fresh seeds."""

from study.method_comparison._run import run_methods
from study.method_comparison._spec import MethodsFile, load_methods, methods_files

__all__ = ["MethodsFile", "load_methods", "methods_files", "run_methods"]
