"""The five tables by which normalizing flows are compared, as the authors of MAF prepared them."""
