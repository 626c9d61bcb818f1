"""The law of the two colours: what is written for threads and for coroutines is one text but for `async` and
`await`, so that a fault is in both or in neither; and every adapter takes the same arguments.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import smtp_transports
from smtp_transports import blocking
from smtp_transports._client import AsyncClient, Client
from smtp_transports._run import AsyncDriver, Driver
from smtp_transports._server import AsyncServer, Server

FOLDER = Path(smtp_transports.__file__).parent

# What has another name for coroutines.
PLAIN = {
    "AsyncDriver": "Driver",
    "AsyncStream": "Stream",
    "AsyncClient": "Client",
    "AsyncPool": "Pool",
    "AsyncServer": "Server",
    "AsyncServerStream": "ServerStream",
    "AsyncEvent": "Event",
    "AsyncListener": "Listener",
    "AsyncSlots": "Slots",
    "Tasks": "Threads",
    "_tasks": "_threads",
    "async_parts": "parts",
    "async_tokens": "tokens",
    "AsyncToken": "Token",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "AsyncExitStack": "ExitStack",
    "push_async_callback": "callback",
}


class Decolour(ast.NodeTransformer):
    """Makes the plain form of what is written for coroutines; annotations and docstrings go in both."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit(ast.FunctionDef(**dict(ast.iter_fields(node))))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = PLAIN.get(node.name, node.name)
        node.returns = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = PLAIN.get(node.name, node.name)
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            del node.body[0]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.Assign(targets=[node.target], value=node.value) if node.value is not None else None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = PLAIN.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = PLAIN.get(node.attr, node.attr)
        self.generic_visit(node)
        return node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.visit(ast.With(**dict(ast.iter_fields(node))))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.visit(ast.For(**dict(ast.iter_fields(node))))

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        self.generic_visit(node)
        return node


def plain(node: ast.AST) -> str:
    """The text without its colour."""
    return ast.unparse(ast.fix_missing_locations(Decolour().visit(node)))


def find(tree: ast.AST, name: str, *inside: str) -> Any:
    """The class or function of this name; `inside`: the names to go down before."""
    for outer in inside:
        tree = find(tree, outer)
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    (found,) = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == name]
    return found


def tree_of(file: str) -> ast.Module:
    return ast.parse((FOLDER / file).read_text("utf-8"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("_stream.py", "Stream"),
        ("_run.py", "Driver"),
        ("_client.py", "Client"),
        ("_pooling.py", "Event"),
        ("_pool.py", "Pool"),
        ("_server.py", "ServerStream"),
        ("_server.py", "Listener"),
        ("_server.py", "Slots"),
    ],
)
def test_what_coroutines_do_is_the_same_text(file: str, name: str) -> None:
    texts = []
    for kind in (f"Async{name}", name):
        found = find(tree_of(file), kind)
        # Of events there is one kind for threads, and none yet for coroutines; only these await an answer.
        bound = ("_make_event: ", "_awaited = ")
        found.body = [node for node in found.body if not ast.unparse(node).startswith(bound)]
        texts.append(plain(found))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("method", ["_serve", "close"])
def test_a_server_of_coroutines_is_the_same_text_where_it_can_be(method: str) -> None:
    texts = [plain(find(tree_of("_server.py"), method, kind)) for kind in ("AsyncServer", "Server")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("coloured", "expected"),
    [
        ("async def f(x: int) -> None:\n    'Doc.'\n    await g(x)", "def f(x):\n    g(x)"),
        ("async def f():\n    'Doc.'", "def f():\n    pass"),
        ("async def f():\n    async with a as b:\n        await c", "def f():\n    with a as b:\n        c"),
        ("async def f():\n    async for a in b:\n        await c", "def f():\n    for a in b:\n        c"),
        ("async def f():\n    return [await a async for a in b]", "def f():\n    return [a for a in b]"),
        (
            "class AsyncClient:\n    async def __aexit__(self): ...",
            "class Client:\n    def __exit__(self): ...",
        ),
        ("class A:\n    x: int\n    y: AsyncStream = AsyncStream()", "class A:\n    y = Stream()"),
        (
            "async def f():\n    return await anext(await self._tasks.a)",
            "def f():\n    return next(self._threads.a)",
        ),
    ],
)
def test_a_colour_is_taken_off_and_nothing_else(coloured: str, expected: str) -> None:
    text = plain(ast.parse(coloured))
    assert text == ast.unparse(ast.parse(expected))
    assert plain(ast.parse(text)) == text


@pytest.mark.parametrize(
    "other",
    [
        "def f(x, y):\n    return g(x)",
        "def f(x=1):\n    return g(x)",
        "def f(x):\n    return h(x)",
        "def f(x):\n    g(x)\n    return",
        "@property\ndef f(x):\n    return g(x)",
        "async def f(x):\n    return await g(await x, 1)",
    ],
)
def test_the_law_would_notice_a_difference(other: str) -> None:
    assert plain(ast.parse("async def f(x: int):\n    return await g(x)")) != plain(ast.parse(other))


# --- What can be called, and how


def methods(cls: type) -> dict[str, Any]:
    """The public methods, and those that make it and use it in a `with`."""
    special = ("__init__", "__enter__", "__exit__", "__aenter__", "__aexit__")
    return {
        PLAIN.get(name, name): member
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if name in special or not name.startswith("_")
    }


def signature(function: Any, *free: str) -> list[tuple[Any, ...]]:
    """Each parameter, and what is returned; the annotations of those in `free` left out."""
    shape = inspect.signature(function)
    parameters = [
        (one.name, one.kind, one.default, None if one.name in free else one.annotation)
        for one in shape.parameters.values()
    ]
    return [*parameters, (shape.return_annotation,)]


@pytest.mark.parametrize(
    ("coloured", "uncoloured"), [(AsyncDriver, Driver), (AsyncClient, Client)], ids=["Driver", "Client"]
)
def test_both_colours_can_be_called_in_the_same_way(coloured: type, uncoloured: type) -> None:
    theirs, ours = methods(coloured), methods(uncoloured)
    assert theirs.keys() == ours.keys()
    for name, function in ours.items():
        free = ("self", "body", "stream", "ask", "token")
        assert signature(theirs[name], *free) == signature(function, *free), name
        # What both inherit is the same function, and waits for nothing.
        assert inspect.iscoroutinefunction(theirs[name]) is (
            name != "__init__" and theirs[name] is not function
        ), name


def test_a_server_is_closed_in_the_same_way_in_both_colours() -> None:
    theirs, ours = methods(AsyncServer), methods(Server)
    assert theirs.keys() == ours.keys()
    assert signature(theirs["close"]) == signature(ours["close"])
    assert signature(theirs["__exit__"]) == signature(ours["__exit__"])


def adapter(name: str) -> ModuleType:
    """The module of this name, if it is written and what it needs is installed."""
    if not (FOLDER / f"{name}.py").exists():
        pytest.skip(f"smtp_transports.{name} is not written yet")
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return importlib.import_module(f"smtp_transports.{name}")


@pytest.mark.parametrize("function", ["connect", "serve"])
@pytest.mark.parametrize("name", ["asyncio", "trio", "gevent"])
def test_every_adapter_takes_the_same_arguments(name: str, function: str) -> None:
    theirs = signature(getattr(adapter(name), function), "stream")
    ours = signature(getattr(blocking, function), "stream")
    assert theirs[:-1] == ours[:-1]
