"""make bench: what a flow costs beyond its networks.

Each figure is a ratio of two times taken in the same rounds, on one thread. The floor is the
coupling networks and split priors alone, on inputs of the shapes that they get in the flow, in
torch's default memory layout; `own_networks` compares with them in the layout that flowkd uses.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from flowkd.evaluation.throughput import seconds_per_call
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.nn import Conditioner

RESULTS = Path("results/bench.json")
BATCH = 16
ROUNDS = 25


def main() -> None:
    """Measures and writes `results/bench.json`."""
    torch.set_num_threads(1)
    outcome: dict[str, object] = flow_ratios()
    outcome["machine"] = f"{torch.get_num_threads()} thread, {platform.machine()}"
    outcome["torch"] = torch.__version__
    outcome["date"] = date.today().isoformat()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(outcome, indent=2))


def flow_ratios() -> dict[str, object]:
    """Times Glow 3x32x32, L 3, K 8, width 128 against its networks alone."""
    config = GlowConfig(
        event_shape=(3, 32, 32), levels=3, depth=8, width=128, mean=128.0, scale=256.0
    )
    flow = build_flow(config)
    x = 256 * torch.rand(BATCH, 3, 32, 32)
    flow.initialize(x)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        z = flow(x).z
    own = networks(flow, x)
    floor = [(plain_copy(network), given.contiguous()) for network, given in own]

    def step() -> None:
        flow.zero_grad(set_to_none=True)
        (-flow.log_prob(x).mean()).backward()

    without = torch.no_grad()
    calls: dict[str, Callable[[], object]] = {
        "floor": without(lambda: run(floor)),
        "own": without(lambda: run(own)),
        "log_prob": without(lambda: flow.log_prob(x)),
        "sample": without(lambda: flow.inverse(z)),
        "floor_step": lambda: run_and_learn(floor),
        "own_step": lambda: run_and_learn(own),
        "train_step": step,
    }
    times = seconds_per_call(calls, seconds=0, rounds=ROUNDS)  # once a round
    pairs = {"log_prob": "", "sample": "", "train_step": "_step"}
    return {
        **{name: ratio(times[name], times[f"floor{which}"]) for name, which in pairs.items()},
        "own_networks": {
            name: ratio(times[name], times[f"own{which}"]) for name, which in pairs.items()
        },
        "milliseconds": {name: 1000 * median(values) for name, values in times.items()},
    }


def networks(flow: Flow, x: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """Returns each conditioner of a flow with its input for x."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda module, given: seen.append((module, given[0].detach().clone()))
        )
        for module in flow.modules()
        if isinstance(module, Conditioner)
    ]
    with torch.no_grad():
        flow(x)
    for hook in hooks:
        hook.remove()
    return seen


def plain_copy(network: nn.Module) -> nn.Module:
    """Returns the same convolutions as an ordinary Sequential in the default layout."""
    layers: list[nn.Module] = []
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d):
            size = layer.kernel_size[0]
            copy = nn.Conv2d(layer.in_channels, layer.out_channels, size, padding=size // 2)
            copy.load_state_dict(layer.state_dict())
            layers += [copy, *([] if name == "last" else [nn.ReLU()])]
    return nn.Sequential(*layers)


def run(pairs: list[tuple[nn.Module, Tensor]]) -> None:
    """Runs each network on its input."""
    for network, given in pairs:
        network(given)


def run_and_learn(pairs: list[tuple[nn.Module, Tensor]]) -> None:
    """Runs each network on its input, and the backward pass."""
    for network, given in pairs:
        network.zero_grad(set_to_none=True)
        network(given.detach().requires_grad_()).sum().backward()


def ratio(ours: list[float], others: list[float]) -> float:
    """Returns the median over the rounds of the ratio within a round."""
    return round(median(a / b for a, b in zip(ours, others, strict=True)), 3)


if __name__ == "__main__":
    main()
