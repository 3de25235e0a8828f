"""Where vectors come from: a model that runs here, a provider's, or a package's weights."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from corral.cache.semantic.onnx import OnnxEmbedder, check_packages
from corral.errors import ConfigError
from corral.messages import CallEmbedder, EmbedCall

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEY = "cache.semantic.embedder"
_ASK_S = 5.0


class Embedder(Protocol):
    """Places texts in a space of meanings. Each step of its life may come twice."""

    fingerprint: str
    """Which model it is, exactly; known once it was started. Vectors of another one are never compared with its own."""

    async def start(self) -> None:
        """Make ready."""
        ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length one for each text."""
        ...

    async def stop(self) -> None:
        """Give back what it holds."""
        ...


class AskedEmbedder:
    """A provider's model. What asking it costs is on the bill like any other call."""

    def __init__(self, model: str, ask: CallEmbedder) -> None:
        """`ask` is the way to embedders, with whatever stands around it."""
        self._model = model
        self._ask = ask
        self.fingerprint = hashlib.blake2b(model.encode(), digest_size=12).hexdigest()

    async def start(self) -> None:
        """Nothing to do: it is asked when it is needed."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Ask. Raises what a provider's failure raises, and `TimeoutError`."""
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

        async with asyncio.timeout(_ASK_S):
            reply = await self._ask(EmbedCall(model=self._model, texts=list(texts)))
        vectors = np.array(reply.vectors, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
        return unit

    async def stop(self) -> None:
        """Nothing to give back."""


def open_embedder(place: str, ask: CallEmbedder, *, said_as: str = _KEY) -> Embedder:
    """`onnx:FOLDER`, `package:NAME` or `provider/model`. Raises `ConfigError` for what cannot tell meanings apart, or is not there."""
    kind, colon, rest = place.partition(":")
    if kind == "onnx" and colon:
        return OnnxEmbedder(Path(rest).expanduser(), said_as=said_as)
    if kind == "package" and colon:
        return OnnxEmbedder(_folder_in(rest, said_as), said_as=said_as)
    if place == "sim" or place.startswith("sim/"):
        raise ConfigError(
            f"{said_as}: {place!r} places texts by their letters, not by what they mean; answers found with it would be wrong. Take a "
            "model: `onnx:FOLDER`, `package:NAME` or `provider/model`."
        )
    if "/" not in place:
        raise ConfigError(f"{said_as} is {place!r}: write `onnx:FOLDER`, `package:NAME` or `provider/model`.")
    check_packages(said_as)
    return AskedEmbedder(place, ask)


def _folder_in(package: str, said_as: str) -> Path:
    """Where an installed package keeps a model. Nothing of it is imported or run."""
    try:
        listed = files(package)
    except PackageNotFoundError as error:
        raise ConfigError(f"{said_as}: the package {package!r} is not installed.") from error
    folder = _model_folder(Path(str(one.locate())) for one in listed or ())
    if folder is None:
        raise ConfigError(f"{said_as}: the package {package!r} holds no folder with tokenizer.json and a model.")
    return folder


def _model_folder(paths: Iterable[Path]) -> Path | None:
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, inside in sorted(names.items()):
        if "tokenizer.json" in inside and inside & {"model.onnx", "model.safetensors", "model_quantized.onnx"}:
            return folder
    return None
