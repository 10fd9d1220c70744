"""Studies: ways to train one student, its arms, compared on one data set over several seeds.

`config` says what is compared, `plan` which runs that takes, and `runner` trains them; `outcomes`
reads how they ended, and `choices` what follows for the others; `measure` and `summary` turn them
into `results`, which `document` writes up.
`stored` keeps them in the store, of which `report` makes a page; `run` does all of it in turn.
A capacity study compares students of many shapes instead; it is run as a study.
`jobs.study` and `jobs.capacity` are the commands.
"""
