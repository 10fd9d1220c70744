"""The durable job queue: records in the store, and a dispatcher that runs them as Ray Jobs.

A job is accepted once its `queue/<job>/spec.json` is written, and from then on never lost. Each
object has one writer: whoever submits writes the spec and requests, the dispatcher the events, an
attempt its own folder. So whatever dies, the rest is read back from the store.

A job is run by *attempts*, numbered from 1. An attempt *ends* by itself, with an exit code, or is
*lost*: its machine or its processes are gone, or it was stopped for no reason of the job's own.
"""
