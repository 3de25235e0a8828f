from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def own_certificate(tmp_path_factory) -> Path:
    """A certificate of 127.0.0.1 with its key, signed by itself."""
    folder = tmp_path_factory.mktemp("own-certificate")
    both = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    try:
        subprocess.run([*command, *names, "-keyout", both, "-out", folder / "c.pem"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    both.write_bytes(both.read_bytes() + (folder / "c.pem").read_bytes())
    return both
