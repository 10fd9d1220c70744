"""Where figures are sent, besides the store."""

from __future__ import annotations

from pydantic import Field, field_validator

from flowkd.config import Config
from flowkd.credentials import without_credentials


class TrackingConfig(Config):
    """Where figures are sent, besides the store.

    Attributes:
        mlflow: URL of an MLflow server, such as http://127.0.0.1:5000; user and password come from
            MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN. Default
            none.
        experiment: Name of the experiment there; it is made if need be.
    """

    mlflow: str | None = Field(None, pattern=r"^https?://[^\s/]+")
    experiment: str = Field("flowkd", min_length=1, max_length=200)

    @field_validator("mlflow")
    @classmethod
    def _has_no_credentials(cls, value: str | None) -> str | None:
        if value is not None and without_credentials(value) != value:
            raise ValueError(
                f"expected a URL without credentials; got {without_credentials(value)} with some: "
                f"set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return value
