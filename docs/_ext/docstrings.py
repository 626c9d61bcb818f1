"""For Sphinx: the docstrings of this project, which are Markdown, and links from code to its entry.

A docstring holds paragraphs, `code`, lists, and examples that are indented by four. Where a paragraph
begins with a parameter, as in "`port`: 25 by default. `tls`: TLS from the start.", it becomes a list of
parameters.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, wraps
from operator import attrgetter
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

_DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|function|data)::\s+([\w.]+)", re.MULTILINE)
_CODE = re.compile(r"(`+)(.+?)\1")
_ITEM = re.compile(r"[*-] ")
_SPECIAL = re.compile(r"[*|\\]|_(?!\w)")


@cache
def documented() -> dict[str, None]:
    """The public names of which the reference says something, in order."""
    pages = sorted(Path(__file__).parents[1].rglob("*.md"))
    return dict.fromkeys(
        name for page in pages for name in _DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    )


def find(name: str) -> Any:
    """What `module.name` is. Raises `LookupError` if there is nothing."""
    module, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), last)
    except (ImportError, AttributeError, ValueError):
        raise LookupError(name) from None


@cache
def _homes() -> dict[str, str]:
    """Where something is defined, to the name that is documented."""
    homes: dict[str, str] = {}
    for name in documented():
        value = find(name)
        module = getattr(value, "__module__", "")
        homes.setdefault(f"{module}.{name.rpartition('.')[2]}", name)
    return homes


def target_of(text: str, module: str) -> str | None:
    """The documented name that `text` means in a docstring of `module`, if it means one."""
    name = text.removesuffix("()")
    homes, parents = _homes(), [module, module.rpartition(".")[0], "smtp_proto"]
    for candidate in (name, *(f"{parent}.{name}" for parent in parents)):
        if candidate in documented():
            return candidate
        if candidate in homes:
            return homes[candidate]
        owner, _, member = candidate.rpartition(".")
        owner = owner if owner in documented() else homes.get(owner, "")
        if owner and hasattr(find(owner), member):
            return f"{owner}.{member}"
    return None


def to_rest(lines: list[str], parameters: frozenset[str] = frozenset(), module: str = "") -> list[str]:
    """The lines of a docstring in reStructuredText."""
    rest: list[str] = []
    for paragraph in _paragraphs(lines):
        if all(line.startswith("    ") or not line for line in paragraph):
            rest += ["::", "", *paragraph, ""]
        elif _ITEM.match(paragraph[0]):
            rest += [*(f"* {_inline(item, module)}" for item in _items(paragraph)), ""]
        else:
            text = " ".join(paragraph)
            for part in re.split(r"(?<=[.;] )(?=Raises )", text):
                rest += [*_listed(part.strip(), parameters, module), ""]
    return rest


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """What stands between blank lines; one example is one of them, and so is what leads to it."""
    block: list[str] = []
    for line in [*lines, ""]:
        is_code = bool(block) and all(other.startswith("    ") or not other for other in block)
        if not line.strip() and is_code:
            block.append("")
        elif (not line.strip() and block) or (is_code and not line.startswith("    ")):
            yield _stripped(block)
            block = [line] if line.strip() else []
        elif line.strip():
            block.append(line)
    if any(block):
        yield _stripped(block)


def _items(paragraph: list[str]) -> list[str]:
    """The items of a list, each in one line."""
    items: list[str] = []
    for line in paragraph:
        if _ITEM.match(line):
            items.append(line[2:])
        else:
            items[-1] += f" {line.strip()}"
    return items


def _stripped(block: list[str]) -> list[str]:
    while not block[-1]:
        block = block[:-1]
    return block


def _listed(text: str, parameters: frozenset[str], module: str) -> list[str]:
    """A paragraph, its parameters as a list."""
    known = "|".join(map(re.escape, sorted(parameters))) or "(?!)"
    name = rf"`(?:\*\*?)?(?:{known})`"
    parts = re.split(rf"(?:^|(?<=[.;] ))({name}(?:(?:,| and) {name})*): ", text)
    rest = [_inline(parts[0], module)] if parts[0] else []
    if len(parts) > 1:
        rest.append("")
    for names, said in zip(parts[1::2], parts[2::2], strict=True):
        meaning = _inline(said.strip().removesuffix(";").removesuffix("."), module)
        meaning = meaning[:1].upper() + meaning[1:]
        rest += [f":param {one}: {meaning}." for one in re.findall(r"`\**(\w+)`", names)]
    return rest


def _inline(text: str, module: str) -> str:
    """`text` with its code marked."""
    pieces, end = [], 0
    for match in _CODE.finditer(text):
        pieces += [_plain(text[end : match.start()]), _marked(match[2], module)]
        end = match.end()
        if text[end : end + 1].isalnum():
            pieces.append("\\ ")
    return "".join([*pieces, _plain(text[end:])])


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _marked(code: str, module: str) -> str:
    target = target_of(code, module)
    if target:
        return f":py:obj:`{code} <{target}>`"
    return f"``{code.strip()}``"


def _parameters(value: Any) -> frozenset[str]:
    """What `value` takes."""
    names = set(getattr(value, "_fields", ())) if isinstance(value, type) else set()
    with suppress(TypeError, ValueError):
        names |= set(inspect.signature(value).parameters)
    return frozenset(name for name in names if isinstance(name, str))


def _process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    module = getattr(value, "__module__", None) or ".".join(name.split(".")[:2])
    if what == "data":
        lines[:] = _said_of_constant(name.rpartition(".")[2], value)
    owner = next((known for known in documented() if name == known or name.startswith(f"{known}.")), "")
    home = owner.rpartition(".")[0] or str(module)
    lines[:] = to_rest(lines, _parameters(value), home)


@cache
def _by_last_name() -> dict[str, str]:
    """Classes whose name says it all, to the names under which they are documented."""
    names: dict[str, list[str]] = {}
    for name in documented():
        names.setdefault(name.rpartition(".")[2], []).append(name)
    del names["Message"]  # on most pages that of the `email` package
    return {last: found[0] for last, found in names.items() if len(found) == 1 and last[0].isupper()}


def _link_code(app: Sphinx, doctree: nodes.document) -> None:
    """Let code in a page, such as `Limits.errors`, lead to its entry, without a word in the page's source."""
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext().removesuffix("()")
        first, dot, rest = text.partition(".")
        target = target_of(_by_last_name().get(first, first) + dot + rest, "")
        inside = (nodes.reference, addnodes.pending_xref, addnodes.desc, nodes.title)
        is_name = target and target.startswith("smtp_") and (first[:1].isupper() or dot)
        if is_name and not _is_in(literal, inside):
            options = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True}
            link = addnodes.pending_xref("", refdoc=app.env.docname, refwarn=True, **options)
            literal.replace_self(link)
            link += literal


def _is_in(node: nodes.Node | None, kinds: tuple[type, ...]) -> bool:
    while node is not None and not isinstance(node, kinds):
        node = node.parent
    return node is not None


def _import_for_annotations(module: ModuleType) -> None:
    """Import what `module` imports for type checkers alone: annotations with it can be named then."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module.__name__, "exec"), vars(module))


def _said(module: str) -> dict[tuple[str, str], list[str]]:
    """What stands below the attributes and constants of a module."""
    said: dict[tuple[str, str], list[str]] = ModuleAnalyzer.for_module(module).find_attr_docs()
    return said


def _describe_fields(cls: type) -> None:
    """Let the fields of messages and tuples tell their types and what is said below them."""
    said = _said(cls.__module__)
    for name, annotation in list(vars(cls).get("__annotations__", {}).items()):
        field, text = vars(cls).get(name), "\n".join(said.get((cls.__qualname__, name), ())) or None
        if isinstance(field, property) and isinstance(field.fget, attrgetter):
            getter = _function(field.fget, vars(sys.modules[cls.__module__]))
            getter.__annotations__ = {"return": annotation}
            setattr(cls, name, property(getter, doc=text))
        elif type(field).__name__ == "_tuplegetter":
            field.__doc__ = text


def _function(getter: Callable[[Any], Any], names: dict[str, Any]) -> FunctionType:
    """`getter` as a function in which these names have a meaning; the class goes on working with it."""

    def get(self: Any) -> Any:
        return getter(self)

    return FunctionType(get.__code__, names, closure=get.__closure__)


def _unbound(method: MethodType) -> Callable[..., Any]:
    """`method` as a function: of a method's arguments Sphinx loses one."""

    @wraps(method.__func__)
    def call(*arguments: Any, **named: Any) -> Any:
        return method(*arguments, **named)

    return call


def _said_of_constant(name: str, value: Any) -> list[str]:
    """What stands below a constant where it is made."""
    for module in _own_modules():
        if vars(module).get(name) is value and (said := _said(module.__name__).get(("", name))):
            return said
    return []


def _own_modules() -> list[ModuleType]:
    return [
        module for name, module in sorted(sys.modules.items()) if name.startswith(("smtp_proto", "smtp_t"))
    ]


def _name_defaults(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Write defaults that have no literal by their names."""
    if signature is None:
        return None
    if signature == "(*args, **kwargs)":  # of a protocol
        return "", returns
    signature = signature.replace("(self, ", "(")
    return re.sub(r"<(?:\w[\w-]* )*([\w.]+)>", r"\1", signature.replace("<factory>", "...")), returns


def _resolve(app: Sphinx, env: Any, node: nodes.Element, contnode: nodes.Element) -> nodes.Element | None:
    """A link to what was defined in a private module goes to its public name."""
    if node.get("refdomain") != "py":
        return None
    wanted = node["reftarget"]
    target = target_of(wanted, node.get("py:module") or "smtp_proto")
    if target is None:
        return None
    # A field that only the docstring of its class speaks of is found there.
    for name in (target, target.rpartition(".")[0]):
        args = (env, node["refdoc"], app.builder, "obj", name, node, contnode)
        link: nodes.Element | None = env.domains.python_domain.resolve_xref(*args)
        if link is not None:
            return link
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for name in documented():
        find(name)
    for module in _own_modules():
        _import_for_annotations(module)
    for name in documented():
        if inspect.ismethod(method := find(name)):
            home, _, last = name.rpartition(".")
            setattr(sys.modules[home], last, _unbound(method))
    owners = [value for value in map(find, documented()) if isinstance(value, type)]
    for cls in {cls for owner in owners for cls in owner.__mro__}:
        if cls.__module__.startswith("smtp_"):
            _describe_fields(cls)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _name_defaults)
    app.connect("doctree-read", _link_code)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
