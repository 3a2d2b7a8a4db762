"""A rate of success while a run trains: the weights of the moment, from the same initial states."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from act.policies.contract_file import read_contract
from act.policies.weights import copy_weights, save_weights
from act.simulate import aloha
from act.simulate.flags import CHUNKS, EvalEnvFlags
from act.simulate.foreign import module_and_factory
from act.simulate.rendering import choose_renderer
from act.simulate.results import Rules
from act.simulate.robot import keys_of
from act.simulate.simulating import Pool
from act.simulate.trials import way_of
from act.simulate.work import Task, Trial
from job.machine import cpu_count
from job.output_names import CONTRACT
from job.whole_files import output_errors, sha256, write_json
from job.workers import Workers

_PLACE = ".eval_env"  # in a run's folder, while a rate is measured
_FILE = "policy_last.ckpt"


class RateInSimulation:
    """Measures how often a policy succeeds in an environment, with whole chunks as upstream."""

    def __init__(self, flags: EvalEnvFlags, folder: Path, computing: Mapping[str, str]) -> None:
        """folder: of the run; computing: what `load_policy` is to be given of the machine

        Raises UsageError for an environment that is not there.
        """
        self._flags, self._folder = flags, folder
        self._computing = tuple(sorted(computing.items()))
        if flags.eval_env in aloha.TASKS:
            aloha.check_packages()
            choose_renderer(renders=True)
            stages = aloha.TASKS[flags.eval_env].stages
            self._rules = Rules(stages[-1].reward, stages)
        else:
            module_and_factory(flags.eval_env)
            self._rules = Rules(None)

    def check(self) -> None:
        """Raise UsageError where the environment has not what the policy observes."""
        keys_of(self._flags.eval_env, read_contract(self._folder), self._flags.eval_map)

    def measure(self, weights: Mapping[str, Tensor]) -> float:
        """The share of successes of the policy with these weights, 0 to 1; raises Interrupted."""
        place = self._folder / _PLACE
        try:
            trial = self._trial(place, weights)
            tasks = [
                Task(trial, self._flags.eval_env, self._flags.eval_map, seed, steps)
                for seed, steps in self._flags.eval_states
            ]
            with Workers() as workers:
                pool = Pool(workers, cpu_count(), self._flags.eval_env)
                done = [rollout for _, rollout in pool.do(tasks, "simulate")]
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return sum(map(self._rules.is_success, done)) / len(done)

    def _trial(self, place: Path, weights: Mapping[str, Tensor]) -> Trial:
        """The weights as a checkpoint with a contract, from which other processes load them."""
        with output_errors(place):
            shutil.rmtree(place, ignore_errors=True)  # what a kill has left
            place.mkdir()
        file = place / _FILE
        save_weights(file, copy_weights(weights))
        digest = sha256(file)
        contract = read_contract(self._folder).model_copy(
            update={"file": _FILE, "checkpoints": {_FILE: [digest]}}
        )
        write_json(place / CONTRACT, contract.model_dump(mode="json"))
        return Trial("last", file, digest, way_of(CHUNKS, contract), self._computing)
