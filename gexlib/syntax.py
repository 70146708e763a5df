"""Which definitions of a package a piece of code depends on, read from the source alone: nothing is imported or run.

Names are followed from definition to definition and from module to module. Where a name may mean several things, all
of them count: better a definition too many than one too few.
"""

from __future__ import annotations

import ast
import hashlib
import symtable
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

#: Decorators that do nothing but change what they decorate; any other may enter it somewhere, as in a registry.
PURE = {
    "cache",
    "cached_property",
    "classmethod",
    "contextmanager",
    "dataclass",
    "lru_cache",
    "property",
    "staticmethod",
}
EFFECTS = "<statements>"  # what a module runs besides binding names
ALL = "*"
Name = tuple[str, str]  # module, name in it


class Part(NamedTuple):
    """Definition at the top of a module: a digest of its code, and the names it refers to."""

    digest: str
    refers_to: tuple[Name, ...]


def reachable(package: Path, module: str, roots: Iterable[str], outside: tuple[str, ...] = ()) -> dict[str, str]:
    """Find all that some definitions depend on.

    Parameters
    ----------
    package : Path
        Folder of the package.
    module : str
        Dotted name below it, or path of a file elsewhere, of the module that holds the roots.
    roots : iterable of str
        Definitions to begin with; those that are not there are left out.
    outside : tuple of str
        Beginnings of paths below the package that are not followed.

    Returns
    -------
    dict of str to str
        "module.name" and 12 hexadecimal digits of its code, sorted by name. Comments, docstrings and layout do not
        count.
    """
    found: dict[str, str] = {}
    pending, seen = [(module, root) for root in roots], set()
    while pending:
        where, name = pending.pop()
        path = Path(where) if where.endswith(".py") else _file(package, where)
        if (where, name) in seen or path is None or _inside(package, path).startswith(outside):
            continue
        seen.add((where, name))
        parts, imports = _read(package, path, where, path.stat().st_mtime_ns)
        if name in imports and name not in parts:
            pending += imports[name]
        for part in parts if name == ALL else {name, EFFECTS} & parts.keys():
            found[f"{Path(where).stem if where.endswith('.py') else where}.{part}"] = parts[part].digest
            pending += parts[part].refers_to
    return dict(sorted(found.items()))


def _file(package: Path, module: str) -> Path | None:
    """File of a module of the package; None where there is none."""
    inside = package.joinpath(*filter(None, module.split(".")))
    return next((path for path in (inside.with_suffix(".py"), inside / "__init__.py") if path.is_file()), None)


def _inside(package: Path, path: Path) -> str:
    return path.relative_to(package).as_posix() if path.is_relative_to(package) else ""


@lru_cache(maxsize=256)
def _read(package: Path, path: Path, module: str, changed: int) -> tuple[dict[str, Part], dict[str, list[Name]]]:
    """Parse a module: what it binds at its top and does besides, by name; what its imported names mean."""
    text = path.read_text()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]  # a docstring
    imports, stars = _imports(package, tree)
    scopes: dict[str, set[str]] = {}
    for scope in symtable.symtable(text, str(path), "exec").get_children():
        scopes.setdefault(scope.get_name(), set()).update(_taken(scope))
    statements: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            bound = _bound(statement)
            for name in bound | ({EFFECTS} if not bound or _has_effect(statement) else set()):
                statements.setdefault(name, []).append(statement)
    parts = {}
    for name, of_name in statements.items():
        refers_to = {target for one in of_name for target in _refers_to(one, module, imports, scopes)} | set(stars)
        digest = hashlib.sha256("\n".join(map(_text, of_name)).encode()).hexdigest()[:12]
        parts[name] = Part(digest, tuple(sorted(refers_to)))
    return parts, {name: [(where, what or ALL)] for name, (where, what) in imports.items()} | {
        name: stars for name in (ALL,) if stars
    }


def _imports(package: Path, tree: ast.Module) -> tuple[dict[str, Name], list[Name]]:
    """Say what imported names mean: (module, name) or (module, "") for a module itself; and what ``*`` brings."""
    named, stars = {}, []
    of_package = f"{package.name}."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(of_package):
                    module = alias.name.removeprefix(of_package)
                    if alias.asname:
                        named[alias.asname] = (module, "")
                    else:
                        stars.append((module, ALL))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(of_package):
            module = node.module.removeprefix(package.name).removeprefix(".")
            for alias in node.names:
                below = f"{module}.{alias.name}".removeprefix(".")
                if alias.name == "*":
                    stars.append((module, ALL))
                else:
                    named[alias.asname or alias.name] = (below, "") if _file(package, below) else (module, alias.name)
    return named, stars


def _taken(scope: symtable.SymbolTable) -> set[str]:
    """Names that a function or class, or one inside it, has from its module or by an import."""
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() or symbol.is_imported()}
    return own.union(*map(_taken, scope.get_children()))


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement binds at the top of its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        nodes = [node for target in targets for node in ast.walk(target)]
        return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    inner = (child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt | ast.excepthandler))
    return set().union(*(_bound(child) for child in inner))


def _has_effect(statement: ast.stmt) -> bool:
    """Whether a statement that binds names may do more than that."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        called = [node.func if isinstance(node, ast.Call) else node for node in statement.decorator_list]
        return not {getattr(node, "attr", getattr(node, "id", "")) for node in called} <= PURE
    if isinstance(statement, ast.Assign):
        return not all(isinstance(target, ast.Name | ast.Tuple) for target in statement.targets)
    return not isinstance(statement, ast.AnnAssign)


def _refers_to(
    statement: ast.stmt, module: str, imports: dict[str, Name], scopes: dict[str, set[str]]
) -> Iterator[Name]:
    """Yield what a statement at the top of a module refers to; a function's own names are not the module's."""
    attributes = {id(node.value): node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)}
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        head = [*statement.decorator_list, *getattr(statement, "bases", ()), *getattr(statement, "keywords", ())]
        if not isinstance(statement, ast.ClassDef):
            head += [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
        outer = {node.id for part in head for node in ast.walk(part) if isinstance(node, ast.Name)}
        names = [node for node in names if node.id in scopes.get(statement.name, set()) | outer]
    for node in names:
        where, name = imports.get(node.id, (module, node.id))
        yield where, name or attributes.get(id(node), ALL)  # a module: an attribute of it, or else any of them


def _text(node) -> str:
    """Return a syntax tree as text, without positions, and the same for every version of Python."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(f'{name}={_text(value)}' for name, value in fields)})"
    return f"[{', '.join(map(_text, node))}]" if isinstance(node, list) else repr(node)
