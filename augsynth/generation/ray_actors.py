"""Painting on a Ray cluster: an actor for each GPU or core paints whole shards; results are those of one process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from augsynth.core.errors import AugsynthError, BackendError, ConfigError
from augsynth.core.records import ShardRecord
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.processes import DoneShard, PaintShards, is_small
from augsynth.generation.provenance import fingerprint
from augsynth.generation.rounds import ShardPlan
from augsynth.generation.run import paint_and_commit
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import read_state
from augsynth.generation.source_pictures import SourcePictures

RESTARTS = 10  # of an actor, after which it is left out
MOST_DEATHS = 3  # of actors at the same shard
BEGIN_S = 1800.0  # in which one of them is placed and has loaded its models
_ANSWER_S = 10.0


@contextlib.contextmanager
def open_actors(config: GenerateConfig) -> Iterator[PaintShards]:
    """Yield what lets the actors of a cluster paint shards, and returns them in order.

    Ray places the actors, and starts one anew whose process or node died: somewhere else, or when the node is back.
    Until then others paint its shard. They end with this process.

    Args:
        config: Of the run; `ray` says which cluster, `processes` how many actors.

    Raises:
        BackendError: No actor is left or finds a place, or several died at the same shard.
        ConfigError: There is no such cluster, or it has no GPU for `device` cuda.
    """
    import torch

    address = config.run.ray
    is_own = not ray.is_initialized()
    if is_own:
        _connect(address)
    actors: list[Any] = []
    try:
        on_gpu, threads = config.run.device.startswith("cuda"), torch.get_num_threads()
        cores = 1 if on_gpu or is_small(config.painting.model) else threads
        kind = ray.remote(num_cpus=cores, num_gpus=1 if on_gpu else 0, max_restarts=RESTARTS)(_Actor)
        given = config.but(device="cuda") if on_gpu else config
        num = config.run.processes or _room(cores, on_gpu=on_gpu)
        actors += [kind.remote(given, os.getcwd(), threads) for _ in range(num)]
        yield _Crew(actors).paint
    finally:
        if is_own:
            ray.shutdown()
        else:
            for actor in actors:
                ray.kill(actor)


def _connect(address: str | None) -> None:
    host, _, port = str(address).rpartition(":")
    try:
        if host and port.isdecimal():
            socket.create_connection(
                (host.rpartition("/")[2], int(port)), _ANSWER_S
            ).close()  # Ray waits for minutes
        before = signal.getsignal(signal.SIGTERM)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own ends the process without a word
    except (ValueError, RuntimeError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"ray {address!r} can't be reached ({why}); give the HOST:PORT of a cluster, auto, or local"
        ) from None


def _room(cores: int, *, on_gpu: bool) -> int:
    """Return how many actors the cluster has room for now.

    Raises:
        ConfigError: There is none.
    """
    found = ray.cluster_resources()
    num = int(found.get("GPU", 0)) if on_gpu else int(found.get("CPU", 0) // cores)
    if not num:
        raise ConfigError("the Ray cluster has no GPU; choose another cluster, or --device cpu")
    return num


class _Actor:
    """Paints shards in a run's directory, in a process of its own on any node.

    Args:
        config: Of the run, with the models filled in.
        place: Working directory of the run, for its relative paths; one that isn't on this node is left aside.
        threads: Of torch.
    """

    def __init__(self, config: GenerateConfig, place: str, threads: int) -> None:
        self._config, self._place, self._threads = config, place, threads
        self._held = contextlib.ExitStack()
        self._work: Any = None

    def begin(self) -> None:
        """Open the run's directory and load the models.

        Raises:
            AugsynthError: This node has other data, models or libraries than the run began with.
        """
        import torch

        with contextlib.suppress(FileNotFoundError):
            os.chdir(self._place)
        torch.set_num_threads(self._threads)
        config, dataset = open_dataset(self._config)
        out, pictures = Path(config.output.out), SourcePictures.of(dataset)
        folder = RunFolder(out, fingerprint(config, dataset), pictures, may_join=True)
        if read_state(out) is None or self._held.enter_context(folder).leads:
            raise BackendError(
                f"{out}: isn't the run's directory on {socket.gethostname()}; give an --out that all machines see, "
                "on a file system with locks"
            )
        self._work = open_context(config, dataset), folder

    def paint(self, plan: ShardPlan) -> tuple[bytes, float | None] | None:
        """Paint and commit a shard; return its record and the seconds, None where another process is at it."""
        context, folder = self._work
        done = paint_and_commit(context, folder, plan)
        return None if done is None else (done.record.to_bytes(), done.seconds)


class _Crew:
    """The actors of a run, each with a shard or on its way to the next.

    Args:
        actors: Handles.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, ShardPlan | None]] = {}
        self._deaths: Counter[int] = Counter()
        for actor in actors:
            self._begin(actor)

    def paint(self, plans: Sequence[ShardPlan]) -> Iterator[DoneShard | None]:
        """Yield shards in order, None where another process is at it."""
        due, found = deque(plans), dict[int, DoneShard | None]()
        for plan in plans:
            while plan.index not in found:
                while due and self._idle:
                    actor, given = self._idle.pop(), due.popleft()
                    self._busy[actor.paint.remote(given)] = actor, given
                self._wait(due, found)
            yield found.pop(plan.index)

    def _begin(self, actor: Any) -> None:
        """Let an actor load what it needs; after a death as soon as it is there again."""
        self._busy[actor.begin.options(max_task_retries=-1).remote()] = actor, None

    def _wait(self, due: deque[ShardPlan], found: dict[int, DoneShard | None]) -> None:
        """Take what actors return next; the shard of one that died is due again."""
        if not self._busy:
            raise BackendError("no painting process is left on the Ray cluster; the same command goes on")
        answered = ray.wait(list(self._busy), num_returns=1, timeout=BEGIN_S)[0]
        if not answered and all(plan is None for _, plan in self._busy.values()):
            raise BackendError(
                f"no painting process could begin in {BEGIN_S / 60:g} min: the Ray cluster has no room for one, or its "
                "nodes are gone; the same command goes on"
            )
        for done in answered:
            actor, plan = self._busy.pop(done)
            try:
                answer = ray.get(done)
            except RayTaskError as error:
                raise _cause(error) from None
            except (RayActorError, ObjectLostError):  # its node may take with it what an actor returned
                if plan is None:
                    continue  # it died too often
                self._deaths[plan.index] += 1
                if self._deaths[plan.index] == MOST_DEATHS:
                    raise BackendError(
                        f"{MOST_DEATHS} painting processes were ended at shard {plan.index}, perhaps for want of "
                        "memory; the same command goes on where it stopped, with fewer --processes"
                    ) from None
                due.appendleft(plan)
                self._begin(actor)
            else:
                self._idle.append(actor)
                if plan is not None:
                    found[plan.index] = answer and DoneShard(ShardRecord.from_bytes(answer[0]), answer[1])


def _cause(error: RayTaskError) -> Exception:
    """Return what an actor raised, as itself where it is one of this package's errors."""
    return error.cause if isinstance(error.cause, AugsynthError) else error
