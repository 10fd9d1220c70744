"""The durable job queue: records in the store, a dispatcher that hands them to Ray Jobs.

A job is accepted once its `queue/<job>/spec.json` is written, and from then on never lost. Each
object has one writer: whoever submits writes the spec and requests, the dispatcher the events, an
attempt its own folder. So whatever dies, the rest is read back from the store.
"""
