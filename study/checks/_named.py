"""Find the class that a name means, and run the tests of its contract."""

from collections.abc import Callable, Iterable

from study.checks._clauses import Result
from study.checks.problem import check_problem
from study.checks.rule import check_rule
from study.errors import UserError
from study.specification import importable_here, method_section, parse_assignments, problem_section


def check_named(name: str, assignments: Iterable[str] = ()) -> list[Result]:
    """Test the problem or rule at ``module:Class``; assignments (``FIELD=VALUE``) set its fields.

    Raises:
        UserError: there is no such class, it is neither a problem nor a rule, or it refuses the given fields.
    """
    importable_here()
    fields = parse_assignments(assignments)
    try:
        model, owner = problem_section(name)
        if isinstance(getattr(owner, "data", None), Callable):  # type: ignore[arg-type]
            return check_problem(name, model, owner, fields)
        rule_model, rule = method_section(name)
    except ValueError as error:
        raise UserError(str(error)) from error
    # every class can be called; the question is whether its instances can
    if rule is None or not any("__call__" in vars(ancestor) for ancestor in rule.__mro__):
        raise UserError(f"{name} must be a problem (methods sizes and data) or a rule (method __call__); it is neither")
    return check_rule(name, rule_model, rule, fields)
