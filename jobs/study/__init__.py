"""Studies: ways to train one student, its arms, compared on one data set over several seeds.

`config` says what is compared, `plan` which runs that takes, `runner` trains them, `outcomes` reads
how they ended, `measure` and `summary` turn them into `results`, and `document` writes those up.
A capacity study compares students of many shapes instead; it is run as a study.
"""
