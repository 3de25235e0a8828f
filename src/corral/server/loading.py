"""Load the user's file and find the app in it. What goes wrong there is shown as the user's own traceback."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from corral.errors import AppLoadError

_AGENT_METHODS = ("astream", "stream_async", "run_stream", "invoke")
_FOUND_MAX = 8
_FUNCTIONS = "FUNCTIONS"
"""What a file calls the functions that tasks of workflows call: name to handler."""
_HOST = "corral.hosting"
"""Makes an app of functions alone. It stands above this, as the user's file does, and is loaded as that is."""

_loading = False


def load_app(target: str) -> Any:
    """The `App` that `agents.py`, `path/agents.py:name` or `package.module:name` stands for."""
    where, _, attribute = target.partition(":")
    with _only_loading():
        module = _load_file(Path(where)) if where.endswith(".py") or Path(where).is_file() else _load_module(where)
    return _with_functions(module, where, attribute)


def is_loading() -> bool:
    """Whether the user's file is being loaded right now: nothing is to be served from within it."""
    return _loading


@contextlib.contextmanager
def _only_loading() -> Iterator[None]:
    global _loading  # noqa: PLW0603 - a process loads one app, and the file that is loaded cannot be handed anything
    _loading = True
    try:
        yield
    finally:
        _loading = False


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppLoadError(f"There is no file {path}. Name the file with your agents, or make one with `corral init`.")
    path = path.resolve()
    folder, name = path.parent, path.stem
    package: list[str] = []
    while (folder / "__init__.py").is_file():  # part of a package: its relative imports must work
        package.insert(0, folder.name)
        folder = folder.parent
    _put_first(Path.cwd())
    _put_first(folder)
    if package:
        return _import(".".join([*package, name]))
    if name in sys.modules:  # a file called like a module that is in use already must not take its place
        name = f"{name}_of_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsItIsNow(name, str(path)))
    if spec is None or spec.loader is None:
        raise AppLoadError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _load_error(path.name, error) from error
    return module


class _AsItIsNow(SourceFileLoader):
    """Reads the file itself. What Python kept of it counts as fresh if the file is as long as before, and no second has gone by."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile it."""
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_module(name: str) -> ModuleType:
    _put_first(Path.cwd())
    return _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppLoadError(
                f"There is no module {name!r} here. Name a file (`agents.py`), or a module that Python can import "
                f"from {Path.cwd()} (`package.module:app`)."
            ) from None
        raise _load_error(name, error) from error
    except BaseException as error:
        raise _load_error(name, error) from error


def _put_first(folder: Path) -> None:
    with contextlib.suppress(ValueError):
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _load_error(what: str, error: BaseException) -> AppLoadError:
    if isinstance(error, AppLoadError):
        return AppLoadError(f"{what} could not be loaded: {error.message}")
    hint = ""
    if isinstance(error, SystemExit):
        hint = "\n\nThe file ends the program while it is loaded: put that under `if __name__ == '__main__':`."
    return AppLoadError(f"{what} could not be loaded:\n\n{users_traceback(error).rstrip()}{hint}")


def users_traceback(error: BaseException) -> str:
    """The traceback without the frames that are ours or the import system's, on either end."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    while part is not None:
        frames = list(part.stack)
        while frames and _is_ours(frames[0]):
            frames.pop(0)
        while frames and _is_ours(frames[-1]):
            frames.pop()
        part.stack = traceback.StackSummary.from_list(frames)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(told.format())


def _is_ours(frame: traceback.FrameSummary) -> bool:
    house = str(Path(__file__).parent.parent)
    return frame.filename.startswith((house, "<frozen ")) or "/importlib/" in frame.filename


def _with_functions(module: ModuleType, where: str, attribute: str) -> Any:
    """The app, and what the file calls `FUNCTIONS` in it; of a file that has no app, an app of those alone."""
    handlers = getattr(module, _FUNCTIONS, None)
    if not isinstance(handlers, dict):
        return _find(module, where, attribute)
    if not attribute and not any(map(_is_app, vars(module).values())):
        return importlib.import_module(_HOST).host(Path(where).stem, handlers)
    app = _find(module, where, attribute)
    new = {name: handler for name, handler in handlers.items() if app.functions.find(name) is None}
    app.functions.add_handlers(new)
    return app


def _find(module: ModuleType, where: str, attribute: str) -> Any:
    apps = {name: value for name, value in vars(module).items() if _is_app(value)}
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            named = f" It has {', '.join(map(repr, apps))}." if apps else f" {_hint(module)}"
            raise AppLoadError(f"{where} has no {attribute!r}.{named}")
        if not _is_app(found):
            raise AppLoadError(f"{attribute!r} in {where} is a {type(found).__name__}, not a corral.App.")
        return found
    if "app" in apps:
        return apps["app"]
    if len({id(app) for app in apps.values()}) == 1:
        return next(iter(apps.values()))
    if apps:
        raise AppLoadError(f"{where} has several apps ({', '.join(apps)}): name one, `{where}:{next(iter(apps))}`.")
    raise AppLoadError(f"{where} has no corral.App. {_hint(module)}")


def _is_app(value: object) -> bool:
    return getattr(type(value), "__corral_app__", False) is True


def _hint(module: ModuleType) -> str:
    """What to add, seen from what is there."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_") and _is_own(module, value)}
    for name, value in own.items():
        if _is_agent(value):
            return f"It has {name!r}, so add: `from corral import App`, `app = App()`, `app.add({name})`."
    functions = [name for name, value in own.items() if inspect.isfunction(value)]
    if len(functions) == 1:
        return (
            f"It has a function {functions[0]!r}, so add: `from corral import App`, `app = App()`, and write "
            f"`@app.entrypoint` over `def {functions[0]}`."
        )
    listed = ", ".join([*own][:_FOUND_MAX]) + (", …" if len(own) > _FOUND_MAX else "")
    what = f"It defines {listed}." if own else "It defines nothing."
    return f"{what} Add: `from corral import App`, `app = App()`, and `@app.entrypoint` over your function."


def _is_own(module: ModuleType, value: object) -> bool:
    """Whether a value was made in the file, as far as one can tell, rather than imported by it."""
    if isinstance(value, ModuleType):
        return False
    if inspect.isfunction(value) or inspect.isclass(value):
        return value.__module__ == module.__name__
    return not callable(value) or _is_agent(value)


def _is_agent(value: object) -> bool:
    return any(callable(getattr(type(value), method, None)) for method in _AGENT_METHODS)
