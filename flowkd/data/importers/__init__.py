"""Importers: one file a data set, from its publisher's files to shards in the store."""
