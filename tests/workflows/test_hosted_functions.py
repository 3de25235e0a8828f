"""Functions of a file become an app's, with an agent beside them or none."""

import pytest

from corral import App
from corral.errors import ConfigError
from corral.server.loading import load_app
from corral.settings.sections import Settings
from corral.workflows.functions import Function, Functions


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_handlers_is_an_app(here):
    (here / "handlers.py").write_text("def greet(event, context):\n    return event\n\nFUNCTIONS = {'greet': greet}\n")
    app = load_app("handlers.py")
    assert app.name == "handlers"
    assert [(one.name, one.context) for one in app.functions] == [("greet", "lambda")]
    assert app.build(Settings()).app is app


def test_handlers_join_the_app_of_their_file(here):
    (here / "both.py").write_text(
        "from corral import App\napp = App('both')\n\n@app.function\ndef own(event):\n    return 1\n\n"
        "def other(event, context):\n    return 2\n\nFUNCTIONS = {'other': other, 'own': other}\n"
    )
    app = load_app("both.py")
    assert app.name == "both"
    assert [(one.name, one.context) for one in app.functions] == [("own", "own"), ("other", "lambda")]
    assert [one.name for one in load_app("both.py:app").functions] == ["own", "other"]


def test_an_app_of_functions_alone_needs_no_agent():
    app = App()

    @app.function(name="add-up", concurrency=2, timeout_s=5, queue="sums", retries=1)
    def add_up(event):
        return sum(event)

    assert add_up([1, 2]) == 3, "the function itself stays as it is"
    function = app.functions.find("add-up")
    assert (function.concurrency, function.timeout_s, function.queue, function.retries) == (2, 5, "sums", 1)
    assert app.build(Settings()).app is app


@pytest.mark.parametrize(
    ("name", "bounds", "said"),
    [
        ("add up", {}, "1 to 64 letters"),
        ("one", {}, "two functions named 'one'"),
        ("two", {"concurrency": 0}, "`concurrency`"),
        ("two", {"retries": -1}, "`retries`"),
        ("two", {"timeout_s": 0}, "`timeout_s`"),
        ("two", {"fn": "text"}, "cannot be called"),
    ],
)
def test_what_cannot_be_registered(name, bounds, said):
    functions = Functions()
    functions.add(Function(name="one", fn=len))
    with pytest.raises(ConfigError, match=said):
        functions.add(Function(**{"name": name, "fn": len, **bounds}))


def test_who_names_none_hears_which_there_are():
    functions = Functions()
    functions.add(Function(name="classify", fn=len))
    assert "did you mean 'classify'" in functions.near("clasify")
    assert "there is: classify" in functions.near("nothing-like-it")


@pytest.mark.parametrize(
    ("fn", "takes"),
    [
        (lambda: 0, 0),
        (lambda event: event, 1),
        (lambda event, context: event, 2),
        (lambda event, context=None, more=None: event, 2),
        (lambda *given: given, 2),
        (lambda event, *, key=1: event, 1),
        (len, 1),
        (print, 2),
        (min, 1),
    ],
)
def test_what_a_function_takes(fn, takes):
    assert Function(name="it", fn=fn).arguments == takes
