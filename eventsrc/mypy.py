"""A mypy plugin: `plugins = ["eventsrc.mypy"]`.

mypy resolves a class decorator before it infers types, so it does not see that the method behind `@pipeline.command`
carries `dataclass_transform` (python/mypy issues 16527 and 19824). This binds the two, and gives aggregates their
base, `eventsrc.Aggregate`, with `id` and `sequence`. Other type checkers need no plugin for the former.

Only mypy imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mypy.nodes import (
    AssignmentStmt,
    CallExpr,
    ClassDef,
    Expression,
    MemberExpr,
    NameExpr,
    RefExpr,
    Statement,
    TypeInfo,
    Var,
)
from mypy.plugin import ClassDefContext, Plugin
from mypy.semanal import SemanticAnalyzer
from mypy.types import Instance, get_proper_type

_PIPELINE = "eventsrc.model.pipeline.Pipeline"
_AGGREGATE = "eventsrc.model.given.Aggregate"
_DECORATORS = frozenset({"command", "event", "aggregate"})


class EventsrcPlugin(Plugin):
    """Uses the one hook that runs for every class before its decorators are looked at."""

    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        return _bind_decorators


def plugin(version: str) -> type[Plugin]:
    """mypy's entry point."""
    return EventsrcPlugin


def _bind_decorators(context: ClassDefContext) -> None:
    for decorator in context.cls.decorators:
        method = decorator.callee if isinstance(decorator, CallExpr) else decorator
        if not isinstance(method, MemberExpr) or method.name not in _DECORATORS:
            continue
        pipeline = _pipeline_class(method.expr, context)
        if pipeline is None:
            continue
        declared = pipeline.get(method.name)
        if declared is not None:
            # The kind stays unset, so that the type checker goes on to treat it as a bound method.
            method.node = declared.node
        if method.name == "aggregate":
            _add_aggregate_base(context.cls, context)


def _add_aggregate_base(cls: ClassDef, context: ClassDefContext) -> None:
    aggregate = _class_named(_AGGREGATE, context)
    if aggregate is None or aggregate in cls.info.mro:
        return
    cls.info.bases = [base for base in cls.info.bases if base.type.fullname != "builtins.object"]
    cls.info.bases.append(Instance(aggregate, []))
    cls.info.mro.insert(len(cls.info.mro) - 1, aggregate)


def _class_named(fullname: str, context: ClassDefContext) -> TypeInfo | None:
    symbol = context.api.lookup_fully_qualified_or_none(fullname)
    return symbol.node if symbol is not None and isinstance(symbol.node, TypeInfo) else None


def _pipeline_class(expression: Expression, context: ClassDefContext) -> TypeInfo | None:
    """`Pipeline`, or its subclass, where the expression before the dot names a variable that holds one."""
    name = _dotted(expression)
    symbol = context.api.lookup_qualified(name, expression, suppress_errors=True) if name else None
    variable = symbol.node if symbol is not None else None
    if not isinstance(variable, Var):
        return None
    declared = get_proper_type(variable.type)
    if isinstance(declared, Instance):
        return declared.type if declared.type.has_base(_PIPELINE) else None
    # Not inferred yet: its module is being analysed together with this one. Look at what is assigned.
    for statement in _statements_that_may_assign(variable, context):
        if isinstance(statement, AssignmentStmt) and _assigns(statement, variable):
            return _class_called(statement.rvalue, context)
    return None


def _dotted(expression: Expression) -> str | None:
    if isinstance(expression, NameExpr):
        return expression.name
    within = _dotted(expression.expr) if isinstance(expression, MemberExpr) else None
    return f"{within}.{expression.name}" if within and isinstance(expression, MemberExpr) else None


def _statements_that_may_assign(variable: Var, context: ClassDefContext) -> Iterable[Statement]:
    assert isinstance(context.api, SemanticAnalyzer)
    for function in reversed(context.api.function_stack):
        yield from getattr(getattr(function, "body", None), "body", ())
    module = context.api.modules.get(variable.fullname.rpartition(".")[0])
    yield from module.defs if module is not None else ()


def _assigns(statement: AssignmentStmt, variable: Var) -> bool:
    return any(isinstance(target, NameExpr) and target.node is variable for target in statement.lvalues)


def _class_called(expression: Expression, context: ClassDefContext) -> TypeInfo | None:
    if not isinstance(expression, CallExpr) or not isinstance(expression.callee, RefExpr):
        return None
    node = expression.callee.node
    return node if isinstance(node, TypeInfo) and node.has_base(_PIPELINE) else None
