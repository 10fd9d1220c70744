"""ONNX graphs of a flow, put together of calls of its pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from flowkd.flows.engine.pieces import Pieces, Recording, Value
from flowkd.flows.engine.traced import reads

DOMAIN = "flowkd.pieces"  # of functions that are no longer there once a graph is put together
ROWS = "batch"


class Assembly:
    """Puts graphs together of calls of pieces, each a function until it is where it is called.

    Args:
        pieces: Of a flow.
        graphs: Of each, as `graphs_of` returns them.
    """

    def __init__(self, pieces: Pieces, graphs: Sequence[Any]) -> None:
        self.pieces, self.ir_version = pieces, graphs[0].ir_version
        opsets = {each.domain: each for graph in graphs for each in graph.opset_import}
        self.opsets = list(opsets.values())
        self.functions = [
            _function(f"piece{number}", graph.graph, self.opsets)
            for number, graph in enumerate(graphs)
        ]
        self.constants = [
            [_renamed(each, f"piece{number}.{each.name}") for each in graph.graph.initializer]
            for number, graph in enumerate(graphs)
        ]

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
            function = self.functions[call.piece]
            constants = [each.name for each in self.constants[call.piece]]
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
        imports = [*self.opsets, helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(
            graph, functions=self.functions, opset_imports=imports, producer_name="flowkd"
        )
        model.ir_version = self.ir_version
        model = onnx.inliner.inline_local_functions(model)
        # Weights come last: they may be more than one message of protobuf can hold.
        used = {name for node in model.graph.node for name in reads(node)}
        constants = [each for some in self.constants for each in some if each.name in used]
        weights = sorted(weights_given & used)
        model.graph.initializer.extend(constants)
        model.graph.initializer.extend(_tensor(name, self.pieces.weights[name]) for name in weights)
        del model.opset_import[:]
        model.opset_import.extend(self.opsets)
        return model


def _function(name: str, graph: Any, opsets: Any) -> Any:
    """Returns the graph of a piece as a function, whose last inputs are the piece's constants."""
    from onnx import helper

    inputs, constants = ([each.name for each in some] for some in (graph.input, graph.initializer))
    nodes = list(graph.node)
    made: list[str] = []
    for output in (each.name for each in graph.output):
        if output in inputs or output in constants or output in made:  # each is made, and once
            made.append(f"{output}_again{len(made)}")
            nodes.append(helper.make_node("Identity", [output], [made[-1]]))
        else:
            made.append(output)
    function = helper.make_function(DOMAIN, name, [*inputs, *constants], made, nodes, opsets)
    rows = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for found in graph.value_info:  # a runtime plans its memory by these
        sized = _renamed(found, found.name)
        for size in sized.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = size.dim_param.replace(rows, ROWS)
        function.value_info.append(sized)
    return function


def _renamed(each: Any, name: str) -> Any:
    """Returns a copy of a message of another name."""
    copied = type(each)()
    copied.CopyFrom(each)
    copied.name = name
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
