"""A BERT encoder as an ONNX graph, built from its weights: so that a folder without `model.onnx` needs no other framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from corral.cache.semantic.protobuf import Graph
from corral.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASKED = -10_000.0


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `config.json` says of an encoder."""

    model_type: str = "bert"
    hidden_size: int
    num_attention_heads: int
    num_hidden_layers: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


def bert_model(config: BertConfig, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The encoder as an ONNX file that takes `input_ids` and `attention_mask`, and gives `last_hidden_state`.

    Its matrices are kept in 8 bits a number, which costs no measurable quality and makes it a third faster.
    """
    if (config.model_type, config.hidden_act, config.position_embedding_type) != ("bert", "gelu", "absolute"):
        raise ConfigError(
            f"An encoder of the type {config.model_type!r} ({config.hidden_act}, {config.position_embedding_type}) cannot be built "
            "from its weights: export it as `model.onnx`, and name that folder as `onnx:FOLDER`."
        )
    return _Encoder(config, tensors).build()


class _Encoder:
    def __init__(self, config: BertConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._config = config
        self._tensors = tensors
        self._prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
        self._graph = Graph()

    def build(self) -> bytes:
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

        graph, config = self._graph, self._config
        ids = graph.takes("input_ids", "batch", "length")
        mask = graph.takes("attention_mask", "batch", "length")
        mask = graph.one("Cast", mask, to=1)
        mask = graph.one("Unsqueeze", mask, graph.constant(np.array([1, 2], np.int64)))
        one, low = graph.constant(np.array([1], np.float32)), graph.constant(np.array([_MASKED], np.float32))
        mask = graph.one("Mul", graph.one("Sub", one, mask), low)
        hidden = self._embedded(ids)
        for number in range(config.num_hidden_layers):
            hidden = self._layer(hidden, mask, f"encoder.layer.{number}.")
        named = graph.one("Identity", hidden)
        graph.gives(named, "batch", "length", "width")
        return graph.model()

    def _embedded(self, ids: str) -> str:
        import numpy as np  # noqa: PLC0415 - as above

        graph = self._graph
        words = graph.one("Gather", self._constant("embeddings.word_embeddings.weight"), ids)
        length = graph.one("Gather", graph.one("Shape", ids), graph.constant(np.array(1, np.int64)))
        length = graph.one("Unsqueeze", length, graph.constant(np.array([0], np.int64)))
        places = self._tensor("embeddings.position_embeddings.weight")
        first_type = self._tensor("embeddings.token_type_embeddings.weight")[
            0
        ]  # one text alone is all of the first type
        axis = graph.constant(np.array([0], np.int64))
        places_here = graph.one("Slice", graph.constant(places + first_type), axis, length, axis)
        return self._normed(graph.one("Add", words, places_here), "embeddings.LayerNorm")

    def _layer(self, hidden: str, mask: str, at: str) -> str:
        import numpy as np  # noqa: PLC0415 - as above

        graph, config = self._graph, self._config
        heads = config.num_attention_heads
        width = config.hidden_size // heads
        apart = graph.constant(np.array([0, 0, heads, width], np.int64))
        whole = graph.constant(np.array([0, 0, heads * width], np.int64))

        def of_heads(name: str, *order: int) -> str:
            flat = self._linear(hidden, f"{at}attention.self.{name}")
            return graph.one("Transpose", graph.one("Reshape", flat, apart), perm=order)

        query, key, value = of_heads("query", 0, 2, 1, 3), of_heads("key", 0, 2, 3, 1), of_heads("value", 0, 2, 1, 3)
        scores = graph.one(
            "Mul", graph.one("MatMul", query, key), graph.constant(np.array([1 / math.sqrt(width)], np.float32))
        )
        weights = graph.one("Softmax", graph.one("Add", scores, mask), axis=-1)
        mixed = graph.one("Transpose", graph.one("MatMul", weights, value), perm=(0, 2, 1, 3))
        attended = self._linear(graph.one("Reshape", mixed, whole), f"{at}attention.output.dense")
        hidden = self._normed(graph.one("Add", hidden, attended), f"{at}attention.output.LayerNorm")
        inner = self._gelu(self._linear(hidden, f"{at}intermediate.dense"))
        outer = self._linear(inner, f"{at}output.dense")
        return self._normed(graph.one("Add", hidden, outer), f"{at}output.LayerNorm")

    def _linear(self, value: str, name: str) -> str:
        """Multiply with a matrix of 8 bits a number, each column with a scale of its own; what comes in is rounded as it is."""
        import numpy as np  # noqa: PLC0415 - as above

        graph = self._graph
        matrix = np.ascontiguousarray(self._tensor(f"{name}.weight").T)
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
        rounded = graph.constant(np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8))
        small, by, zero = graph.several("DynamicQuantizeLinear", value, outputs=3)
        whole = graph.one("Cast", graph.one("MatMulInteger", small, rounded, zero), to=1)
        product = graph.one("Mul", whole, graph.one("Mul", by, graph.constant(scale.astype(np.float32))))
        return graph.one("Add", product, self._constant(f"{name}.bias"))

    def _gelu(self, value: str) -> str:
        import numpy as np  # noqa: PLC0415 - as above

        graph = self._graph
        bent = graph.one("Erf", graph.one("Div", value, graph.constant(np.array([math.sqrt(2)], np.float32))))
        risen = graph.one("Mul", value, graph.one("Add", bent, graph.constant(np.array([1], np.float32))))
        return graph.one("Mul", risen, graph.constant(np.array([0.5], np.float32)))

    def _normed(self, value: str, name: str) -> str:
        scale, shift = self._constant(f"{name}.weight"), self._constant(f"{name}.bias")
        return self._graph.one("LayerNormalization", value, scale, shift, axis=-1, epsilon=self._config.layer_norm_eps)

    def _constant(self, name: str) -> str:
        return self._graph.constant(self._tensor(name))

    def _tensor(self, name: str) -> NDArray[Any]:
        found = self._tensors.get(self._prefix + name)
        if found is None:
            raise ConfigError(f"The weights have no {name!r}: they are not those of a BERT encoder.")
        return found
