"""Makes the mutants of a module: copies of its code with one change each, by Cosmic Ray's operators."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SWAPS = {
    "ReplaceBinaryOperator": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Div Mod_Mul Pow_Mul BitOr_BitAnd BitAnd_BitOr",
    "ReplaceComparisonOperator": "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt "
    "Is_IsNot IsNot_Is In_NotIn NotIn_In",
    "ReplaceUnaryOperator": "USub_UAdd Delete_Not Delete_Invert",
}
OTHERS = (
    "AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue "
    "ReplaceContinueWithBreak ExceptionReplacer NumberReplacer ZeroIterationForLoop"
)


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    change: str  # "line before -> line after": identifies the mutant even if the line moves
    code: str  # the whole module


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module, equal ones once."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    names = [f"core/{kind}_{swap}" for kind, swaps in SWAPS.items() for swap in swaps.split()]
    names += [f"core/{name}" for name in OTHERS.split()]
    left_out, seen = ranges_left_out(source), set()
    for name in [name for name in names if name in operator_names()]:
        operator = get_operator(name)()
        places = [place for node in ast_nodes(get_ast(source)) for place in operator.mutation_positions(node)]
        for number, (start, _) in enumerate(places):
            if any(first <= start < last for first, last in left_out):
                continue
            code = mutate_code(source, operator, number)
            if code is not None and code not in seen and code != source:
                seen.add(code)
                yield Mutant(change(source, code, start[0]), code)


def ranges_left_out(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(line, column) from and to of code without an effect at run time.

    These are annotations, decorators of classes, imports for annotations only, and strict= of zip, which only guards
    against mistakes in this project.
    """
    found: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            found += node.decorator_list
        elif isinstance(node, ast.FunctionDef) and node.returns:
            found.append(node.returns)
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            found += node.keywords
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in found]


def change(source: str, code: str, line: int) -> str:
    """The changed line before and after; for equal lines also their number."""
    before, after = source.splitlines(), code.splitlines()
    at = next((n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), line - 1)
    text, same = before[at].strip(), [old.strip() for old in before[:at]].count(before[at].strip())
    return f"{text}  ->  {after[at].strip()}" + (f"  (line {same + 1} of this text)" if same else "")
