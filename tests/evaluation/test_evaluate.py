"""mrt/evaluation/evaluate.py, loop.py, judge.py, clean_pass.py: The evaluator: what it counts, what it gives to
whom, and that nothing an attack returns is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import mrt
from mrt.evaluation.judge import CountedModel, judge
from mrt.evaluation.tally import beats
from mrt.protocols import Threat
from tests.support import UNION, digits, digits_net, small_net, torch_seed

pytestmark = pytest.mark.filterwarnings("ignore:gradient masking")
QUICK: dict[str, Any] = {"progress": False}


@dataclass(frozen=True)
class Says:
    """Returns what `answer` makes of (x, y), whatever that is."""

    threat: Threat
    answer: Any

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, target: Any = None, rng: Any = None, start: Any = None
    ) -> Any:
        return self.answer(x, y)


def says(answer: Any, threat: Threat = mrt.Linf(0.2), name: str = "says") -> mrt.Entry:  # noqa: B008
    return mrt.Entry(name, Says(threat, answer), threat)


def small(threats: Any = UNION, budget: float = 0.05) -> Any:
    return mrt.batteries.quick(threats, budget=budget)


def test_the_lines_of_the_front_page() -> None:
    x, y = digits(40)
    report = mrt.evaluate(digits_net(), (x, y), battery="quick", threats=UNION, budget=0.2, **QUICK)
    assert 0 <= report.union <= report.average <= report.clean <= 1
    assert report.threats["l1"] == report.attacks["apgd-t-l1"] <= report.attacks["apgd-ce-l1"]
    assert report.masks["apgd-ce-l1"].shape == (40,) and report.masks["apgd-ce-l1"].dtype == torch.bool
    assert report.union < 0.2 and "apgd-ce-l1" in str(report) and "union" in str(report)


def test_numbers_follow_from_the_masks() -> None:
    x, y = digits(40)
    for cascade in (True, False):
        report = mrt.evaluate(digits_net(), (x, y), small(), cascade=cascade, **QUICK)
        correct = digits_net()(x).argmax(1) == y
        assert torch.equal(report.correct, correct) and report.clean == correct.double().mean()
        union = correct.clone()
        for column in ("linf", "l2", "l1"):
            stands = correct.clone()
            for label in (a for a, c in report.columns.items() if c == column):
                assert torch.equal(report.ran[label], stands if cascade else correct)
                assert not (report.masks[label] & ~report.ran[label]).any()
                stands &= report.masks[label] | ~report.ran[label]
                assert report.attacks[label] == pytest.approx(
                    float((stands if cascade else report.masks[label]).double().mean())
                )
            assert report.threats[column] == pytest.approx(float(stands.double().mean()))
            union &= stands
        assert torch.equal(report.robust, union) and report.union == pytest.approx(float(union.double().mean()))
        assert report.average == pytest.approx(sum(report.threats.values()) / 3)
        if not cascade:
            assert report.minimum == min(report.attacks.values())


def test_the_cascade_changes_no_column() -> None:
    x, y = digits(80)
    battery = (*small(), mrt.Entry("pgd", mrt.PGD(UNION[0], steps=5, restarts=2), UNION[0], runs=2))
    on, off = (mrt.evaluate(digits_net(), (x, y), battery, cascade=c, **QUICK) for c in (True, False))
    assert on.threats == off.threats and on.union == off.union and torch.equal(on.robust, off.robust)
    for label in on.masks:
        assert torch.equal(on.masks[label][on.ran[label]], off.masks[label][on.ran[label]])
    spent = [sum(w["forward"] for w in r.info["attacks"].values()) for r in (on, off)]
    assert spent[0] < spent[1]


def test_batches_change_nothing_for_our_attacks() -> None:
    x, y = digits(24)
    reports = [mrt.evaluate(digits_net(), (x, y), small(), batch_size=b, **QUICK) for b in (7, 24)]
    for label in reports[0].masks:
        assert (reports[0].masks[label] != reports[1].masks[label]).sum() <= 1  # a rounding of the network's own
    again = mrt.evaluate(digits_net(), (x, y), small(), batch_size=7, **QUICK)
    assert all(torch.equal(again.masks[label], reports[0].masks[label]) for label in again.masks)
    assert torch.equal(again.worst, reports[0].worst)


def test_nothing_returned_is_believed() -> None:
    x, y = digits(30)
    right = digits_net()(x).argmax(1) == y
    x, y = x[right], y[right]

    def nan(x: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(x, torch.nan)

    far = mrt.Linf(0.8)
    strong = mrt.PGD(far, steps=20)(digits_net(), x, y)
    lies = {
        "nan": nan,
        "box": lambda x, y: x + 2,
        "outside": lambda x, y: strong[: len(x)],
        "clean": lambda x, y: x,
        "half": lambda x, y: torch.where(torch.rand_like(x) < 0.01, torch.nan, x),
    }
    assert (digits_net()(strong).argmax(1) != y).all()
    for name, lie in lies.items():
        with pytest.warns(UserWarning, match="do not count") if name != "clean" else _silent():
            report = mrt.evaluate(digits_net(), (x, y), (says(lie),), **QUICK)
        assert report.union == report.clean == 1.0, name
        work = report.info["attacks"]["says-linf"]
        assert work["nan" if name == "half" else name] > 0 if name != "clean" else True
        if name != "outside":
            assert report.distances["says-linf"].isinf().all()


class _silent:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize("answer", [lambda x, y: x[:1], lambda x, y: x.numpy(), lambda x, y: None])
def test_an_answer_of_another_kind_is_an_error(answer: Any) -> None:
    with pytest.raises(ValueError, match="an attack must return a tensor"):
        mrt.evaluate(digits_net(), digits(5), (says(answer),), **QUICK)


def test_distances_worst_images_and_pictures() -> None:
    x, y = digits(40)
    battery = (
        mrt.Entry("ddn", mrt.Foreign("foolbox", "DDNAttack", (("steps", 30),)), UNION[1], distances=True),
        mrt.Entry("pgd", mrt.PGD(UNION[1], steps=20), UNION[1]),
        mrt.Entry("pgd", mrt.PGD(UNION[0], steps=20), UNION[0]),
    )
    report = mrt.evaluate(digits_net(), (x, y), battery, **QUICK)
    ddn = report.distances["foolbox.ddn-l2"]
    assert (ddn[~report.correct] == 0).all() and (ddn[report.correct] > 0).all()
    broken = report.correct & ~report.masks["foolbox.ddn-l2"]
    assert torch.equal(ddn[report.correct] <= 0.7 * (1 + 1e-5), broken[report.correct])
    fooled = report.correct & ~report.robust
    assert (digits_net()(report.worst[fooled]).argmax(1) != y[fooled]).all()
    inside = mrt.AnyOf(UNION[:2]).contains(x, report.worst)
    assert inside.all()
    assert sum(len(samples.index) > 0 for samples in report.samples.values()) >= 2
    for label, samples in report.samples.items():
        assert len(samples.index) == min(4, int((report.ran[label] & ~report.masks[label]).sum()))
        assert not report.masks[label][samples.index].any()
        assert torch.equal(samples.x, x[samples.index]) and torch.equal(samples.y, y[samples.index])
        assert torch.equal(digits_net()(samples.x_adv).argmax(1), samples.predicted)
        assert (samples.predicted != samples.y).all()
        threat = UNION[1] if label.endswith("l2") else UNION[0]
        assert threat.contains(samples.x, samples.x_adv).all()


def test_the_judge_against_its_definition() -> None:
    """Broken, distances beyond the radius, losses: by hand on points at known places."""
    x, y = digits(40)
    right = digits_net()(x).argmax(1) == y
    x, y = x[right][:12], y[right][:12]
    strong = mrt.PGD(mrt.Linf(0.6), steps=20)(digits_net(), x, y)
    assert (digits_net()(strong).argmax(1) != y).all()
    points = torch.where((torch.arange(12) % 2 == 0)[:, None, None, None], strong, x)
    verdict = judge(digits_net(), mrt.Linf(0.2), x, y, points, None)
    far = (strong - x).abs().flatten(1).amax(1)
    assert (far > 0.2).all() and not verdict.broken.any() and verdict.faults == {"nan": 0, "box": 0, "outside": 6}
    assert torch.allclose(verdict.distance[::2], far[::2].double()) and verdict.distance[1::2].isinf().all()
    assert verdict.loss[::2].isneginf().all() and (verdict.loss[1::2] >= 0).all()
    verdict = judge(digits_net(), mrt.Linf(0.7), x, y, points, None)
    assert torch.equal(verdict.broken, torch.arange(12) % 2 == 0) and verdict.loss[0] > verdict.loss[1]


def test_rounding_beyond_the_radius_is_no_distance_beyond_it() -> None:
    x = torch.full((1, 1, 8, 8), 0.25)
    x_adv, y = x + 2.0 * (1 + 1.5e-6) / 64, (digits_net()(x).argmax(1) + 1) % 10
    assert float(mrt.L1(2.0).distance(x, x_adv)) > 2.0
    verdict = judge(digits_net(), mrt.L1(2.0), x, y, x_adv, None)
    assert verdict.broken.all() and verdict.distance.tolist() == [2.0]


def test_the_smallest_distance_and_the_worst_image_of_several_runs() -> None:
    """A scripted attack returns given points one after another."""
    x, y = digits(40)
    right = digits_net()(x).argmax(1) == y
    x, y = x[right][:6], y[right][:6]
    points = [mrt.PGD(mrt.Linf(e), steps=20, best="loss")(digits_net(), x, y) for e in (0.5, 0.3, 0.6)]
    calls: list[int] = []

    def script(x: Tensor, y: Tensor) -> Tensor:
        calls.append(1)
        return points[len(calls) - 1]

    entry = mrt.Entry("a", Says(mrt.Linf(0.7), script), mrt.Linf(0.7), 3, distances=True)
    report = mrt.evaluate(digits_net(), (x, y), (entry,), **QUICK)
    distances, losses = [], []
    for point in points:
        logits = digits_net()(point)
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
        fooled = logits.argmax(1) != y
        distances.append(torch.where(fooled, (point - x).abs().flatten(1).amax(1), torch.inf))
        losses.append(torch.where(fooled, loss + 1e6, loss))
    assert torch.allclose(report.distances["a-linf"], torch.stack(distances).amin(0).double())
    best = torch.stack(losses).argmax(0)
    assert torch.equal(report.worst, torch.stack(points)[best, torch.arange(6)]) and len(set(best.tolist())) >= 1
    assert best.tolist() != [0] * 6 or distances[0].isfinite().all()


def test_an_attack_that_sets_train_mode_changes_no_verdict() -> None:
    net, x = small_net((1, 8, 8), 10).eval(), torch.rand(30, 1, 8, 8, generator=torch_seed(0))
    y = net(x).argmax(1)

    def meddle(x: Tensor, y: Tensor) -> Tensor:
        net.train()
        return x

    report = mrt.evaluate(net, (x, y), (says(meddle),), **QUICK)
    assert report.union == 1.0 and not net.training


def test_seeds_do_not_depend_on_the_rest_of_the_battery() -> None:
    x, y = digits(30)
    one = mrt.Entry("pgd", mrt.PGD(UNION[0], steps=1), UNION[0])
    other = mrt.Entry("pgd", mrt.PGD(mrt.Linf(0.1), steps=1), mrt.Linf(0.1))
    alone = mrt.evaluate(digits_net(), (x, y), (one,), **QUICK)
    beside = mrt.evaluate(digits_net(), (x, y), (other, one), **QUICK)
    assert torch.equal(alone.masks["pgd-linf"], beside.masks["pgd-linf@0.2"])
    assert torch.equal(alone.distances["pgd-linf"], beside.distances["pgd-linf@0.2"])
    renamed = mrt.evaluate(digits_net(), (x, y), (mrt.Entry("b", one.attack, UNION[0]),), **QUICK)
    assert not torch.equal(renamed.worst, alone.worst)


def test_fooling_beats_a_larger_loss_and_ties_keep_the_earlier() -> None:
    new = torch.tensor([1.0, 3.0, 2.0, 2.0, 1.0]), torch.tensor([True, False, True, False, True])
    old = torch.tensor([3.0, 1.0, 1.0, 2.0, 1.0]), torch.tensor([False, True, True, False, True])
    assert beats(*new, *old).tolist() == [True, False, True, False, False]


def test_pictures_are_kept_of_images_that_are_not_the_worst() -> None:
    """The closest points have small losses beside those of a full-strength attack before them."""
    ddn = mrt.Foreign("foolbox", "DDNAttack", (("steps", 30),))
    strong = mrt.Entry("pgd", mrt.PGD(UNION[0], steps=20, best="loss"), UNION[0])
    report = mrt.evaluate(digits_net(), digits(30), (strong, mrt.Entry("ddn", ddn, UNION[1])), **QUICK)
    broken = int((report.ran["foolbox.ddn-l2"] & ~report.masks["foolbox.ddn-l2"]).sum())
    assert len(report.samples["foolbox.ddn-l2"].index) == min(4, broken) == 4


def test_distances_see_all_even_late_in_a_cascade() -> None:
    ddn = mrt.Foreign("foolbox", "DDNAttack", (("steps", 10),))
    first = mrt.Entry("pgd", mrt.PGD(UNION[1], steps=10), UNION[1])
    battery = (first, mrt.Entry("ddn", ddn, UNION[1], distances=True), mrt.Entry("late", mrt.PGD(UNION[1]), UNION[1]))
    report = mrt.evaluate(digits_net(), digits(30), battery, **QUICK)
    assert not report.masks["pgd-l2"][report.correct].all()
    assert torch.equal(report.ran["foolbox.ddn-l2"], report.correct)
    assert torch.equal(report.ran["late-l2"], report.masks["pgd-l2"] & report.masks["foolbox.ddn-l2"])


def test_a_model_without_a_gradient_is_given_one_of_zero() -> None:
    def step(x: Tensor) -> Tensor:
        return (x > 0.5).float().flatten(1)[:, :4]

    x, passed = torch.rand(6, 1, 8, 8, generator=torch_seed(0)), list[int]()
    seen = CountedModel(step, connected=False, watch=passed.append)
    point = x.clone().requires_grad_()
    logits = seen(point)
    (grad,) = torch.autograd.grad(logits.sum(), point)
    assert torch.equal(logits, step(x)) and not grad.any()
    assert (seen.forwards, seen.backwards, passed) == (6, 6, [6])


def test_work_is_counted() -> None:
    x, y = digits(20)
    entry = mrt.Entry("pgd", mrt.PGD(UNION[0], steps=5, best="loss"), UNION[0])
    report = mrt.evaluate(digits_net(), (x, y), (entry,), batch_size=8, **QUICK)
    work, seen = report.info["attacks"]["pgd-linf"], int(report.correct.sum())
    assert work["backward"] == 5 * seen and work["forward"] == 6 * seen


def test_runs_see_what_stands_and_distances_see_all() -> None:
    x, y = digits(30)
    seen: list[int] = []

    def count(x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(x))
        return mrt.PGD(UNION[0], steps=1)(digits_net(), x, y, rng=torch.arange(len(x)) + 1000 * len(seen))

    entry = says(count)
    report = mrt.evaluate(digits_net(), (x, y), (mrt.Entry("a", entry.attack, UNION[0], 4),), **QUICK)
    assert seen == sorted(seen, reverse=True) and seen[0] == int(report.correct.sum()) and seen[1] < seen[0]
    seen.clear()
    mrt.evaluate(digits_net(), (x, y), (mrt.Entry("a", entry.attack, UNION[0], 4, distances=True),), **QUICK)
    assert seen == [int(report.correct.sum())] * 4


def test_what_one_run_has_broken_stays_broken() -> None:
    """Where every run sees every example, one that finds nothing takes nothing back."""
    x, y = digits(20)
    strong, runs = mrt.PGD(UNION[0], steps=10), list[int]()

    def first_only(x: Tensor, y: Tensor) -> Tensor:
        runs.append(len(x))
        return strong(digits_net(), x, y, rng=torch.arange(len(x))) if len(runs) == 1 else x

    entry = mrt.Entry("a", says(first_only).attack, UNION[0], 3, distances=True)
    report = mrt.evaluate(digits_net(), (x, y), (entry,), **QUICK)
    assert len(runs) == 3 and report.attacks["a-linf"] < report.clean


def test_more_runs_break_no_fewer_and_use_fresh_noise() -> None:
    x, y = digits(40)
    attack = mrt.PGD(UNION[0], steps=1, random_start=True)
    left = [
        mrt.evaluate(digits_net(), (x, y), (mrt.Entry("a", attack, UNION[0], runs),), **QUICK).masks["a-linf"]
        for runs in (1, 10)
    ]
    assert not (left[1] & ~left[0]).any() and left[1].sum() < left[0].sum()


def test_an_l0_search_counts_for_the_column_it_names() -> None:
    x, y = digits(30)
    battery = (
        mrt.Entry("pgd", mrt.SLIDE(mrt.L1(0.1), steps=2), mrt.L1(0.1)),
        mrt.Entry("l0", mrt.GreedyL0(mrt.L0(12)), mrt.L0(12), column=mrt.L1(0.1)),
    )
    report = mrt.evaluate(digits_net(), (x, y), battery, **QUICK)
    assert list(report.threats) == ["l1"] and report.threats["l1"] == report.attacks["l0-l0"] < report.attacks["pgd-l1"]
    assert (report.distances["l0-l0"][report.correct & ~report.masks["l0-l0"]] <= 12).all()


def test_motions_and_mixtures_show_their_membership() -> None:
    x, y = digits(20)
    rt, affine = mrt.RotationTranslation(30, 2), mrt.Affine((mrt.Linf(0.2), mrt.L1(2.0)))
    battery = (
        mrt.Entry("grid", mrt.RTGrid(rt, grid=(3, 3, 5)), rt),
        mrt.Entry("spatial", mrt.Foreign("foolbox", "SpatialAttack", (("num_rotations", 3),)), rt),
        mrt.Entry("affine", mrt.AffineAttack(affine, steps=5, restarts=2), affine),
        mrt.Entry("msd", mrt.MSD(UNION, steps=5), mrt.AnyOf(UNION)),
    )
    report = mrt.evaluate(digits_net(), (x, y), battery, **QUICK)
    assert set(report.threats) == {"rt", "affine", "any"} and report.union < report.clean
    assert all(work["outside"] == 0 for work in report.info["attacks"].values())
    assert not any("rt" in label for label in report.distances)


def test_a_model_in_train_mode_is_evaluated_in_eval_mode_and_left_as_it_was() -> None:
    net, x = small_net((1, 8, 8), 10), torch.rand(12, 1, 8, 8, generator=torch_seed(0))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    y = net.eval()(x).argmax(1)
    expected = mrt.evaluate(net, (x, y), small(budget=0.02), **QUICK)
    net.train()
    with pytest.warns(UserWarning, match="train mode"):
        report = mrt.evaluate(net, (x, y), small(budget=0.02), **QUICK)
    assert report.clean == 1.0 and report.threats == expected.threats
    assert all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_nobody_left_to_attack() -> None:
    x, y = digits(10)
    wrong = (digits_net()(x).argmax(1) + 1) % 10
    report = mrt.evaluate(digits_net(), (x, wrong), small(), **QUICK)
    assert report.clean == report.union == 0 and (report.distances["apgd-ce-l2"] == 0).all()
    assert str(report)


class Elsewhere(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2, 3))[:, None]


X, Y = digits(6)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"battery": "quik"}, "battery must be one of"),
    ({"battery": "quick", "threats": None}, "needs threats"),
    ({"battery": "quick", "threats": (0.3,)}, "no named battery"),
    ({"battery": "quick", "threats": mrt.Linf(0.3)}, "threats must be a non-empty tuple"),
    ({"battery": small(), "budget": 0.5}, "budget="),
    ({"battery": ()}, "battery"),
    ({"battery": (3,)}, "Entry"),
    ({"battery": small(), "threats": UNION}, "threats="),
    ({"battery": (mrt.Entry("a", mrt.Foreign("foolbox", "BoundryAttack"), UNION[1]),)}, "did you mean BoundaryAttack"),
    ({"batch_size": 0}, "batch_size"),
    ({"seed": -1}, "seed"),
    ({"cascade": "yes"}, "cascade"),
    ({"model": 3}, "callable"),
    ({"model": Elsewhere()}, "logits"),
    ({"data": X}, "data must be"),
    ({"data": (X, Y + 20)}, "labels must be below"),
    ({"data": (X[:0], Y[:0])}, "at least one example"),
    ({"data": (X, Y[:3])}, "one label per image"),
    ({"data": (X * 255, Y)}, "pass uint8"),
    ({"data": (X, torch.eye(10)[Y])}, "one-hot"),
    ({"data": (X[0], Y)}, "N, C, H, W"),
    ({"device": "cuda:0"}, "move it there first"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_calls_are_refused_before_anything_is_written(change: dict[str, Any], message: str, tmp_path: Any) -> None:
    call: dict[str, Any] = {"model": digits_net(), "data": (X, Y), "battery": "quick", "threats": UNION, **change}
    if not isinstance(call["battery"], str) and "threats" not in change:
        call["threats"] = None
    with pytest.raises(ValueError, match=message):
        mrt.evaluate(**call, out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_data_of_the_wrong_shape_for_the_model_is_the_models_own_error() -> None:
    with pytest.raises(ValueError, match="8x8|1, 8, 8"):
        mrt.evaluate(digits_net(), (torch.rand(4, 1, 9, 9), torch.zeros(4).long()), "quick", threats=UNION, **QUICK)


def test_arrays_and_integers_are_data_too() -> None:
    x, y = digits(8)
    report = mrt.evaluate(digits_net(), (x.numpy(), y.numpy()), small(), **QUICK)  # type: ignore[arg-type]
    bytes_ = (x * 255).round().to(torch.uint8), y.int()
    other = mrt.evaluate(digits_net(), bytes_, small(), **QUICK)
    assert report.n == other.n == 8 and report.clean == other.clean
