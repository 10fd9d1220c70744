"""cluster/ has no import circles, and only what runs on Ray imports Ray."""

from __future__ import annotations

import grimp
import pytest

ON_RAY = {
    "cluster.local",
    "cluster.orphans",
    "cluster.queue.ray_jobs",
    "cluster.queue.service",
    "cluster.ray_tasks",
    "cluster.train.find_rate",
    "cluster.train.launch",
    "cluster.train.placement",
    "cluster.train.resume",
    "cluster.train.worker",
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("cluster", include_external_packages=True)


def test_no_module_imports_itself_on_a_detour(graph: grimp.ImportGraph) -> None:
    ours = [name for name in graph.modules if name.startswith("cluster.")]
    assert len(ours) > 30
    circles = {
        (name, imported)
        for name in ours
        for imported in graph.find_modules_directly_imported_by(name)
        if imported in ours and name in graph.find_upstream_modules(imported)
    }
    assert not circles


def test_only_what_runs_on_ray_imports_it(graph: grimp.ImportGraph) -> None:
    found = graph.find_modules_that_directly_import("ray")
    assert {name for name in found if not name.startswith("cluster.serve.")} == ON_RAY
