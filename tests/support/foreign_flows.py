"""Small flows of nflows, normflows and zuko, moved off their start, and builders of some."""

from __future__ import annotations

from collections.abc import Callable

import normflows as nf
import torch
import zuko
from nflows import distributions, flows, transforms
from nflows.flows.autoregressive import MaskedAutoregressiveFlow
from nflows.flows.realnvp import SimpleRealNVP
from nflows.nn.nets import ConvResidualNet, ResidualNet
from nflows.utils import create_alternating_binary_mask
from torch import Tensor, nn
from torch.nn import functional

D, CONTEXT = 5, 3
T, Z = transforms, zuko.flows
MASK = create_alternating_binary_mask(D)
NORMAL = zuko.distributions.DiagNormal


def zuko_mixed() -> nn.Module:
    """Transforms without networks, inverses, and a base that is not standard."""
    fixed, made = Z.UnconditionalTransform, zuko.transforms
    layers = [
        fixed(made.MonotonicAffineTransform, torch.randn(4), torch.randn(4), buffer=True),
        Z.MaskedAutoregressiveTransform(4, hidden_features=(8,)).inv,
        fixed(made.RotationTransform, torch.randn(4, 4)),
        fixed(made.LULinearTransform, torch.randn(4, 4) + 3 * torch.eye(4)),
        fixed(made.PermutationTransform, torch.tensor([2, 0, 1, 3]), buffer=True),
        Z.ElementWiseTransform(4),
        Z.GeneralCouplingTransform(4, hidden_features=(8,)).inv,
    ]
    return Z.Flow(layers, Z.UnconditionalDistribution(NORMAL, torch.randn(4), torch.rand(4) + 0.5))


def zuko_by_context() -> nn.Module:
    layers = [
        Z.ElementWiseTransform(4, 2, hidden_features=(8,)),
        Z.MaskedAutoregressiveTransform(4, 2, hidden_features=(8,)),
    ]
    base = Z.UnconditionalDistribution(NORMAL, torch.zeros(4), torch.ones(4), buffer=True)
    return Z.Flow(layers, base)


def residual_net(inputs: int, outputs: int) -> nn.Module:
    return ResidualNet(
        inputs, outputs, hidden_features=8, context_features=CONTEXT, num_blocks=2,
        activation=functional.relu,
    )  # fmt: skip


def nflows_of(*layers: nn.Module, base: nn.Module | None = None) -> nn.Module:
    base = base or distributions.StandardNormal([D])
    return flows.Flow(transforms.CompositeTransform(layers), base)


def nflows_splines(unconditional: bool) -> nn.Module:
    tails = {"num_bins": 4, "tails": "linear", "tail_bound": 3.0}
    coupling = T.PiecewiseRationalQuadraticCouplingTransform
    own = coupling(MASK, residual_net, apply_unconditional_transform=unconditional, **tails)
    back = T.InverseTransform(coupling(MASK, residual_net, **tails))
    return nflows_of(T.RandomPermutation(D), T.LULinear(D), own, back)


def nflows_autoregressive() -> nn.Module:
    splines = T.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        D, 8, context_features=CONTEXT, num_bins=4, tails="linear", tail_bound=4.0
    )
    affine = T.MaskedAffineAutoregressiveTransform(D, 8, context_features=CONTEXT)
    return nflows_of(
        T.PointwiseAffineTransform(torch.randn(D), torch.rand(D) + 0.5), splines,
        T.ReversePermutation(D), T.InverseTransform(affine), T.ActNorm(D),
        base=distributions.normal.DiagonalNormal([D]),
    )  # fmt: skip


def nflows_linear() -> nn.Module:
    return nflows_of(
        T.NaiveLinear(D), T.QRLinear(D, 4), T.SVDLinear(D, 4), T.HouseholderSequence(D, 3),
        T.InverseTransform(T.LULinear(D)), T.IdentityTransform(),
        T.PiecewiseRationalQuadraticCDF([D], tails="linear", tail_bound=2.0),
    )  # fmt: skip


def nflows_pictures() -> nn.Module:
    """Levels that give away half of their channels, and networks of residual convolutions."""

    def net(inputs: int, outputs: int) -> nn.Module:
        return ConvResidualNet(inputs, outputs, hidden_channels=6, num_blocks=1)

    levels, shape = T.MultiscaleCompositeTransform(2), (1, 8, 8)
    for _ in range(2):
        channels = 4 * shape[0]
        coupling = T.AffineCouplingTransform(torch.arange(channels) % 2, net)
        mix = T.OneByOneConvolution(channels)
        steps = [T.SqueezeTransform(), T.ActNorm(channels), mix, coupling]
        made = (channels, shape[1] // 2, shape[2] // 2)
        shape = levels.add_transform(T.CompositeTransform(steps), made)
    return flows.Flow(levels, distributions.StandardNormal([64]))


def nflows_picture_splines(**given: object) -> nn.Module:
    """One level of pictures: a coupling of splines, and one that only shifts."""

    def net(inputs: int, outputs: int) -> nn.Module:
        options = {"num_blocks": 1, "activation": functional.elu, **given}
        return ConvResidualNet(inputs, outputs, hidden_channels=6, **options)

    spline = T.PiecewiseRationalQuadraticCouplingTransform
    mask = torch.arange(4) % 2
    return nflows_of(
        T.PointwiseAffineTransform(torch.tensor(-0.5), torch.tensor(2.0)), T.SqueezeTransform(),
        spline(mask, net, num_bins=3, tails="linear", tail_bound=3.0), T.ReversePermutation(4),
        T.InverseTransform(T.AdditiveCouplingTransform(1 - mask, net)),
        base=distributions.StandardNormal([4, 2, 2]),
    )  # fmt: skip


def nflows_pictures_of_vectors() -> nn.Module:
    """One level of pictures, whose networks see a linear map of a vector at every place."""
    flow = nflows_picture_splines(context_channels=2)
    places = nn.Unflatten(1, (2, 1, 1)), nn.Upsample(size=(2, 2))
    flow._embedding_net = nn.Sequential(nn.Linear(CONTEXT, 2), *places)
    return flow


def nflows_normalised() -> nn.Module:
    """Batch normalisation between layers, with the statistics of some batches."""
    flow = MaskedAutoregressiveFlow(D, 8, 2, 1, batch_norm_between_layers=True)
    for _ in range(20):
        flow.log_prob(2 * torch.randn(64, D) + 1)
    return flow


def normflows_of(*layers: nn.Module, columns: int = D) -> nn.Module:
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(columns), list(layers))


def normflows_masked() -> nn.Module:
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    net = lambda **given: nf.nets.MLP([4, 8, 8, 4], **given)  # noqa: E731
    both = nf.flows.MaskedAffineFlow(mask, net(), net(output_fn="tanh"))
    return normflows_of(both, nf.flows.MaskedAffineFlow(1 - mask, net()), columns=4)


def normflows_couplings(scale_map: str) -> nn.Module:
    block = nf.flows.AffineCouplingBlock
    net = nf.nets.MLP([3, 8, 8, 4], leaky=0.01)
    back = block(nf.nets.MLP([2, 8, 3]), scale=False, split_mode="channel_inv")
    return normflows_of(
        block(net, scale_map=scale_map), nf.flows.Permute(D, "swap"), nf.flows.Permute(D), back,
        nf.flows.LULinearPermute(D), nf.flows.InvertibleAffine(D),
        nf.flows.InvertibleAffine(D, use_lu=False), nf.flows.AffineConstFlow(D),
    )  # fmt: skip


def normflows_splines(context: int | None = None) -> nn.Module:
    flows_ = [
        nf.flows.CoupledRationalQuadraticSpline(D, 1, 8, num_context_channels=context),
        nf.flows.LULinearPermute(D),
        nf.flows.AutoregressiveRationalQuadraticSpline(
            D, 1, 8, num_context_channels=context, permute_mask=True
        ),
    ]
    kind = nf.NormalizingFlow if context is None else nf.ConditionalNormalizingFlow
    return kind(nf.distributions.DiagGaussian(D), flows_)


def normflows_maf() -> nn.Module:
    made = nf.flows.MaskedAffineAutoregressive
    feedforward = made(D, 8, use_residual_blocks=False, random_mask=True)
    return normflows_of(made(D, 8), nf.flows.Permute(D), feedforward)


def normflows_glow(
    levels: int = 2, depth: int = 1, shape: tuple[int, int, int] = (3, 4, 4), **given: object
) -> nn.Module:
    """A Glow whose ActNorms have seen some pictures."""
    channels, height, width = shape
    classes, transform = given.pop("classes", None), given.pop("transform", None)
    bases, merges, flows_ = [], [], []
    for level in range(levels):
        size = channels * 2 ** (levels + 1 - level)
        steps = [nf.flows.GlowBlock(size, 6, **given) for _ in range(depth)]
        flows_.append([*steps, nf.flows.Squeeze()])
        side = 2 ** (levels - level)
        kept = size // 2 if level else size
        latent = (kept, height // side, width // side)
        bases.append(nf.distributions.GlowBase(latent, num_classes=classes))
        if level:
            merges.append(nf.flows.Merge())
    flow = nf.MultiscaleFlow(bases, flows_, merges, transform, class_cond=classes is not None)
    seen = 0.1 + 0.8 * torch.rand(64, *shape)
    flow.log_prob(seen, torch.arange(64) % classes if classes else None)
    return flow


# Each flow that becomes one of flowkd, and by how much its weights are moved.
SAME: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "zuko NSF": (lambda: Z.NSF(D, transforms=2, hidden_features=(8, 8)), 0.3),
    "zuko NSF | context": (lambda: Z.NSF(D, CONTEXT, transforms=2, hidden_features=(8,)), 0.3),
    "zuko NSF of two passes": (lambda: Z.NSF(6, transforms=2, passes=2, hidden_features=(8,)), 0.3),
    "zuko NSF, residual": (
        lambda: Z.NSF(D, residual=True, randperm=True, hidden_features=(8, 8, 8), transforms=2),
        0.3,
    ),
    "zuko MAF | context": (lambda: Z.MAF(D, 2, hidden_features=(8,), activation=nn.ELU), 0.3),
    "zuko RealNVP": (lambda: Z.RealNVP(D, hidden_features=(8,), randmask=True), 0.3),
    "zuko NICE": (
        lambda: Z.NICE(
            D, 2, univariate=zuko.transforms.AdditiveTransform, shapes=[()], hidden_features=(8,)
        ),
        0.3,
    ),
    "zuko, mixed": (zuko_mixed, 0.1),
    "zuko, elementwise | context": (zuko_by_context, 0.3),
    "nflows MAF": (lambda: MaskedAutoregressiveFlow(D, 8, 2, 2), 0.1),
    "nflows MAF, feedforward": (
        lambda: MaskedAutoregressiveFlow(
            D, 8, 2, 2, use_residual_blocks=False, use_random_masks=True,
            use_random_permutations=True, activation=torch.tanh,
        ),
        0.2,
    ),
    "nflows MAF, normalised": (nflows_normalised, 0.05),
    "nflows RealNVP": (lambda: SimpleRealNVP(D, 8, 2, 1), 0.2),
    "nflows NICE": (lambda: SimpleRealNVP(D, 8, 2, 1, use_volume_preserving=True), 0.2),
    "nflows NSF-C | context": (lambda: nflows_splines(unconditional=False), 0.2),
    "nflows NSF-C, unconditional too | context": (lambda: nflows_splines(unconditional=True), 0.2),
    "nflows NSF-AR | context": (nflows_autoregressive, 0.2),
    "nflows, linear maps": (nflows_linear, 0.2),
    "nflows Glow of residual convolutions": (nflows_pictures, 0.1),
    "nflows NSF of pictures": (nflows_picture_splines, 0.2),
    "nflows NSF of pictures | context": (nflows_pictures_of_vectors, 0.2),
    "normflows RealNVP": (normflows_masked, 0.2),
    "normflows couplings, exp": (lambda: normflows_couplings("exp"), 0.2),
    "normflows couplings, sigmoid": (lambda: normflows_couplings("sigmoid"), 0.2),
    "normflows couplings, sigmoid_inv": (lambda: normflows_couplings("sigmoid_inv"), 0.2),
    "normflows splines": (normflows_splines, 0.2),
    "normflows splines | context": (lambda: normflows_splines(CONTEXT), 0.2),
    "normflows MAF": (normflows_maf, 0.1),
    "normflows Glow": (normflows_glow, 0.02),
    "normflows Glow of one level": (lambda: normflows_glow(levels=1, scale_map="exp"), 0.02),
    "normflows Glow of classes": (
        lambda: normflows_glow(classes=3, split_mode="channel_inv"), 0.02,
    ),
    "normflows Glow with ActNorm within": (lambda: normflows_glow(net_actnorm=True), 0.02),
    "normflows Glow from a logit": (
        lambda: normflows_glow(transform=nf.transforms.Logit(0.05), scale=False), 0.02,
    ),
}  # fmt: skip


def moved(build: Callable[[], nn.Module], by: float, seed: int = 0) -> nn.Module:
    """What a builder makes, every parameter moved off its start, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for parameter in module.parameters():
            parameter.data += by * torch.randn_like(parameter)
    return module.eval()


def same(name: str) -> nn.Module:
    """A flow of SAME."""
    return moved(*SAME[name])


def log_prob_of(module: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    """What the library itself says."""
    if isinstance(module, zuko.flows.Flow):
        return module(context).log_prob(x)
    if isinstance(module, nf.MultiscaleFlow):
        return module.log_prob(x.clone(), context)
    return module.log_prob(x, context) if context is not None else module.log_prob(x)


def trained(module: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> None:
    """Trains a flow of another library on rows, by Adam."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
