"""The five tables by which normalizing flows are compared, as the authors of MAF prepared them."""

from __future__ import annotations

from flowkd.data.density import bsds300, gas, hepmass, miniboone, power
from flowkd.data.density.bsds300 import Bsds300Config
from flowkd.data.density.gas import GasConfig
from flowkd.data.density.hepmass import HepmassConfig
from flowkd.data.density.miniboone import MiniBooNEConfig
from flowkd.data.density.power import PowerConfig
from flowkd.data.manifest import Manifest
from flowkd.store import Store

__all__ = ["Bsds300Config", "GasConfig", "HepmassConfig", "MiniBooNEConfig", "PowerConfig"]

AnyDensityConfig = PowerConfig | GasConfig | HepmassConfig | MiniBooNEConfig | Bsds300Config


def prepare(config: AnyDensityConfig, store: Store) -> Manifest:
    """Writes the dataset and returns its manifest.

    Raises:
        DataError: The source is missing, damaged, or not what the authors published.
    """
    match config:
        case PowerConfig():
            return power.prepare(config, store)
        case GasConfig():
            return gas.prepare(config, store)
        case HepmassConfig():
            return hepmass.prepare(config, store)
        case MiniBooNEConfig():
            return miniboone.prepare(config, store)
        case Bsds300Config():
            return bsds300.prepare(config, store)
