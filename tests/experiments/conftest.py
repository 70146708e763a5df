"""Watching an experiment: which samples, by id, each step of an evaluation is given."""

from dataclasses import dataclass, field
from itertools import groupby
from types import ModuleType

import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest
from sklearn.preprocessing import StandardScaler

from gexlib import baselines, training
from gexlib.cohorts import open_cohort, store
from gexlib.experiments import transfers
from gexlib.gram import Pool
from gexlib.results import Cell


@dataclass
class Step:
    """One step: what was done, on which samples, with what else."""

    name: str
    ids: tuple[str, ...]
    more: dict = field(default_factory=dict)


@dataclass
class Seen:
    """One cell, its rows, and the steps taken for it."""

    cell: Cell
    rows: list[dict]
    steps: list[Step]

    def __getattr__(self, name):
        """Read a parameter of the cell; None where it has none of that name."""
        return self.cell.parameters.get(name)

    def of(self, *names: str) -> list[Step]:
        return [step for step in self.steps if step.name in names]

    @property
    def tested(self) -> set[str]:
        """Samples that were predicted."""
        (ids,) = {step.ids for step in self.of("predict")}
        return set(ids)

    @property
    def learning(self) -> list[Step]:
        """Steps that learn something: no test sample may be in any of them."""
        return self.of("scale", "select", "tune", "train", "fine-tune")

    @property
    def learner(self) -> Step:
        """The step that learned on the cell's own training samples: the last of its kind."""
        return self.of("tune", "train", "fine-tune")[-1]


class Watch:
    """Steps of the evaluation of cells on one cohort, recorded while it is patched in."""

    def __init__(self, cohort, module: ModuleType, patch: pytest.MonkeyPatch):
        X = np.asarray(cohort.X)
        self.ids = {row.tobytes(): name for row, name in zip(X, cohort.obs_names, strict=True)}
        assert len(self.ids) == len(X), "two samples hold the same values, so they cannot be told apart"
        self.steps: list[Step] = []
        self.known: dict[int, tuple] = {}  # by id: the array or scaler, kept alive, and its samples
        self.scaled: dict[bytes, tuple] = {}  # by the values of a scaled sample: its name and what it was scaled on
        self.outside: dict[int, tuple] = {}  # by id: a network inside a pool, kept alive, and the one it copies
        self.untrained: list = []
        self.module = module
        self.networks = module if hasattr(module, "train_network") else transfers  # where they are trained
        self._spy(patch)

    def raw(self, X) -> tuple[str, ...]:
        return tuple(self.ids[np.ascontiguousarray(row).tobytes()] for row in X)

    def note(self, name, ids, **more) -> Step:
        self.steps.append(Step(name, tuple(ids), more))
        return self.steps[-1]

    def _spy(self, patch):
        fit, transform, select = StandardScaler.fit, StandardScaler.transform, SelectKBest.fit
        tune, scores, split = baselines.tune, baselines.scores, training.validation_split
        inner_scores = baselines.inner_scores

        def spy_inner(bare, X, y, splits, *args):
            """Inside, selected genes alone are scaled, so samples have no name: see `test_baselines` for its folds."""
            if isinstance(bare, training.MLPClassifier):  # it is given all genes
                return inner_scores(bare, X, y, splits, *args)
            for train, _ in splits:
                self.note("scale", self.raw(X[train]))
            with pytest.MonkeyPatch.context() as unwatched:
                unwatched.setattr(StandardScaler, "fit", fit)
                unwatched.setattr(StandardScaler, "transform", transform)
                return inner_scores(bare, X, y, splits, *args)

        def spy_fit(scaler, X, *args, **kwargs):
            self.known[id(scaler)] = scaler, self.note("scale", self.raw(X)).ids
            return fit(scaler, X, *args, **kwargs)

        def spy_transform(scaler, X, *args, **kwargs):
            scaled = transform(scaler, X, *args, **kwargs)
            ids, scaled_on = self.raw(X), self.known[id(scaler)][1]
            self.known[id(scaled)] = scaled, ids, scaled_on
            self.scaled |= {row.tobytes(): (name, scaled_on) for row, name in zip(scaled, ids, strict=True)}
            return scaled

        def spy_select(selection, X, *args, **kwargs):
            self.note("select", self.known[id(X)][1])
            return select(selection, X, *args, **kwargs)

        def spy_tune(method, X, y, groups, tuning, seed):
            step = self.note("tune", self.raw(X), method=method, y=tuple(y), groups=tuple(groups), seed=seed)
            step.more["tuned"] = tune(method, X, y, groups, tuning, seed)
            self.steps.append(step)  # again behind the inner folds, so that it is the last
            return step.more["tuned"]

        def spy_scores(pipeline, X):
            self.note("predict", self.raw(X))
            return scores(pipeline, X)

        def spy_split(y, groups, share, seed):
            found = split(y, groups, share, seed)
            self.steps[-1].more["validation"] = None if found is None else tuple(map(tuple, found))
            return found

        patch.setattr(StandardScaler, "fit", spy_fit)
        patch.setattr(StandardScaler, "transform", spy_transform)
        patch.setattr(SelectKBest, "fit", spy_select)
        patch.setattr(baselines, "tune", spy_tune)
        patch.setattr(baselines, "inner_scores", spy_inner)
        patch.setattr(baselines, "scores", spy_scores)
        patch.setattr(training, "validation_split", spy_split)
        self._spy_networks(patch)

    def _spy_networks(self, patch):
        predict, train = self.networks.predict_proba, self.networks.train_network
        fine_tune = getattr(self.networks, "fine_tune", None)

        def samples(X, model=None):
            """Return names of scaled samples, or of rows of the pool that a network is in, and what scaled them."""
            profiles = X if X.ndim == 2 else model.hidden[0].linear.start.pool.X.numpy()[X]
            ids, scaled_on = zip(*(self.scaled[np.ascontiguousarray(row).tobytes()] for row in profiles), strict=True)
            assert len(set(scaled_on)) == 1, "samples were scaled by two scalers"
            return ids, scaled_on[0]

        def learn(name, X, y, groups, seed, model=None, **more):
            ids, scaled_on = samples(X, model)
            return self.note(name, ids, scaled_on=scaled_on, y=tuple(y), groups=tuple(groups), seed=seed, **more)

        def spy_enter(pool, model):
            inside = enter(pool, model)
            self.outside[id(inside)] = inside, model
            return inside

        def spy_new(*arguments):
            self.untrained.append(new(*arguments))
            return self.untrained[-1]

        def outside(model):
            return self.outside.get(id(model), (model, model))[1]

        def spy_train(X, y, n_classes, training, network, groups, seed):
            step = learn("train", X, y, groups, seed)
            step.more["model"], history = train(X, y, n_classes, training, network, groups, seed)
            return step.more["model"], history

        def spy_fine_tune(source, X, y, training, frozen, groups, seed):
            fresh = any(outside(source) is model for model in self.untrained)
            more = {} if fresh else {"source": outside(source), "frozen": frozen}
            step = learn("train" if fresh else "fine-tune", X, y, groups, seed, source, **more)
            step.more["model"], history = fine_tune(source, X, y, training, frozen, groups, seed)
            return step.more["model"], history

        def spy_predict(model, X):
            ids, scaled_on = samples(X, model)
            self.note("predict", ids, scaled_on=scaled_on, model=outside(model))
            return predict(model, X)

        patch.setattr(self.networks, "train_network", spy_train)
        patch.setattr(self.networks, "predict_proba", spy_predict)
        if fine_tune:
            enter, new = Pool.enter, self.networks.new_network
            patch.setattr(self.networks, "fine_tune", spy_fine_tune)
            patch.setattr(self.networks, "new_network", spy_new)
            patch.setattr(Pool, "enter", spy_enter)

    def evaluate(self, cells: list[Cell]) -> list[Seen]:
        """Evaluate cells group by group, as the runner does."""
        seen = []
        for _, group in groupby(sorted(cells, key=self.module.group), self.module.group):
            for cell, rows in self.module.evaluate(list(group)):
                seen.append(Seen(cell, rows, self.steps))
                self.steps = []
        assert {s.cell for s in seen} == set(cells)
        return seen


@pytest.fixture(scope="session")
def watched():
    """Return a function that evaluates an experiment on one cohort and says what each cell saw."""

    def run(module: ModuleType, parameters, keep=lambda cell: True) -> list[Seen]:
        with pytest.MonkeyPatch.context() as patch:
            watch = Watch(open_cohort(parameters.cohort), module, patch)
            return watch.evaluate([cell for cell in module.cells(parameters) if keep(cell)])

    return run


@pytest.fixture(scope="session")
def variant(session_home):
    """Return a function that stores a simulated cohort with other labels under another name."""

    def make(name: str, base: str, change) -> str:
        cohort = open_cohort(base).to_memory()
        obs = change(cohort.obs.copy())
        cohort = cohort[obs.index].copy()  # `change` may leave samples out
        cohort.obs = obs
        cohort.uns |= {"simulated": True, "digest": ""}
        store.save(cohort, name)
        return name

    return make


@pytest.fixture(scope="session")
def canary(variant):
    """Return the name of a cohort in which status has nothing to do with expression."""
    random = np.random.default_rng(1)
    return variant(
        "canary", "simulated-microarray:smoke", lambda obs: obs.assign(status=random.permutation(obs["status"]))
    )


@pytest.fixture(scope="session")
def travellers(variant):
    """Return the name of a cohort in which patients have samples of two cancer types."""

    def share(obs):
        labels = obs["patient"].to_numpy(copy=True)
        first, second = (np.flatnonzero(obs["cancer_type"] == kind) for kind in ("BRCA", "HNSC"))
        labels[second[:25]] = labels[first[:25]]
        return obs.assign(patient=labels)

    return variant("travellers", "simulated-tcga:smoke", share)
