"""Embedders: built from weights, read from a folder, found in a package, asked from a provider; and what is refused."""

from __future__ import annotations

import asyncio
import json
import struct
import sys

import numpy as np
import pytest
import tokenizers
from semantic_scene import WEIGHTS

from corral.cache.semantic.bert import BertConfig, bert_model
from corral.cache.semantic.embedders import open_embedder
from corral.cache.semantic.onnx import OnnxEmbedder
from corral.cache.semantic.safetensors import read_tensors
from corral.errors import ConfigError, Draining
from corral.messages import EmbedReply

HIDDEN, HEADS, LAYERS, WORDS = 128, 4, 2, 12
CONFIG = {"model_type": "bert", "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS}
pytestmark = pytest.mark.usefixtures("may_block")


def tensors(prefix=""):
    chance = np.random.default_rng(3)

    def some(*shape):
        return chance.normal(size=shape, scale=0.1).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": some(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": some(32, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
        "embeddings.LayerNorm.weight": some(HIDDEN) + 1,
        "embeddings.LayerNorm.bias": some(HIDDEN),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        shapes = dict.fromkeys(("attention.self.query", "attention.self.key", "attention.self.value"), (HIDDEN, HIDDEN))
        shapes |= {
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (256, HIDDEN),
            "output.dense": (HIDDEN, 256),
        }
        for name, shape in shapes.items():
            made |= {f"{at}{name}.weight": some(*shape), f"{at}{name}.bias": some(shape[0])}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made |= {f"{at}{name}.weight": some(HIDDEN) + 1, f"{at}{name}.bias": some(HIDDEN)}
    return {prefix + name: tensor for name, tensor in made.items()}


def save(path, made):
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in made.items():
        raw = tensor.tobytes()
        kind = {"float32": "F32", "float16": "F16", "int64": "I64"}[tensor.dtype.name]
        table[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


@pytest.fixture
def folder(tmp_path):
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "how": 2, "do": 3, "i": 4, "return": 5, "shoes": 6, "pay": 7}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save(tmp_path / "model.safetensors", tensors())
    return tmp_path


def forward(made, ids):
    """The same encoder in plain numpy, for one text."""

    def normed(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * made[f"{name}.weight"] + made[f"{name}.bias"]

    def linear(x, name):
        return x @ made[f"{name}.weight"].T + made[f"{name}.bias"]

    from math import erf

    x = made["embeddings.word_embeddings.weight"][ids] + made["embeddings.position_embeddings.weight"][: len(ids)]
    x = normed(x + made["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        parts = [
            linear(x, f"{at}attention.self.{n}").reshape(-1, HEADS, HIDDEN // HEADS) for n in ("query", "key", "value")
        ]
        q, k, v = (part.transpose(1, 0, 2) for part in parts)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(HIDDEN // HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = normed(x + linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = linear(x, f"{at}intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
        x = normed(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


@pytest.fixture
async def embedder(folder):
    one = OnnxEmbedder(folder)
    await one.start()
    await one.start()
    yield one
    await one.stop()
    await one.stop()


async def test_an_encoder_built_from_its_weights_is_what_it_would_be_in_full_precision(embedder):
    vectors = await embedder.embed(["how do i return shoes", "pay"])
    assert float(vectors[0] @ forward(tensors(), [2, 3, 4, 5, 6])) > 0.97
    assert float(vectors[1] @ forward(tensors(), [7])) > 0.97
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert len(embedder.fingerprint) == 24


async def test_many_ask_at_once_and_each_gets_its_own(embedder):
    texts = ["how do i pay", "shoes", "return shoes", "pay"] * 10
    alone = {text: (await embedder.embed([text]))[0] for text in set(texts)}
    together = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    for text, vectors in zip(texts, together, strict=True):
        assert float(vectors[0] @ alone[text]) == pytest.approx(1.0, abs=1e-5)


async def test_who_gives_up_waiting_disturbs_nobody(embedder):
    tasks = [asyncio.create_task(embedder.embed(["how do i pay"] * 3)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(len(one) == 3 for one in done[1::2])
    assert len(await embedder.embed(["pay"])) == 1


async def test_one_that_was_stopped_says_so(folder):
    one = OnnxEmbedder(folder)
    with pytest.raises(Draining):
        await one.embed(["pay"])
    await one.stop()


async def test_a_model_file_and_the_first_token_where_the_folder_says_so(folder):
    (folder / "model.onnx").write_bytes(
        bert_model(BertConfig(hidden_size=HIDDEN, num_attention_heads=HEADS, num_hidden_layers=LAYERS), tensors())
    )
    plain, by_first = OnnxEmbedder(folder), OnnxEmbedder(folder)
    await plain.start()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    await by_first.start()
    one, other = await plain.embed(["how do i pay"]), await by_first.embed(["how do i pay"])
    assert not np.allclose(one, other, atol=1e-3)
    assert plain.fingerprint != by_first.fingerprint
    await plain.stop()
    await by_first.stop()


def test_weights_with_a_prefix_or_in_half_precision_are_the_same(tmp_path):
    save(
        tmp_path / "a",
        {name: tensor.astype(np.float16) for name, tensor in tensors("bert.").items()} | {"n": np.arange(3)},
    )
    read = read_tensors(tmp_path / "a")
    assert "n" not in read
    config = BertConfig(hidden_size=HIDDEN, num_attention_heads=HEADS, num_hidden_layers=LAYERS)
    assert bert_model(config, read)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, struct.pack("<Q", 2) + b"[]" + b"x", b"\2\0\0\0\0\0\0\0{"])
def test_what_is_no_file_of_weights_says_so(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigError, match="safetensors"):
        read_tensors(tmp_path / "a")


def test_a_tensor_outside_of_its_file_says_so(tmp_path):
    head = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(head)) + head + b"1234")
    with pytest.raises(ConfigError, match="within it"):
        read_tensors(tmp_path / "a")


def test_what_cannot_be_built_says_what_to_do():
    with pytest.raises(ConfigError, match=r"model\.onnx"):
        bert_model(BertConfig(model_type="t5", hidden_size=4, num_attention_heads=1, num_hidden_layers=1), {})
    with pytest.raises(ConfigError, match="not those of a BERT encoder"):
        bert_model(BertConfig(hidden_size=4, num_attention_heads=1, num_hidden_layers=1), {})


async def _ask(call):
    return EmbedReply(vectors=[[3.0, 4.0]] * len(call.texts))


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("sim/embed", "by their letters"),
        ("sim", "by their letters"),
        ("minilm", "provider/model"),
        ("", "provider/model"),
        ("onnx:/nowhere", r"tokenizer\.json"),
        ("package:no-such-package", "not installed"),
        ("package:numpy", "no folder"),
    ],
)
def test_what_cannot_be_used_says_so(place, says):
    with pytest.raises(ConfigError, match=says):
        open_embedder(place, _ask)


@pytest.mark.parametrize("place", ["onnx:/nowhere", "package:numpy", "package:no-such-package", "minilm", "sim/embed"])
def test_the_setting_that_is_wrong_is_named(place):
    with pytest.raises(ConfigError, match=r"^memory\.embedder"):
        open_embedder(place, _ask, said_as="memory.embedder")


def test_the_setting_that_needs_packages_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    for place in (f"onnx:{folder}", "openai/small"):
        with pytest.raises(ConfigError, match=r"^memory\.embedder: .*usearch cannot be found"):
            open_embedder(place, _ask, said_as="memory.embedder")


def test_missing_packages_are_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    with pytest.raises(ConfigError, match=r"pip install 'corral\[embeddings\]'"):
        open_embedder(f"onnx:{folder}", _ask)


def test_a_folder_without_a_model_says_so(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="neither"):
        open_embedder(f"onnx:{folder}", _ask)


async def test_weights_without_a_description_or_with_a_broken_one_say_so(folder):
    (folder / "config.json").write_text("{")
    one = OnnxEmbedder(folder)
    with pytest.raises(ConfigError, match="cannot be read"):
        await one.start()
    await one.stop()
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        await one.start()
    await one.stop()


async def test_a_package_is_looked_into_and_not_imported(folder, tmp_path, monkeypatch):
    home = tmp_path / "site"
    (home / "toy" / "model").mkdir(parents=True)
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        (home / "toy" / "model" / name).write_bytes((folder / name).read_bytes())
    (home / "toy" / "__init__.py").write_text("raise RuntimeError('imported')")
    info = home / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    names = [
        "toy/__init__.py",
        *(f"toy/model/{name}" for name in ("tokenizer.json", "config.json", "model.safetensors")),
    ]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    monkeypatch.syspath_prepend(str(home))
    one = open_embedder("package:toy", _ask)
    await one.start()
    assert (await one.embed(["pay"])).shape == (1, HIDDEN)
    await one.stop()


async def test_a_provider_is_asked():
    one = open_embedder("openai/text-embedding-3-small", _ask)
    await one.start()
    assert (await one.embed(["a", "b"])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
    assert one.fingerprint != open_embedder("openai/other", _ask).fingerprint
    await one.stop()


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the weights of MiniLM are not here")
async def test_a_real_model_knows_what_is_alike():
    one = OnnxEmbedder(WEIGHTS)
    await one.start()
    a, b, c = await one.embed(["How do I return shoes?", "What is the way to send shoes back?", "Who was Napoleon?"])
    assert float(a @ b) > 0.7
    assert float(a @ c) < 0.3
    await one.stop()
