"""A Ray cluster paints what one process paints, nodes that die included, and says in a line what is wrong."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from augsynth.core.errors import BackendError, ConfigError, ResumeError
from augsynth.core.records import ShardRecord
from augsynth.generation import run
from augsynth.generation.config import GenerateConfig
from augsynth.generation.rounds import ShardPlan
from augsynth.generation.run import generate
from augsynth.generation.run_state import read_state
from augsynth.generation.statistics import CategoryYields
from tests.generation import fake_run, run_files
from tests.generation.fake_run import without_models, write_source
from tests.generation.run_files import files_of, ignore

ray = pytest.importorskip("ray", reason="Ray isn't installed")

# A node that is gone refuses at once; one that is slow, since others have the processor, has ten seconds to answer.
QUICK = {
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 10_000,
}
SHARDS = 12
PLANS = [ShardPlan(k, k, 6, k, 1, 1, 1, CategoryYields()) for k in range(6)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three raylets, each a process with one core."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster
    cluster.shutdown()


@pytest.fixture
def connected(cluster: Any) -> Iterator[None]:
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


def crew_of(kind: type, *given: object) -> Any:
    """Two actors of a class and who hands shards to them."""
    from augsynth.generation.ray_actors import _Crew

    actors = [ray.remote(num_cpus=1, max_restarts=10)(kind).remote(*given) for _ in range(2)]
    return actors, _Crew(actors)


def answering(fatal: Path | None, *, times: int) -> type:
    """Actors that return the number of the shard, two of them later than others; one shard ends its process."""

    class Answering:  # by value, since the processes can't import tests
        def begin(self) -> None:
            pass

        def paint(self, plan: ShardPlan) -> tuple[bytes, float] | None:
            time.sleep(0.3 * (plan.index in (0, 3)))
            if fatal is not None and plan.index == 2:
                with fatal.open("a") as file:
                    file.write("x")
                if fatal.stat().st_size <= times:
                    os._exit(1)
            return None if plan.index == 4 else (ShardRecord(jobs=plan.index + 1).to_bytes(), 0.5)

    return Answering


def test_records_come_in_order_and_none_is_lost_with_an_actor(connected: None, tmp_path: Path) -> None:
    actors, crew = crew_of(answering(tmp_path / "deaths", times=2))
    found = [None if done is None else done.record.jobs for done in crew.paint(PLANS)]
    assert found == [1, 2, 3, 4, None, 6]
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert [done.record.jobs for done in crew.paint(PLANS[:2])] == [1, 2]  # they are there for the next round
    for actor in actors:
        ray.kill(actor)


def test_a_shard_that_ends_every_actor_ends_the_run(connected: None, tmp_path: Path) -> None:
    actors, crew = crew_of(answering(tmp_path / "deaths", times=99))
    with pytest.raises(BackendError, match="3 painting processes were ended at shard 2, perhaps for want"):
        list(crew.paint(PLANS))
    for actor in actors:
        ray.kill(actor)


def test_an_error_in_an_actor_is_that_of_the_run(connected: None) -> None:
    class Failing:
        def begin(self) -> None:
            raise ResumeError("out: holds a run with torch_version = 1, not 2")

    actors, crew = crew_of(Failing)
    with pytest.raises(ResumeError, match=r"^out: holds a run with torch_version = 1, not 2$"):
        list(crew.paint(PLANS))
    for actor in actors:
        ray.kill(actor)


def test_a_cluster_without_room_ends_the_run(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from augsynth.generation import ray_actors

    monkeypatch.setattr(ray_actors, "BEGIN_S", 0.6)
    actor = ray.remote(num_cpus=99)(answering(None, times=0)).remote()
    with pytest.raises(
        BackendError, match=r"no painting process could begin in 0\.01 min: the Ray cluster has no"
    ):
        list(ray_actors._Crew([actor]).paint(PLANS))
    ray.kill(actor)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"ray": "127.0.0.1:1"},
            r"ray '127\.0\.0\.1:1' can't be reached .*; give the HOST:PORT of a cluster",
        ),
        ({"device": "cuda"}, "the Ray cluster has no GPU"),
    ],
)
def test_a_cluster_that_cant_paint(cluster: Any, values: dict[str, str], words: str) -> None:
    from augsynth.generation.ray_actors import open_actors

    with (
        pytest.raises(ConfigError, match=words),
        open_actors(GenerateConfig.of(**{"ray": cluster.address, **values})),
    ):
        pass
    assert not ray.is_initialized()


def test_without_ray_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_source(tmp_path / "source").but(ray="auto", out=str(tmp_path / "out"))
    without_models(monkeypatch, config)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "augsynth.generation.ray_actors", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'augsynth\[ray\]'"):
        generate(config, progress=ignore)


def test_a_node_that_is_killed_changes_nothing(config: GenerateConfig, tmp_path: Path, cluster: Any) -> None:
    few = config.but(n=40, steps=2, objects_per_image=2, masks="off", bank=False)
    whole, out = tmp_path / "whole", tmp_path / "out"
    generate(few.but(out=str(whole)), progress=ignore)

    def kill() -> None:
        while not list(out.glob("shards/[0-9]*.json")):
            time.sleep(0.02)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    tally = generate(few.but(out=str(out), ray=cluster.address), progress=ignore)
    killer.join(60)
    assert len(cluster.list_all_nodes()) == 2
    assert tally.finished and tally.accepted == 40
    assert files_of(out) == files_of(whole)
    assert not ray.is_initialized()


def lead(config: GenerateConfig, out: Path, address: str) -> None:
    """Lead a run of quick actors, in a process of its own."""
    from augsynth.generation import ray_actors

    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    without_models(patch, config)
    patch.setattr(ray_actors, "_Actor", quick_actor())
    fake_run.generate(config.but(ray=address), out)


def quick_actor() -> type:
    """Actors that paint without models, a shard in a twentieth of a second."""
    from augsynth.generation import ray_actors

    for module in (fake_run, run_files):  # the processes can't import tests
        ray.cloudpickle.register_pickle_by_value(module)

    class Quick:
        def __init__(self, config: GenerateConfig, place: str, threads: int) -> None:
            self.actor = ray_actors._Actor(config, place, threads)

        def begin(self) -> None:
            patch = pytest.MonkeyPatch()
            without_models(patch, self.actor._config)
            for name in ("fingerprint", "open_context", "open_dataset"):
                patch.setattr(ray_actors, name, getattr(run, name))
            inside = run.paint_planned

            def slowly(*given: Any, **named: Any) -> Any:
                time.sleep(0.05)
                return inside(*given, **named)

            patch.setattr(run, "paint_planned", slowly)
            self.actor.begin()

        def paint(self, plan: ShardPlan) -> tuple[bytes, float | None] | None:
            return self.actor.paint(plan)

    return Quick


@pytest.mark.parametrize("seed", range(int(os.environ.get("AUGSYNTH_TRIALS", "0"))))
def test_a_node_may_be_killed_at_any_moment_and_the_driver_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any, seed: int
) -> None:
    out, turns = tmp_path / "out", random.Random(seed)
    config = write_source(tmp_path / "source").but(n=SHARDS)
    with monkeypatch.context() as patch:
        without_models(patch, config)
        fake_run.generate(config, tmp_path / "whole")
    while len(cluster.list_all_nodes()) < 3:
        cluster.workers.append(cluster.add_node(num_cpus=1))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "augsynth.generation.ray_actors"])

    def started() -> Any:
        driver = context.Process(target=lead, args=(config, out, cluster.address))
        driver.start()
        return driver

    driver, most = started(), turns.randrange(SHARDS)
    while len(list(out.glob("shards/[0-9]*.json"))) < most and driver.is_alive():
        time.sleep(0.005)
    time.sleep(turns.uniform(0.0, 0.2 if most else 4.0))
    if turns.random() < 0.5:  # before the node, or after it
        driver.kill()
    node = cluster.workers.pop(turns.randrange(len(cluster.workers)))
    cluster.remove_node(node, allow_graceful=False)
    if turns.random() < 0.3:
        driver.kill()
    driver.join(600)
    assert driver.exitcode in (0, -signal.SIGKILL)
    if driver.exitcode:
        driver = started()
        driver.join(600)
    state = read_state(out)
    assert state is not None and state.status == "finished" and len(cluster.list_all_nodes()) == 2
    assert files_of(out) == files_of(tmp_path / "whole")
