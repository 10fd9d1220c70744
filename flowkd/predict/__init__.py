"""Inference: requests to a trained flow for samples and log-densities, checked and batched."""
