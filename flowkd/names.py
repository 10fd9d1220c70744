"""The pattern of names in a store, and the largest length of each kind of name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

# A name is one part of a path and of a URL: it begins with a letter or a digit.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

DatasetName = Annotated[str, Field(pattern=NAME, max_length=100)]
RunName = Annotated[str, Field(pattern=NAME, max_length=100)]
ModelName = Annotated[str, Field(pattern=NAME, max_length=100)]
JobId = Annotated[str, Field(pattern=NAME, max_length=80)]
KindName = Annotated[str, Field(pattern=NAME, max_length=40)]
StageName = Annotated[str, Field(pattern=NAME, max_length=40)]
# Its jobs are called PIPELINE.STAGE.
PipelineName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=39)]
# Its runs are called study-STUDY-ARM-seeds.
ShortName = Annotated[str, Field(pattern=NAME, max_length=30)]


def is_name(text: str) -> bool:
    """Tells whether a model, a run or an alias may be called so."""
    return len(text) <= 100 and re.fullmatch(NAME, text) is not None
