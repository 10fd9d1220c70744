"""ONNX Runtime as the engine of a flow: graphs of both directions, kept, checked and run.

flow   = flowkd.for_inference(flow, engine="onnx")    # built once a machine, then read again
folder = write_graphs(flow, Path("exported"))         # for other programs
"""
