"""Load the user's file and find the app in it. What goes wrong there is shown as the user's own traceback."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from corral.errors import AppLoadError

_AGENT_METHODS = ("astream", "stream_async", "run_stream")


def load_app(target: str) -> Any:
    """The `App` that `agents.py`, `path/agents.py:name` or `package.module:name` stands for."""
    where, _, attribute = target.partition(":")
    module = _load_file(Path(where)) if where.endswith(".py") or Path(where).is_file() else _load_module(where)
    return _find(module, where, attribute)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppLoadError(f"There is no file {path}. Name the file with your agents, or make one with `corral init`.")
    path = path.resolve()
    _put_on_path(path.parent)
    _put_on_path(Path.cwd())
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppLoadError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise _load_error(str(path.name), error) from error
    return module


def _load_module(name: str) -> ModuleType:
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppLoadError(
                f"There is no module {name!r} here. Name a file (`agents.py`), or a module that Python can import "
                f"from {Path.cwd()} (`package.module:app`)."
            ) from None
        raise _load_error(name, error) from error
    except BaseException as error:
        raise _load_error(name, error) from error


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _load_error(what: str, error: BaseException) -> AppLoadError:
    return AppLoadError(f"{what} could not be loaded:\n\n{users_traceback(error)}".rstrip())


def users_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on, without ours and the import system's."""
    frames = traceback.extract_tb(error.__traceback__)
    house = str(Path(__file__).parent.parent)
    kept = list(frames)
    while kept and (kept[0].filename.startswith((house, "<frozen importlib")) or "/importlib/" in kept[0].filename):
        kept.pop(0)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept)] if kept else []
    return "".join([*lines, *traceback.format_exception_only(error)])


def _find(module: ModuleType, where: str, attribute: str) -> Any:
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            raise AppLoadError(f"{where} has no {attribute!r}.")
        if not _is_app(found):
            raise AppLoadError(f"{attribute!r} in {where} is a {type(found).__name__}, not a corral.App.")
        return found
    apps = {name: value for name, value in vars(module).items() if _is_app(value)}
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
    for name, value in vars(module).items():
        if not name.startswith("_") and any(hasattr(type(value), method) for method in _AGENT_METHODS):
            return f"It has {name!r}, so add: `from corral import App`, `app = App()`, `app.add({name})`."
    return "Add: `from corral import App`, `app = App()`, and decorate your function with `@app.entrypoint`."
