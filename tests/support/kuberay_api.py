"""The fields of a RayCluster as KubeRay publishes them, as far as flowkd may use them.

The custom resource's own schema is in no package. Source: "KubeRay CRD API reference" (1.6),
https://docs.ray.io/en/master/cluster/kubernetes/references/api.html
"""

# ruff: noqa: N815

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the published API; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Auth(Part):
    mode: Literal["disabled", "token"]
    secretName: str | None = None


class Autoscaler(Part):
    idleTimeoutSeconds: int = Field(60, ge=0)
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    version: Literal["v1", "v2"] | None = None
    image: str | None = None
    resources: dict[str, Any] | None = None


class Head(Part):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    enableIngress: bool = False
    rayStartParams: dict[str, str]
    labels: dict[str, str] = {}
    resources: dict[str, str] = {}
    template: dict[str, Any]


class Group(Part):
    groupName: str
    replicas: int = Field(0, ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)
    numOfHosts: int = 1
    idleTimeoutSeconds: int | None = None
    rayStartParams: dict[str, str]
    labels: dict[str, str] = {}
    resources: dict[str, str] = {}
    template: dict[str, Any]


class Spec(Part):
    rayVersion: str
    authOptions: Auth
    enableInTreeAutoscaling: bool
    autoscalerOptions: Autoscaler
    headGroupSpec: Head
    workerGroupSpecs: list[Group]


class RayCluster(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: dict[str, Any]
    spec: Spec
