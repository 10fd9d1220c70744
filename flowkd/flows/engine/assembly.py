"""ONNX graphs of calls of pieces, of one graph of all pieces side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from flowkd.flows.engine.pieces import Pieces, Recording, Value

DOMAIN = "flowkd.pieces"  # of functions that are no longer there once a graph is put together
ROWS = "batch"


class Assembly:
    """Cuts the graph of all pieces into functions, and puts graphs together of calls of these.

    Args:
        pieces: That were exported.
        model: Of their program.
    """

    def __init__(self, pieces: Pieces, model: Any) -> None:
        self.pieces, self.about = pieces, model
        self.initializers = {each.name: each for each in model.graph.initializer}
        self.types = {each.name: each for each in model.graph.value_info}
        inputs, outputs = iter(model.graph.input), iter(model.graph.output)
        self.functions = [
            self._function(
                f"piece{number}",
                [next(inputs) for _ in piece.inputs],
                [next(outputs).name for _ in range(piece.made)],
            )
            for number, piece in enumerate(pieces.distinct)
        ]

    def _function(self, name: str, given: Sequence[Any], outputs: Sequence[str]) -> Any:
        """Returns the nodes that lead to outputs as a function; constants are its last inputs."""
        from onnx import helper

        inputs, rows = [each.name for each in given], given[0].type.tensor_type.shape.dim[0]
        needed, nodes, there = set(outputs), [], set(inputs)
        for node in reversed(self.about.graph.node):
            if needed.intersection(node.output):
                needed.update(_used(node))
                nodes.append(_bare(node))
        nodes.reverse()
        known = there.union(self.initializers, *(node.output for node in nodes))
        assert needed <= known, f"{name} reads what another computes: {needed - known}"
        made: list[str] = []
        for output in outputs:  # each is made by the function, and only once
            if output in there or output in self.initializers or output in made:
                made.append(f"{output}_again{len(made)}")
                nodes.append(helper.make_node("Identity", [output], [made[-1]]))
            else:
                made.append(output)
        constants = sorted(needed.intersection(self.initializers))
        function = helper.make_function(
            DOMAIN, name, [*inputs, *constants], made, nodes, self.about.opset_import
        )
        function.value_info.extend(self._shapes(nodes, rows.dim_param))
        return function

    def _shapes(self, nodes: Sequence[Any], rows: str) -> Iterator[Any]:
        """Yields the types of what nodes make, with which a runtime plans its memory."""
        for node in nodes:
            for name in node.output:
                if name in self.types:
                    found = type(self.types[name])()
                    found.CopyFrom(self.types[name])
                    for size in found.type.tensor_type.shape.dim:
                        if size.dim_param:
                            size.dim_param = size.dim_param.replace(rows, ROWS)
                    yield found

    def model(self, recording: Recording, outputs: Sequence[str]) -> Any:
        """Returns the graph of a direction, without functions.

        Args:
            recording: Its calls.
            outputs: Names of what they make.
        """
        import onnx.inliner
        from onnx import helper

        renamed = {value.name: name for value, name in zip(recording.outputs, outputs, strict=True)}
        nodes, weights_given = [], set()
        for call in recording.calls:
            function, piece = self.functions[call.piece], self.pieces.distinct[call.piece]
            constants = function.input[len(piece.inputs) :]
            weights_given.update(call.weights)
            names = [renamed.get(name, name) for name in (*call.inputs, *call.weights, *constants)]
            made = [renamed.get(name, name) for name, _ in call.outputs]
            nodes.append(helper.make_node(function.name, names, made, domain=DOMAIN))
        graph = helper.make_graph(
            nodes,
            "flow",
            [_info(value.name, value) for value in recording.inputs],
            [_info(name, value) for name, value in zip(outputs, recording.outputs, strict=True)],
            value_info=[
                _info(value.name, value)
                for call in recording.calls
                for value in call.outputs
                if value.name not in renamed
            ],
        )
        imports = [*self.about.opset_import, helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(
            graph, functions=self.functions, opset_imports=imports, producer_name="flowkd"
        )
        model.ir_version = self.about.ir_version
        model = onnx.inliner.inline_local_functions(model)
        # Weights come last: they may be more than one message of protobuf can hold.
        used = {name for node in model.graph.node for name in _used(node)}
        constants = [each for name, each in self.initializers.items() if name in used]
        weights = sorted(weights_given & used)
        model.graph.initializer.extend(constants)
        model.graph.initializer.extend(_tensor(name, self.pieces.weights[name]) for name in weights)
        del model.opset_import[:]
        model.opset_import.extend(self.about.opset_import)
        return model


def _used(node: Any) -> Iterator[str]:
    """Yields what a node reads, and what graphs within it do."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _used(inner)


def _bare(node: Any) -> Any:
    """Returns a copy of a node without what tells where in a program it came from."""
    copied = type(node)()
    copied.CopyFrom(node)
    copied.ClearField("metadata_props")
    copied.ClearField("doc_string")
    return copied


def _tensor(name: str, value: Tensor) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value.detach().contiguous().numpy(), name)


def _info(name: str, value: Value) -> Any:
    """Returns the type of an input or output, of any number of rows."""
    from onnx import helper

    example = value.example
    kind = helper.np_dtype_to_tensor_dtype(example[:0].numpy().dtype)
    return helper.make_tensor_value_info(name, kind, [ROWS, *example.shape[1:]])
