from __future__ import annotations

import pytest

from corral.errors import ConfigError
from corral.settings.load import load_settings


@pytest.fixture
def load(tmp_path):
    """Load from texts, an environment and flags, as if they were all there is."""

    def loaded(text=None, *, agentcore=None, env=None, flags=None, path=None):
        if text is not None:
            (tmp_path / "corral.yaml").write_text(text)
        if agentcore is not None:
            (tmp_path / ".bedrock_agentcore.yaml").write_text(agentcore)
        return load_settings(path, env=env or {}, flags=flags, directory=tmp_path)

    return loaded


@pytest.fixture
def faults(load):
    """The faults that loading finds, as `(source, key, message)`."""

    def found(text=None, **more):
        with pytest.raises(ConfigError) as caught:
            load(text, **more)
        assert all(str(fault["message"]) in caught.value.message for fault in caught.value.errors)
        return [(fault["source"], fault["key"], fault["message"]) for fault in caught.value.errors]

    return found
