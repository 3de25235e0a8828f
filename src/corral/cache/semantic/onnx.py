"""Embedders that run here: a folder with a tokenizer and an encoder, in one thread of their own, a few texts at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.errors import ConfigError, Draining, Overloaded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH_MAX = 8
"""Texts that are handed to the thread at a time."""
_WAITING_MAX = 4_096
_LENGTH = 512
_MODEL_FILES = (
    "model.onnx",
    "onnx/model.onnx",
    "model_quantized.onnx",
    "onnx/model_quantized.onnx",
    "model.safetensors",
)
_KEY = "cache.semantic.embedder"
_MISSING = "Finding what means the same needs four more packages: pip install 'corral[embeddings]'."


class _Pooling(msgspec.Struct):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = True


class _SentenceConfig(msgspec.Struct):
    max_seq_length: int = _LENGTH


class _PromptConfig(msgspec.Struct):
    prompts: dict[str, str] = {}


class OnnxEmbedder:
    """Texts to vectors of length one, by the model in a folder. Longer texts than it can read are cut."""

    def __init__(self, folder: Path, *, said_as: str = _KEY) -> None:
        """The folder holds `tokenizer.json` and either `model.onnx`, or `model.safetensors` and `config.json` of a BERT encoder.

        Raises `ConfigError` naming the setting (`said_as`) if it does not, or if the packages are missing. Nothing large is read before `start`.
        """
        self._folder = folder
        self._model_file = _find_model(folder, said_as)
        check_packages(said_as)
        self.fingerprint = ""
        self._run: _Encoding | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[str, asyncio.Future[NDArray[np.float32]]]] = []
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the model, in its thread."""
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="corral-embedder")
        loop = asyncio.get_running_loop()
        self._run = await loop.run_in_executor(self._thread, _Encoding, self._folder, self._model_file)
        self.fingerprint = self._run.fingerprint

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row for each text. Raises `Overloaded` when more are waiting than makes sense."""
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

        if self._run is None:
            raise Draining("The embedder is not running.")
        if len(self._waiting) + len(texts) > _WAITING_MAX:
            raise Overloaded("The embedder has too many texts waiting.")
        loop = asyncio.get_running_loop()
        asked = [(text, loop.create_future()) for text in texts]
        self._waiting += asked
        if self._working is None:
            self._working = loop.create_task(self._work(), name="corral-embedder")
        try:
            return np.stack([await future for _, future in asked])
        finally:
            for _, future in asked:
                future.cancel()  # nobody waits any more: it is left out, or its vector forgotten

    async def stop(self) -> None:
        """Finish what is running, and forget the model."""
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.wait([working])
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.shutdown)
        self._run = None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting and self._run is not None:
                batch, self._waiting = self._waiting[:_BATCH_MAX], self._waiting[_BATCH_MAX:]
                batch = [one for one in batch if not one[1].done()]
                if not batch:
                    continue
                try:
                    vectors = await loop.run_in_executor(self._thread, self._run, [text for text, _ in batch])
                except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), vector in zip(batch, vectors, strict=True):
                    if not future.done():
                        future.set_result(vector)
        finally:
            self._working = None


class _Encoding:
    """The model in memory; used by one thread."""

    def __init__(self, folder: Path, model_file: Path) -> None:
        import onnxruntime as ort  # type: ignore[import-untyped]  # noqa: PLC0415 - extras, loaded where they are used
        import tokenizers  # noqa: PLC0415 - as above

        from corral.cache.semantic.bert import BertConfig, bert_model  # noqa: PLC0415 - as above
        from corral.cache.semantic.safetensors import read_tensors  # noqa: PLC0415 - as above

        sentence = _read(folder / "sentence_bert_config.json", _SentenceConfig) or _SentenceConfig()
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(min(sentence.max_seq_length, _LENGTH))
        self._tokenizer.no_padding()
        pooling = _read(folder / "1_Pooling" / "config.json", _Pooling) or _Pooling()
        self._by_first_token = pooling.pooling_mode_cls_token
        prompts = (_read(folder / "config_sentence_transformers.json", _PromptConfig) or _PromptConfig()).prompts
        self._prompt = prompts.get("query", "")
        if model_file.suffix == ".safetensors":
            config = _read(folder / "config.json", BertConfig)
            if config is None:
                raise ConfigError(f"{folder} has weights but no config.json that says what they are.")
            model = bert_model(config, read_tensors(model_file))
        else:
            model = model_file.read_bytes()
        known = hashlib.blake2b(model, digest_size=12)
        known.update(f"{self._by_first_token}{self._prompt}{sentence.max_seq_length}".encode())
        known.update((folder / "tokenizer.json").read_bytes())
        self.fingerprint = known.hexdigest()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._takes = {one.name for one in self._session.get_inputs()}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415 - as above

        return np.concatenate([self._encode(text) for text in texts])

    def _encode(self, text: str) -> NDArray[np.float32]:
        """One text alone: several at a time are no faster on one core, and would be rounded together."""
        import numpy as np  # noqa: PLC0415 - as above

        encoded = self._tokenizer.encode(self._prompt + text)
        ids = np.array([encoded.ids], dtype=np.int64)
        mask = np.array([encoded.attention_mask], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: NDArray[np.float32] = self._session.run(None, {k: v for k, v in given.items() if k in self._takes})[0]
        if hidden.ndim == 2:  # noqa: PLR2004 - the model pools by itself
            pooled = hidden
        elif self._by_first_token:
            pooled = hidden[:, 0]
        else:
            weight = mask[:, :, None].astype(np.float32)
            pooled = (hidden * weight).sum(axis=1) / weight.sum(axis=1)
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (pooled / np.maximum(lengths, 1e-12)).astype(np.float32, copy=False)
        return unit


def _find_model(folder: Path, said_as: str) -> Path:
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(f"{said_as}: there is no tokenizer.json in {folder}.")
    found = next((folder / name for name in _MODEL_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ConfigError(f"{said_as}: there is neither model.onnx nor model.safetensors in {folder}.")
    return found


def check_packages(said_as: str = _KEY) -> None:
    """Raise `ConfigError` naming the setting if what embedding takes is not installed."""
    from importlib.util import find_spec  # noqa: PLC0415 - only where an embedder is wanted

    missing = [name for name in ("numpy", "onnxruntime", "tokenizers", "usearch") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{said_as}: {_MISSING} ({', '.join(missing)} cannot be found.)")


def _read(path: Path, kind: type[Any]) -> Any:
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
