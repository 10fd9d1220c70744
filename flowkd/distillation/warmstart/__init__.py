"""A student that begins from its teacher, or from another flow: closed form, no gradients.

- `fold`: the best small copy. Depth: a coupling, or masked map, that goes is replaced by its best
  linear fit, which merges into the next step's linear map. Width: of each network's hidden units,
  those are kept from which the others are best rebuilt, and the rebuilding is added to their
  outgoing weights. Where the data are less likely by it than by a new flow, it is refused, or, by
  default, left out.
- `inherit`: ActNorm, 1x1 convolutions and split priors; the networks begin anew.
- `slice`, `copy`: controls. What is kept is kept as it was, and what goes is not made up for.
"""

from flowkd.distillation.warmstart.beginning import WorseThanNewError
from flowkd.distillation.warmstart.check import WarmStart, check_warm_start
from flowkd.distillation.warmstart.warm_start import warm_start

__all__ = ["WarmStart", "WorseThanNewError", "check_warm_start", "warm_start"]
