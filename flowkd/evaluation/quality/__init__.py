"""How far samples are from data, without downloaded weights: one file a measure.

x, y = standardise(rows, samples)                   # or picture_features(pictures, samples)
classifier_auc(x, y)                                # 0.5: a classifier cannot tell them apart
measure_quality(flow, Examples(rows)).figures       # all measures of a flow's samples

given = draw_beside(flow, Examples(pictures), 2000, bins=256)
fid(given.real, given.drawn, "inception.pt")        # a TorchScript file of yours, or a callable
"""

from flowkd.evaluation.quality.classifier import classifier_auc
from flowkd.evaluation.quality.features import picture_features, standardise
from flowkd.evaluation.quality.figure import Figure
from flowkd.evaluation.quality.frechet import fid, kid
from flowkd.evaluation.quality.kernels import mmd
from flowkd.evaluation.quality.kolmogorov import kolmogorov_smirnov
from flowkd.evaluation.quality.manifold import prdc
from flowkd.evaluation.quality.measure import Quality, QualityConfig, measure_quality
from flowkd.evaluation.quality.samples import draw_beside
from flowkd.evaluation.quality.wasserstein import sliced_wasserstein

__all__ = [
    "Figure",
    "Quality",
    "QualityConfig",
    "classifier_auc",
    "draw_beside",
    "fid",
    "kid",
    "kolmogorov_smirnov",
    "measure_quality",
    "mmd",
    "picture_features",
    "prdc",
    "sliced_wasserstein",
    "standardise",
]
