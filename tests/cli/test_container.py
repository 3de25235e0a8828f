from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from corral import __version__
from corral.cli.container import PYTHON_IMAGES, UV_VERSION
from corral.cli.failure import Exit


def dockerfile():
    return Path("Dockerfile").read_text()


def compose():
    return yaml.safe_load(Path("compose.yaml").read_text())


def test_the_image(project, corral):
    done = corral("container")
    assert done.status == 0
    assert "docker compose up" in done.out
    text = dockerfile()
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert images == [f"ghcr.io/astral-sh/uv:{UV_VERSION}", *[f"python:{PYTHON_IMAGES['3.11']}"] * 2]
    assert not [image for image in images if not re.search(r":\d+\.\d+\.\d+", image)]  # every one pinned
    assert f'uv pip install "corral=={__version__}"' in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^EXPOSE 8080$", text, re.MULTILINE)
    assert "http://127.0.0.1:8080/ping" in text
    assert 'ENTRYPOINT ["corral", "serve", "--host", "0.0.0.0", "--port", "8080"]' in text
    assert "CORRAL_SECURITY_API_KEYS" in text
    assert "CORRAL_SECURITY_ALLOW_UNAUTHENTICATED" in text
    assert "${" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert text.index("USER 10001") < text.index("ENTRYPOINT [")


def test_compose(project, corral):
    assert corral("container").status == 0
    content = compose()
    assert list(content["services"]) == ["app"]
    app = content["services"]["app"]
    assert app["ports"] == ["8080:8080"]
    assert app["read_only"] is True
    assert app["environment"]["CORRAL_SECURITY_API_KEYS"].startswith('[{"key": "${CORRAL_API_KEY:?')
    assert app["volumes"] == ["corral:/app/.corral"]
    assert "corral" in content["volumes"]


def test_compose_with_postgres(project, corral):
    done = corral("container", "--postgres")
    assert done.status == 0
    services = compose()["services"]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])
    assert "@postgres/corral" in services["app"]["environment"]["CORRAL_STORE_URL"]
    assert services["app"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "corral[postgres]==" in dockerfile()


def test_as_json(project, corral):
    content = corral("container", "--json").json
    assert content == {
        "written": ["Dockerfile", "compose.yaml", ".dockerignore"],
        "installs": f"corral=={__version__}",
        "image": "here",
    }


def test_a_lock_file_decides(project, corral):
    Path("pyproject.toml").write_text("")
    Path("uv.lock").write_text("")
    done = corral("container", "--postgres")
    assert "what uv.lock says" in done.out
    assert "corral[postgres]" in done.err  # the lock names no driver
    text = dockerfile()
    assert "COPY pyproject.toml uv.lock ./\n" in text
    assert "uv sync --locked --no-dev --no-install-project" in text


@pytest.mark.parametrize(
    ("requirements", "added"), [("corral==0.1.0\nrequests\n", ""), ("requests\n", f' "corral=={__version__}"')]
)
def test_requirements_decide(project, corral, requirements, added):
    Path("requirements.txt").write_text(requirements)
    assert corral("container").status == 0
    assert f"uv pip install -r requirements.txt{added}\n" in dockerfile()


def test_corral_from_a_wheel(project, corral):
    assert corral("container", "--corral", "dist/corral-0.1.0-py3-none-any.whl").status == 0
    assert "COPY dist/corral-0.1.0-py3-none-any.whl ./\n" in dockerfile()
    assert 'uv pip install "./corral-0.1.0-py3-none-any.whl"' in dockerfile()


def test_the_settings_name_image_python_and_memory(project, corral):
    Path("corral.yaml").write_text("name: My Shop!\nagentcore:\n  runtime: PYTHON_3_12\n  memory: 512\n")
    assert corral("container", "--json").json["image"] == "my-shop"
    assert f"python:{PYTHON_IMAGES['3.12']}" in dockerfile()
    assert compose()["services"]["app"]["mem_limit"] == "512m"


def test_secrets_stay_out_of_the_image(project, corral):
    assert corral("container").status == 0
    ignored = Path(".dockerignore").read_text().splitlines()
    assert ".*" in ignored  # .env, .git, .corral, .venv


def test_nothing_is_overwritten_unasked(project, corral):
    Path("Dockerfile").write_text("mine")
    done = corral("container")
    assert done.status == Exit.FAILED
    assert dockerfile() == "mine"
    assert not Path("compose.yaml").exists()
    assert corral("container", "--force").status == 0
    assert dockerfile() != "mine"
