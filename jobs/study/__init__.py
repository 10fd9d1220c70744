"""A study: arms beside each other on one data set, from its configuration to its document.

`config -> plan -> outcomes -> figures -> results -> document`; what runs it is in cluster/study.py.
"""
