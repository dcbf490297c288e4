# ruff: noqa: E501 - a mutant is one line
"""Break the mathematics one line at a time: the suite has to go red for every mutant.

    python -m tests.mutants [WORD ...]      # only those whose file or line holds one of the words

A mutant is a file, a line as it stands and the line in its place, and the tests that must notice. Each runs in a copy of the
tree. `make test-slow` runs them all, after the unbroken tree has passed the same tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAWS, LINEAR, ALGORITHMS = "threats/test_laws.py", "attacks/test_linear.py", "attacks/test_algorithms.py"
PROMISES, LOSSES, CRAFTING = "attacks/test_laws.py", "crafting/test_losses.py", "crafting/test_gradient.py"
NOISE, SPATIAL = "threats/test_noise.py", "threats/test_spatial.py"

HOSTING, EVALUATE, DOUBTS = "hosts/test_hosted.py", "evaluation/test_evaluate.py", "evaluation/test_reliability.py"
METRICS, BATTERY, REPORT = (
    "evaluation/report/test_metrics.py",
    "evaluation/test_battery.py",
    "evaluation/report/test_report.py",
)
COMPARE = "evaluation/report/test_compare.py"
TRAPS, RESUME, PEERS = "adapters/test_traps.py", "evaluation/test_resume.py", "evaluation/test_peers.py"

STRATEGY, LOOP, RUNS, TUNE = (
    "strategies/test_laws.py",
    "training/test_loop.py",
    "training/test_resume.py",
    "training/test_tune.py",
)
SHARED, TRAIN = "training/test_processes.py", "cli/test_train.py"
INTERPRETED, NATIVE, FASTER = "kernels/in_interpreter.py", "kernels/test_cpu.py", "crafting/test_recorded_steps.py"
TWINS, REUSE = "crafting/test_model_copy.py", "crafting/test_winner_gradient.py"
ONTO, MAKERS, BOXES, LEARNED = (
    "threats/test_differentiable.py",
    "generators/test_laws.py",
    "generators/test_algorithms.py",
    "strategies/test_learned.py",
)
TRANSFER, LOSS_PATH, TRADEOFF = (
    "evaluation/analysis/test_transfer.py",
    "evaluation/analysis/test_loss_path.py",
    "evaluation/analysis/test_tradeoff.py",
)
BATCHES = "data/test_batches.py"
RANGED, STREAM = "hosts/test_pixel_range.py", "data/test_stream.py"
FOOLBOX, ART_ATTACKS = "adapters/test_foolbox_attacks.py", "adapters/test_art_attacks.py"
ART_TRAINERS = "adapters/test_art_trainers.py"
GRAPHS, PRETENDED, CHECKS = "crafting/test_cuda_graphs.py", "crafting/test_pretend_gpu.py", "test_checks.py"
TRAINED_THERE, JUDGED_THERE = "training/test_pretend_gpu.py", "evaluation/test_pretend_gpu.py"
EXACT, SPED = "evaluation/test_exact.py", "evaluation/test_fast.py"

Mutant = tuple[str, str, str, str]  # file under mrt/ or adapters/, line, its replacement, tests

MUTANTS: tuple[Mutant, ...] = (
    # signs and steps
    ("threats/balls.py", 'grad.sign().mul_(per_example(size, grad))', 'grad.sign().mul_(-per_example(size, grad))', LINEAR),
    ("threats/balls.py", "return torch.clamp(grad, down, down + HUGE)", "return grad.clone()", LAWS),
    ("threats/balls.py", 'per_example(size / norm, grad)', 'per_example(size * norm, grad)', LAWS),
    ("threats/balls.py", 'grad.mul_(per_example(1 / largest, grad))', 'grad.mul_(1)', LAWS),
    ("threats/balls.py", 'per_example(size / count, grad)', 'per_example(size / count.clamp(max=1), grad)', LAWS),
    ("threats/balls.py", 'chosen.ge_(per_example', 'chosen.gt_(per_example', LAWS),
    ("threats/balls.py", "int(keep.max())).gather(1, keep[:, None] - 1)", "int(keep.max())).gather(1, keep[:, None] // 2)", LAWS),
    ("threats/balls.py", "(x + radius).clamp_(0, 1)", "(x + radius)", LAWS),
    # projections
    ("threats/projections.py", "excess = spent - eps", "excess = spent - 1.001 * eps", LAWS),
    ("threats/projections.py", "return torch.minimum(size.sub_(level).clamp_(min=0), room)", "return size.sub_(level).clamp_(min=0)", LAWS),
    ("threats/projections.py", "out=bounded).mul_(above.gt_(0))", "out=bounded)", LAWS),
    ("threats/projections.py", ".clamp_(max=1)\n    return delta.mul_", "\n    return delta.mul_", LAWS),
    ("threats/projections.py", "torch.where(inside, middle, low)", "torch.where(inside, low, middle)", LAWS),
    ("threats/projections.py", "return (x + delta).clamp_(0, 1).sub_(x)", "return delta.clone()", LAWS),
    ("threats/selection.py", "groups.amax(1).topk(k", "groups.amin(1).topk(k", LAWS),
    ("threats/selection.py", "return torch.cat([members.flatten(1), tail], 1)", "return members.flatten(1)", LAWS),
    ("threats/l0.py", "clipped * (2 * delta - clipped)", "delta.abs()", LAWS),
    ("threats/union.py", "gaps.argmin(0)", "gaps.argmax(0)", LAWS),
    # membership
    ("threats/radii.py", "eps * (1 + 2e-6)", "eps * 1.002", LAWS),
    ("threats/radii.py", "(flat <= 1)", "(flat <= 1.01)", LAWS),
    ("threats/affine.py", "(weights.sum(1) <= 1 + 1e-5)", "(weights.sum(1) <= 2)", SPATIAL),
    ("threats/affine.py", "return [t.scaled(weights[:, j])", "return [t.scaled(weights[:, 0])", SPATIAL),
    # motions and noise
    ("threats/spatial.py", "a * cos - b * sin", "a * cos + b * sin", SPATIAL),
    ("threats/spatial.py", "a = u - right.reshape(-1, 1, 1) - (width - 1) / 2", "a = u - right.reshape(-1, 1, 1) - width / 2", SPATIAL),
    ("threats/noise.py", "(z >> by) & ((1 << (64 - by)) - 1)", "z >> by", NOISE),
    ("threats/noise.py", "(high - low + 1)", "(high - low)", NOISE),
    # goals and bookkeeping
    ("crafting/losses.py", "best_other - own if target is None else own - best_other", "own - best_other", LOSSES),
    ("crafting/losses.py", "top[:, 0] - top[:, 2]", "top[:, 0] - top[:, 1]", LOSSES),
    ("crafting/losses.py", "else predicted == self.target", "else predicted != self.y", LOSSES),
    ("crafting/best.py", "better = loss > old_loss", "better = loss >= old_loss", LOSSES),
    ("crafting/best.py", "(broken & ~old_broken) | ((broken == old_broken) & better)", "better", LOSSES),
    ("crafting/task.py", "seeds=noise.fold(self.seeds, restart), restart", "seeds=self.seeds, restart", PROMISES),
    ("crafting/best.py", "rows = (~best.broken).nonzero()", "rows = (best.broken | True).nonzero()", PROMISES),
    ("crafting/gradient.py", "module.training = False", "module.training = module.training", CRAFTING),
    ("crafting/gradient.py", "norm.training, norm.track_running_stats = True, False", "norm.training = True", CRAFTING),
    ("crafting/gradient.py", "parameter.requires_grad_(want)", "parameter.requires_grad_(True)", PROMISES),
    # algorithms
    ("attacks/iterative.py", "return 2.5 * eps / steps", "return 2.0 * eps / steps", ALGORITHMS),
    ("attacks/sparsity.py", "(quantile * (entries - 1) - 1e-9).ceil()", "(quantile * (entries - 1) - 1e-9).floor()", ALGORITHMS),
    ("attacks/mim.py", "self.decay * momentum +", "momentum +", ALGORITHMS),
    ("attacks/mim.py", "(flat / mean)", "flat", ALGORITHMS),
    ("attacks/cw.py", "second / (1 - BETAS[1] ** step)", "second", ALGORITHMS),
    ("attacks/apgd.py", "rises <= RISES * period", "rises >= RISES * period", ALGORITHMS),
    ("attacks/apgd.py", "torch.where(stalled, size / 2, size)", "size", ALGORITHMS),
    ("attacks/apgd.py", "+ (1 - share) * (here - previous)", "", ALGORITHMS),
    ("attacks/apgd.py", "(changed / L1_TIGHTER)", "(changed / 1.0)", ALGORITHMS),
    ("attacks/affine.py", "task.restart < self._ends", "False", ALGORITHMS),
    ("attacks/affine.py", "self.steps * balls", "self.steps", ALGORITHMS),
    ("attacks/affine.py", "weights[:, number] = 1", "weights[:, number] = 0.5", ALGORITHMS),
    ("attacks/affine.py", "others, size, sparsity.entries_to_spend_on(ball, x))", "others, size)", ALGORITHMS),
    ("attacks/affine.py", "isinstance(member, Linf) if self.random_start is None", "True if self.random_start is None", ALGORITHMS),
    ("evaluation/plan.py", "column=self.threat) for e in alone.entries", "column=None) for e in alone.entries", BATTERY),
    ("evaluation/plan.py", "max(size, min(size * steps / count, width))", "size", BATTERY),
    ("evaluation/plan.py", "min(size * steps / count, width)", "size * steps / count", BATTERY),
    ("evaluation/report/compare.py", "min(1.0, 2 * tail / 2**apart)", "min(1.0, tail / 2**apart)", COMPARE),
    ("evaluation/report/compare.py", "range(min(first_only, second_only) + 1)", "range(min(first_only, second_only) + 2)", COMPARE),
    ("evaluation/report/results.py", 'pairs["union"] = (self.robust, other.robust)', 'pairs["union"] = (self.robust, self.robust)', COMPARE),
    ("evaluation/report/results.py", '("threats", "threats"), ', '', COMPARE),
    ("evaluation/report/results.py", '("battery", "attacks")', '', COMPARE),
    ("evaluation/analysis/loss_path.py", "losses.std(0, correction=0).mean(1)", "losses.amax(0).std(1, correction=0)", LOSS_PATH),
    ("evaluation/clean_pass.py", "right <= guessed + 2 * (guessed * (1 - 1 / classes)) ** 0.5", "right <= 0", DOUBTS),
    ("recipes/published.py", 'found.append("data")', "pass", REPORT),
    ("recipes/published.py", 'info.get("budget", 1) != 1', "False", REPORT),
    ("evaluation/report/charts.py", '{a: d for a, d in by_attack.items() if report.info["attacks"][a]["closest"]}', "by_attack", REPORT),
    ("attacks/apgd.py", "task.threat.scaled(radius)", "task.threat.scaled(1.0)", ALGORITHMS),
    ("attacks/apgd.py", "ball.apply(x, ball.project(best.point - x, x))", "best.point", ALGORITHMS),
    ("attacks/apgd.py", "self.share if radius == radii[0] else None", "self.share", ALGORITHMS),
    ("attacks/apgd.py", "(1.0,) if given or self.radii is None", "(1.0,) if self.radii is None", ALGORITHMS),
    ("attacks/apgd.py", "self.step_size * radius", "self.step_size", ALGORITHMS),
    ("attacks/apgd.py", "WIDE_STAGES * steps / stages", "steps / stages", ALGORITHMS),
    ("attacks/apgd.py", "L1_RADII = (3.0, 2.0, 1.0)", "L1_RADII = (2.0, 1.0)", ALGORITHMS),
    ("attacks/apgd.py", "(changed / L1_TIGHTER).ceil()", "(changed / L1_TIGHTER).floor()", ALGORITHMS),
    ("attacks/apgd.py", "math.ceil(share * entries - 1e-9)", "int(share * entries)", ALGORITHMS),
    ("attacks/sparsity.py", "min(max(math.ceil(ball.eps), 1), x[0].numel())", "1", LINEAR),
    ("attacks/pgd.py", "[entries] * self.steps", "[None] * self.steps", LINEAR),
    ("attacks/mim.py", "move(x_adv, momentum, size, entries)", "move(x_adv, momentum, size, None)", LINEAR),
    ("attacks/fgm.py", "self.threat.eps, entries)", "self.threat.eps, None)", LINEAR),
    ("strategies/e_at.py", ', "radii": (1.0,)}', "}", STRATEGY),
    ("attacks/apgd.py", "turn % self.targets]", "0]", ALGORITHMS),
    ("attacks/l0.py", "grad * (bound - x_adv) * untouched", "grad * (bound - x_adv)", ALGORITHMS),
    ("attacks/affine.py", "ball.step(parts[j], grads, others", "ball.step(parts[j], -grads, others", ALGORITHMS),
    ("attacks/spatial.py", "best.offer(motion,", "best.offer(-motion,", ALGORITHMS),
    ("attacks/apgd.py", ", any_wrong=True", "", ALGORITHMS),
    ("attacks/slide.py", "max(0.2, 2.5 / self.steps)", "0.2", ALGORITHMS),
    ("attacks/published_code.py", "(last + 1)", "last.clamp(min=1)", ALGORITHMS),
    # evaluation
    ("evaluation/judge.py", "broken=wrong & inside", "broken=wrong", EVALUATE),
    ("evaluation/judge.py", ".isnan().any(1), in_box(x_adv)", ".isnan().any(1), ~x_adv.flatten(1).isnan().any(1)", EVALUATE),
    ("evaluation/judge.py", "(logits.argmax(1) == y) & ~logits.isnan().any(1)", "(logits.argmax(1) == y)", DOUBTS),
    ("evaluation/judge.py", "torch.where(inside, loss, -torch.inf)", "loss", EVALUATE),
    ("evaluation/judge.py", "torch.where(wrong, far, distance)", "torch.where(wrong & inside, far, distance)", EVALUATE),
    ("evaluation/judge.py", "0 * x.flatten(1)", "x.flatten(1)", EVALUATE),
    ("evaluation/loop.py", "if self.cascade and not entry.distances", "if self.cascade", EVALUATE),
    ("evaluation/loop.py", "torch.where(self.correct, distance, 0.0)", "distance", EVALUATE),
    ("evaluation/loop.py", "self.standing[column] = self.standing[column] & ~broken", "pass", EVALUATE),
    ("evaluation/loop.py", "if entry.distances else (~tally.broken)", "if not entry.distances else (~tally.broken)", EVALUATE),
    ("evaluation/tally.py", "self.broken[rows] |= verdict.broken", "self.broken[rows] = verdict.broken", EVALUATE),
    ("evaluation/tally.py", "torch.minimum(self.distance[rows], verdict.distance)", "verdict.distance", EVALUATE),
    ("evaluation/loop.py", 'noise.seeds_of_index(index, seed, tag), run)', 'noise.seeds_of_index(index, seed, tag), 0)', EVALUATE),
    ("evaluation/loop.py", "zlib.crc32(f\"{entry.name} {entry.threat!r}\".encode())", "7", EVALUATE),
    ("evaluation/tally.py", "(broken & ~other_broken) | ((broken == other_broken) & (loss > other))", "loss > other", EVALUATE),
    ("evaluation/loop.py", "keep[tally.broken.cpu().nonzero().squeeze(1)[:PICTURES]] = True", "pass", EVALUATE),
    ("evaluation/loop.py", "sorted(gathered, key=lambda pair: pair[0])", "gathered", RESUME),
    ("evaluation/report/results.py", "        return torch.stack([self.correct, *self.stands.values()]).all(0)", "        return torch.stack([*self.stands.values()]).any(0)", EVALUATE),
    ("evaluation/report/results.py", "            standing[column] &= self.masks[label]\n        return standing", "            standing[column] |= self.masks[label]\n        return standing", EVALUATE),
    ("evaluation/report/metrics.py", "Z * Z / (4 * n * n)", "Z * Z / (2 * n * n)", METRICS),
    ("evaluation/report/metrics.py", "distances.double()[None] > radii", "distances.double()[None] >= radii", METRICS),
    ("evaluation/report/optimal.py", "max(report.threats[name] for report in several)", "min(report.threats[name] for report in several)", METRICS),
    ("evaluation/clean_pass.py", "flat <= SHARE * len(x)", "True", DOUBTS),
    ("evaluation/reliability.py", "if count >= max(LEAST, SHARE * asked)", "if count > asked", DOUBTS),
    ("evaluation/clean_pass.py", "rounding = 1e-3 * before.abs()", "rounding = 1e3 * before.abs()", DOUBTS),
    ("hosts/hosted.py", "task.goal.reached(task.f(image)) & ~black", "task.goal.reached(task.f(image))", HOSTING),
    ("hosts/hosted.py", "cleaned = torch.where((raw - x).abs() < SAME, x, raw)", "cleaned = raw", HOSTING),
    ("hosts/hosted.py", "raise host_model.error from None", "pass", "adapters/test_every_attack.py"),
    ("hosts/isolation.py", "random.setstate(python_state)", "pass", HOSTING),
    ("hosts/isolation.py", "super().__init__((seed + next(number)) % 2**32 if own_seed is None else own_seed)", "super().__init__(own_seed)", HOSTING),
    ("hosts/hosted.py", "x.register_hook(Tensor.contiguous)", "pass", HOSTING),
    ("hosts/hosted.py", "part = replace(part, x=part.x.contiguous())", "pass", TRAPS),
    ("hosts/starting_points.py", ".masked_fill(~(wrong & right), torch.inf)", ".masked_fill(~wrong, torch.inf)", HOSTING),
    ("hosts/starting_points.py", 'torch.where(per_example(closest < best, x)', 'torch.where(per_example(closest > best, x)', HOSTING),
    ("records.py", "os.replace(beside, path)", "beside.rename(path); raise OSError", RESUME),
    ("evaluation/batteries.py", '"column": threat}', '"column": None}', BATTERY),
    ("adapters/mrt_foolbox/incoming.py", "zip(clipped[1:], success[1:], strict=True)", "zip(clipped[:0], success[:0], strict=True)", TRAPS),
    ("adapters/mrt_foolbox/incoming.py", "* (self.high - self.low) + self.low", "* self.high", "test_inputs.py"),
    ("adapters/mrt_foolbox/incoming.py", "torch.where(fools.reshape(-1, *[1] * (noisy.ndim - 1)), noisy, task.start)", "task.start", TRAPS),
    ("adapters/mrt_foolbox/incoming.py", "delta[mine], open_rows = motion[mine],", "delta[mine], open_rows = -motion[mine],", TRAPS),
    ("adapters/mrt_foolbox/incoming.py", "sorted(radii, reverse=True)", "sorted(radii)", TRAPS),
    ("adapters/mrt_foolbox/incoming.py", '"linf" if isinstance(self.threat, Linf) else "l2"', '"l2"', TRAPS),
    ("adapters/mrt_foolbox/incoming.py", "self.module = hidden if isinstance(hidden, nn.Module) else None", "self.module = None", TRAPS),
    ("adapters/mrt_art/incoming.py", "motion(host.attack_trans_x, host.attack_trans_y,", "motion(host.attack_trans_y, host.attack_trans_x,", TRAPS),
    ("adapters/mrt_art/incoming.py", "return 2 * eps", "return 0.01 * eps", TRAPS),
    ("hosts/hosted.py", 'raw = torch.where(per_example(finite, x), answer, x).clamp(0, 1)', 'raw = torch.where(per_example(finite, x), answer, x)', HOSTING),
    ("hosts/hosted.py", 'yield from self._run_halving(task, rows[middle:], host_model)', 'yield from self._run_halving(task, rows[middle:], ModelForHost(task.f))', HOSTING),
    ("evaluation/report/metrics.py", "Z * float(successes.std()) / math.sqrt(n)", "Z * float(successes.std()) / n", METRICS),
    ("evaluation/report/metrics.py", "len(values) * mean * (1 - mean) / variance if", "len(values) if", METRICS),
    ("evaluation/judge.py", 'far.clamp(max=bound_of(threat))', 'far', EVALUATE),
    ("evaluation/judge.py", "with crafting(model):", "if True:", EVALUATE),
    ("evaluation/loop.py", "sum(o.counts[name] for o in outcomes)", "sum(o.counts[name] for o in outcomes[:1])", EVALUATE),
    ("evaluation/reliability.py", "stood = torch.stack([report.masks[label] for label in with_gradients]).all(0)", "stood = torch.stack([report.masks[label] for label in with_gradients]).any(0)", DOUBTS),
    ("evaluation/reliability.py", "elif not count and never_given.any():", "elif False:", DOUBTS),
    ("evaluation/reliability.py", 'work[a]["failed"] < report.ran[a].sum()', "True", DOUBTS),
    ("inputs.py", '**{**kwargs, "weights_only": True}', "**kwargs", "test_inputs.py"),
    ("evaluation/store.py", "if begun and not path.is_file():", "if False:", RESUME),
    ("evaluation/batteries.py", 'plan.stride(100, small)', 'plan.stride(100, large)', BATTERY),
    # strategies
    ("strategies/standard.py", "cross_entropy(model(x), y)", "cross_entropy(model(x), y).detach() + 0 * model(x).sum()", LOOP),
    ("strategies/adversarial.py", 'model(craft(attack, 0, model, x, y, step))', 'model(x)', STRATEGY),
    ("strategies/adversaries.py", "losses.argmax(0)", "losses.argmin(0)", STRATEGY),
    ("strategies/adversaries.py", "crafting(model, bn=strategy.bn, fast=step.fast) as f:", "__import__('contextlib').nullcontext(model) as f:", STRATEGY),
    ("strategies/adversaries.py", "rng=noise.fold(step.seeds, number)", "rng=None", STRATEGY),
    ("strategies/adversaries.py", 'SLIDE(threat, steps=steps, best="last", **options)', 'SLIDE(threat, steps=steps, **options)', STRATEGY),
    ("strategies/adversaries.py", '{"bn": bn, "fast": fast}', '{}', STRATEGY),
    ("strategies/worst.py", 'model(worst_of(candidates, model, y, self, step))', 'model(candidates[0])', STRATEGY),
    ("strategies/average.py", "for x_adv in batches]).mean()", "for x_adv in batches]).amax()", STRATEGY),
    ("strategies/average.py", "y.repeat(len(batches))", "y.repeat_interleave(len(batches))", STRATEGY),
    ("strategies/average.py", 'if self.how == "sequential":', 'if self.how == "sequence":', STRATEGY),
    ("strategies/alternate.py", "step.index % len(self.threats)", "int(step.epoch) % len(self.threats)", STRATEGY),
    ("strategies/msd.py", "r * 2.5 * b.eps / self.steps", "2.5 * b.eps / self.steps", STRATEGY),
    ("strategies/msd.py", 'worst_of(batches, model, y, self, step) if others else batches[0]', 'batches[0]', STRATEGY),
    ("strategies/sat.py", "noise.uniform(torch.tensor([step.shared_seed]), 1)[0, 0].double() * cumulative[-1]", "0.5 * cumulative[-1]", STRATEGY),
    ("strategies/sat.py", "torch.tensor([step.shared_seed])", "step.seeds[:1]", STRATEGY),
    ("strategies/e_at.py", "return self.fooled / self.given", "return 1 - self.fooled / self.given", STRATEGY),
    ("strategies/e_at.py", "self.given[i] += 1", "self.given += 1", STRATEGY),
    ("strategies/e_at.py", "step.mean((logits.argmax(1) != y).double().mean())", "(logits.argmax(1) != y).double().mean()", STRATEGY),
    ("strategies/e_at.py", "self.register_buffer(name,", "setattr(self, name,", RUNS),
    ("strategies/trades.py", "divergence(clean, model(x_adv)).mean()", "divergence(clean.detach(), model(x_adv)).mean()", STRATEGY),
    ("strategies/trades.py", "(p.exp() * (p - q)).sum(1)", "(q.exp() * (q - p)).sum(1)", STRATEGY),
    ("strategies/trades.py", "lambda z, *_: divergence(clean, z)", "lambda z, *_: -divergence(clean, z)", STRATEGY),
    ("strategies/trades.py", "(x + START * noise.normal(step.seeds, *x.shape[1:])).clamp(0, 1)", "x", STRATEGY),
    ("attacks/pgd.py", '        return best.end_at(x_adv)\n', '        best.judge(x_adv, task)\n', PROMISES),
    # noise on a ball
    ("threats/differentiable.py", "scale = scale.clamp(max=1)", "pass", ONTO),
    ("threats/differentiable.py", "inside = (target - cut).clamp(min=0)", "inside = target", ONTO),
    ("threats/differentiable.py", "return torch.where(reachable, inside.clamp(min=1e-300).sqrt(), last)", "return torch.where(reachable, inside.clamp(min=1e-300).sqrt(), last).detach()", ONTO),
    ("threats/differentiable.py", "level = ((size * between).sum(1) + filled - eps) / count", "level = ((size * between).sum(1) - eps) / count", ONTO),
    ("threats/differentiable.py", "shrunk = torch.where(between, size - level[:, None],", "shrunk = torch.where(between, size - level[:, None].detach(),", ONTO),
    ("threats/differentiable.py", "bound * torch.tanh(noise / low)", "bound * torch.tanh(noise)", ONTO),
    # generators
    ("generators/generator.py", "Made(cost - (grad * x_adv)", "Made(cost + (grad * x_adv)", MAKERS),
    ("generators/generator.py", "Made(cost - (grad * x_adv).flatten(1).sum(1).mean()", "Made(cost - (grad * x_adv).flatten(1).sum(1).sum()", MAKERS),
    ("generators/generator.py", "if not length < torch.inf:", "if False:", MAKERS),
    ("generators/generator.py", "[*dense, *statistics], mean)", "[*dense, *statistics], lambda t: t)", SHARED),
    ("generators/generator.py", "torch.inf if generator.clip is None else generator.clip", "torch.inf", MAKERS),
    ("generators/attack.py", "self.threat.apply(task.x, self.threat.project(crafted - task.x, task.x))", "crafted", MAKERS),
    ("generators/attack.py", "noise.fold(task.seeds, draw)", "task.seeds", MAKERS),
    ("generators/attack.py", "as task, crafting(self.generator):", "as task:", MAKERS),
    ("generators/attack.py", "seed=seed, epoch=epoch)\n", "seed=0, epoch=0)\n", MAKERS),
    ("generators/l2l_da.py", 'moved = delta + self.step * per_example', 'moved = self.step * per_example', MAKERS),
    ("generators/l2l_da.py", 'moved = delta + self.step * per_example', 'moved = delta.detach() + self.step * per_example', BOXES),
    ("generators/l2l_da.py", "planes = [x, self.normalised(grad)", "planes = [x, grad", MAKERS),
    ("generators/l2l_da.py", "loss = loss - self.diversity * spread(x_adv, z)", "loss = loss - 0 * spread(x_adv, z)", MAKERS),
    ("generators/l2l_da.py", "            if self.latent:\n                loss", "            if self.latent and _ == self.steps - 1:\n                loss", MAKERS),
    ("generators/l2l_da.py", "(apart / ((z1 - z2).abs().mean(1) + 1e-8)).mean()", "apart.mean()", BOXES),
    ("generators/l2l_da.py", "axes = (2, 3) if", "axes = (1, 2, 3) if", BOXES),
    ("generators/l2l_da.py", "noise.normal(noise.fold(seeds, i), LATENT) for i in range(many)", "noise.normal(noise.fold(seeds, 0), LATENT) for i in range(many)", MAKERS),
    ("generators/l2l_da.py", "self.steps = checks.count(\"steps\", steps) if recursive else 1", "self.steps = checks.count(\"steps\", steps)", BOXES),
    ("generators/unet.py", "scale, shift = scale + self.scale[y], shift + self.shift[y]", "pass", BOXES),
    ("generators/unet.py", "second = leaky_relu(self.norm1(self.down1(join_code(first)), y), 0.2)", "second = leaky_relu(self.norm1(self.down1(join_code(first).detach()), y), 0.2)", BOXES),
    ("generators/mng.py", "self.conv4(h) + z[:, :, 1:-1, 1:-1]", "self.conv4(h)", BOXES),
    ("generators/mng.py", "if self.conditional else z", "if False else z", MAKERS),
    ("generators/pgn.py", "torch.atanh((2 * x - 1).clamp(-EDGE, EDGE)) + made) + 1) / 2", "torch.atanh((2 * x - 1).clamp(-EDGE, EDGE))) + 1) / 2 + made", BOXES),
    ("generators/pgn.py", "torch.tanh(torch.atanh((2 * x - 1).clamp(-EDGE, EDGE)) + made) + 1) / 2", "((2 * x - 1) + made) + 1).clamp(0, 2) / 2", BOXES),
    ("generators/pgn.py", 'ascend_loss(f, x_adv, y, self.penalty * cost)', 'ascend_loss(f, x_adv, y, -self.penalty * cost)', MAKERS),
    ("generators/pgn.py", "(x_adv - x if self.space == \"image\" else made)", "made", MAKERS),
    ("generators/pgn.py", ".gather(1, y[:, None])[:, 0])\n        if", ".gather(1, y[:, None])[:, 0].log())\n        if", BOXES),
    ("generators/gap.py", "ascent.descent / ascent.loss.clamp(min=1e-12)", "ascent.descent", MAKERS),
    ("generators/advgan.py", "(x_adv.detach()), False)", "(x_adv), False)", MAKERS),
    ("generators/advgan.py", "-fool + self.gan", "fool + self.gan", MAKERS),
    ("generators/advgan.py", "functional_call(self.discriminator, fixed, (x_adv,))", "self.discriminator(x_adv)", MAKERS),
    # learned strategies
    ("strategies/mng_ac.py", "autograd.grad(-rate * product", "autograd.grad(rate * product", LEARNED),
    ("strategies/mng_ac.py", "(p - rate * g).detach()", "p.detach()", LEARNED),
    ("strategies/mng_ac.py", "buffers = {n: b.clone() for n, b in model.named_buffers()}", "buffers = dict(model.named_buffers())", LEARNED),
    ("strategies/mng_ac.py", "rate = self.settings.look_ahead * step.lr", "rate = step.lr", LEARNED),
    ("strategies/mng_ac.py", 'taken = mean_over_processes(inner, step.mean)', 'taken = inner', SHARED),
    ("strategies/mng_ac.py", 'outer = mean_over_processes(at_ahead, step.mean)', 'outer = at_ahead', SHARED),
    ("strategies/mng_ac.py", "model(x), model(x_aug), model(x_adv)", "model(x).detach(), model(x_aug), model(x_adv)", LEARNED),
    ("strategies/mng_ac.py", "cross_entropy(adversarial, y) + s.beta", "cross_entropy(clean, y) + s.beta", LEARNED),
    ("strategies/mng_ac.py", "(log.exp() * (log - middle))", "(middle.exp() * (middle - log))", LEARNED),
    ("strategies/mng_ac.py", "group[\"lr\"] = s.generator_rate * step.lr", "group[\"lr\"] = step.lr", LEARNED),
    ("strategies/mng_ac.py", "self.noise_ball or next(", "next(", LEARNED),
    ("strategies/l2l_da.py", "share * cross_entropy(clean, y) + (1 - share)", "share * cross_entropy(clean, y) + share", LEARNED),
    ("strategies/l2l_da.py", "if step.index < self.settings.warmup:", "if False:", LEARNED),
    ("strategies/l2l_da.py", "        self.descend(made.descent, step)\n", "", LEARNED),
    ("strategies/l2l_da.py", "        self.generator.train()\n", "", LEARNED),
    ("strategies/pgn.py", "crafting(self.generator, bn=\"batch\"):", "crafting(self.generator):", LEARNED),
    ("strategies/pgn.py", "            self.descend(self.generator.penalised(f, x, grad, y).descent, step)\n", "", LEARNED),
    ("strategies/ant.py", "noise.integers(noise.fold(step.seeds, 2), 0, 1).bool()", "noise.integers(noise.fold(step.seeds, 2), 1, 1).bool()", LEARNED),
    ("strategies/learner.py", "take_step(self.generator, self.optimizer, grads, step.mean)", "take_step(self.generator, self.optimizer, grads)", SHARED),
    ("strategies/learner.py", "self.optimizer.load_state_dict(state)", "pass", RUNS),
    ("strategies/adversarial.py", "loss + self.clean * cross_entropy", "loss + cross_entropy", LEARNED),
    # what their papers measure
    ("records.py", "sha.update(value.detach()", "sha.update(0 * value.detach()", "evaluation/analysis/test_transfer.py"),
    ("evaluation/analysis/tradeoff.py", "rho_at(points, baseline_clean) / baseline_rho", "rho_at(points, baseline_clean)", TRADEOFF),
    ("evaluation/analysis/tradeoff.py", "interpolate(one, r) < interpolate(other, r)", "interpolate(one, r) <= interpolate(other, r)", TRADEOFF),
    # training
    ("training/loop.py", "schedule((self.index + 0.5) / self.settings.total)", "schedule((self.index + 1.5) / self.settings.total)", LOOP),
    ("training/feed.py", "self.visit(index), ATTACK)", "0, ATTACK)", LOOP),
    ("training/feed.py", 'self.settings.seed, 0, SHARED)', 'self.settings.seed, self.team.rank, SHARED)', SHARED),
    ("training/loop.py", "if not math.isfinite(value):", "if False:", RUNS),
    ("training/loop.py", "self.check_weights()  # a checkpoint must", "pass  # a checkpoint must", RUNS),
    ("training/ledger.py", "if shares[\"union\"] > self.best:", "if shares[\"clean\"] > self.best:", LOOP),
    ("training/loop.py", "model if self.ema is None else self.ema)", "model)", LOOP),
    ("training/loop.py", "        seed_everything(self.settings.seed, self.index + 1, self.team.rank)\n", "", RUNS),
    ("training/loop.py", "isinstance(self.scheduler, BY_UPDATE):\n            self.scheduler.step()\n        if self.ema", "self.scheduler:\n            self.scheduler.step()\n        if self.ema", LOOP),
    ("training/ledger.py", "self.sums.update(loss=0.0, updates=0, forward=0, backward=0, seconds=0.0)", "pass", LOOP),
    ("training/helpers.py", "weight.lerp_(new, 1 - decay)", "weight.lerp_(new, decay)", LOOP),
    ("training/helpers.py", "            buffer.copy_(latest)", "            pass", LOOP),
    ("training/helpers.py", "random.setstate(python)", "pass", LOOP),
    ("training/ledger.py", "self.sums.update(state[\"sums\"])", "pass", RUNS),
    ("training/loop.py", '"optimizer": self.optimizer}', '}', RUNS),
    ("training/loop.py", '"strategy": self.strategy, ', '', RUNS),
    ("training/loop.py", '"ema": self.ema, ', '', RUNS),
    ("training/loop.py", '"schedule": self.scheduler}', '}', RUNS),
    ("training/ledger.py", "self.rows, self.best = rows, state[\"best\"]", "self.rows, self.best = rows, -1.0", RUNS),
    ("training/folder.py", "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", RUNS),
    ("training/folder.py", "if self.first and len(lines) > rows:", "if False:", RUNS),
    ("training/distributed.py", "return total / self.team.count", "return total", SHARED),
    ("training/distributed.py", "for b in (m.running_mean, m.running_var) if b is not None]", "for b in (m.running_mean, m.running_var) if b is None]", SHARED),
    ("training/optimizers.py", "[p for p in wanted if p.ndim <= 1], 0.0", "[p for p in wanted if p.ndim <= 1], weight_decay", LOOP),
    ("training/schedules.py", "min(share / self.peak, (1 - share) / (1 - self.peak))", "share / self.peak", LOOP),
    ("training/validation.py", "stands.append(torch.stack(stands).all(0))", "stands.append(torch.stack(stands).any(0))", LOOP),
    ("training/tune.py", "fit(make(), strategy, training,", "fit(make(), strategy, data,", TUNE),
    ("training/tune.py", "key=lambda score: score[1][\"union\"]", "key=lambda score: score[1][\"clean\"]", TUNE),
    ("processes.py", "PrefixStore(f\"mrt/{next(GROUPS)}\", store)", "PrefixStore(\"mrt\", store)", SHARED),
    ("cli/train_command.py", "strategy = tuned.strategy", "pass", TRAIN),
    ("strategies/msd.py", "step_size=sizes, keep=self.keep, bn=self.bn)", "step_size=sizes, keep=self.keep)", STRATEGY),
    ("strategies/msd.py", "replace(self.attack, fast=step.fast)", "self.attack", STRATEGY),
    ("strategies/trades.py", 'default_step_size(self.step_size, ball.eps, self.steps)', 'default_step_size(None, ball.eps, self.steps)', STRATEGY),
    ("training/fit.py", "model.eval().to(memory_format=before)", "model.eval()", LOOP),
    ("training/loop.py", "        self.model.zero_grad(set_to_none=True)  # parameters that the optimizer does not train, too\n", "", LOOP),
    ("training/distributed.py", "dist.broadcast(tensor.data, 0, group=self.group)", "pass", SHARED),
    ("training/tune.py", "if out is not None and team.first:", "if out is not None and not team.first:", TUNE),
    ("cli/demo.py", "os._exit(1)", "return", "cli/test_demo.py"),
    ("adapters/mrt_autoattack/incoming.py", "min(part.n_target_classes, classes - 1)", "part.n_target_classes", TRAPS),
    # the hosts' classes
    ("hosts/pixel_range.py", "(part.double() - low).div_(self.width)", "(part.double() - low)", RANGED),
    ("hosts/pixel_range.py", "return unit * self.width + self.low.to(unit)", "return unit * self.width", RANGED),
    ("hosts/pixel_range.py", 'delta /= per_example(gauge.double().clamp(min=1), delta)', 'pass', RANGED),
    ("hosts/pixel_range.py", "return torch.where(beyond, torch.nextafter(moved, x), moved)", "return moved", RANGED),
    ("hosts/pixel_range.py", "aim = torch.minimum(torch.maximum(start + delta, low), low + self.width)", "aim = start + delta", RANGED),
    ("hosts/masked.py", "random_start=True if run else attack.random_start", "random_start=attack.random_start", RANGED),
    ("hosts/masked.py", "        left = left[~broken]\n", "", RANGED),
    ("hosts/masked.py", "updated = broken | (run == 0)", "updated = broken", RANGED),
    ("hosts/masked.py", "aim = None if target is None else target[rows]", "aim = None", RANGED),
    ("threats/gauge.py", "for t in threat.threats]).amin(0)", "for t in threat.threats]).amax(0)", RANGED),
    ("threats/gauge.py", "distance / threat.eps", "distance", RANGED),
    ("data/stream.py", "+ number * self.batch_size", "", STREAM),
    ("data/stream.py", "if self._latest is None or self._latest_number != number:", "if True:", STREAM),
    ("training/loop.py", "self.scheduler.step(row[\"loss\"])", "pass", ART_TRAINERS),
    ("adapters/mrt_foolbox/attack_base.py", "attack(self.model, self.unit, answers, target=self.targets)", "attack(self.model, self.unit, answers)", FOOLBOX),
    ("adapters/mrt_foolbox/attack_base.py", "        if call.targets is not None and not self.targetable:\n", "        if False:\n", FOOLBOX),
    ("adapters/mrt_foolbox/attack_base.py", "repeated.restarts = self.restarts * checks.count", "repeated.restarts = checks.count", FOOLBOX),
    ("adapters/mrt_foolbox/attack_base.py", "size = gauge(attack.threat, call.unit, unit_adv)", "size = None", FOOLBOX),
    ("adapters/mrt_foolbox/one_ball.py", "size = self.abs_stepsize / width", "size = self.abs_stepsize", FOOLBOX),
    ("adapters/mrt_foolbox/one_ball.py", "None if self.rel_stepsize is None else self.rel_stepsize * epsilon / width", "None", FOOLBOX),
    ("adapters/mrt_foolbox/one_ball.py", "keep=self.keep, **self.settings", "**self.settings", FOOLBOX),
    ("adapters/mrt_foolbox/union.py", "(epsilon / size).clamp(max=1)", "(size / epsilon).clamp(max=1)", FOOLBOX),
    ("adapters/mrt_foolbox/union.py", "balls = self.balls(epsilon / width)", "balls = self.balls(epsilon)", FOOLBOX),
    ("adapters/mrt_foolbox/union.py", "self.rel_stepsize * ball.eps for ball", "self.rel_stepsize for ball", FOOLBOX),
    ("adapters/mrt_foolbox/motions.py", "mrt.RotationTranslation(self.degrees * epsilon, self.pixels * epsilon)", "mrt.RotationTranslation(self.degrees, self.pixels)", FOOLBOX),
    ("adapters/mrt_foolbox/motions.py", "kind(eps * epsilon / width)", "kind(eps * epsilon)", FOOLBOX),
    ("adapters/mrt_art/bridge.py", "no_grad=False)", "no_grad=True)", ART_ATTACKS),
    ("adapters/mrt_art/bridge.py", "with torch.enable_grad():", "if True:", ART_ATTACKS),
    ("adapters/mrt_art/bridge.py", "y=None, fit=self.training", "y=None, fit=False", ART_TRAINERS),
    ("adapters/mrt_art/bridge.py", "x.permute(0, 3, 1, 2).contiguous() if last else x", "x", ART_ATTACKS),
    ("adapters/mrt_art/attack_base.py", "        trial._check_params()\n        self.__dict__.update(trial.__dict__)", "        self.__dict__.update(trial.__dict__)\n        trial._check_params()", ART_ATTACKS),
    ("adapters/mrt_art/attack_base.py", 'scale.carry_back(pixels[rows], part, part_adv, size)', 'scale.carry_back(pixels[rows], part, part_adv)', ART_ATTACKS),
    ("adapters/mrt_art/attack_base.py", "for batch in rows.split(self.batch_size)", "for batch in rows[:1].split(self.batch_size)", ART_ATTACKS),
    ("adapters/mrt_art/attack_base.py", "return answers, classes", "return answers, None", ART_ATTACKS),
    ("adapters/mrt_art/one_ball.py", "None if self.eps_step is None else self.eps_step / width", "None", ART_ATTACKS),
    ("adapters/mrt_art/host_named.py", "self._make_attack(factor * pair[0], factor * pair[1], width)", "self._make_attack(pair[0], pair[1], width)", ART_ATTACKS),
    ("adapters/mrt_art/host_named.py", "torch.from_numpy((pairs == pair).all(1))", "torch.from_numpy((pairs == pairs).all(1))", ART_ATTACKS),
    ("adapters/mrt_art/trainers.py", "* count / (2.5 * ball.eps)", "* count / 2.5", ART_TRAINERS),
    ("adapters/mrt_art/trainers.py", "mrt.SLIDE(ball, step_size=step, keep=self.keep", "mrt.SLIDE(ball, step_size=step", ART_TRAINERS),
    ("adapters/mrt_art/trainer_base.py", "isinstance(scheduler, ReduceLROnPlateau) else _ByEpoch(scheduler)", "True else None", ART_TRAINERS),
    ("adapters/mrt_art/trainer_base.py", "classifier._model.training = classifier.model.training", "pass", ART_TRAINERS),
    ("adapters/mrt_art/trainer_base.py", "0 if \"out\" in passed else int(np.random.randint(2**31))", "0", ART_TRAINERS),
    ("adapters/mrt_art/trainer_base.py", "getattr(self.run, weights).model.state_dict()", "self.run.model.model.state_dict()", ART_TRAINERS),
    ("adapters/mrt_art/trainer_base.py", "        _need_labels_kept(classifier, scale)\n        checks", "        checks", ART_TRAINERS),
    ("adapters/mrt_art/attack_base.py", "            trial.eps = None  # the usual", "            pass  # the usual", ART_ATTACKS),
    ("adapters/mrt_art/radii.py", "return {norm: sizes[norm] for norm in eps}", "return sizes", ART_TRAINERS),
    ("adapters/mrt_art/host_trainers.py", "step_size=size, **settings", "**settings", ART_TRAINERS),
    ("adapters/mrt_art/host_trainers.py", "steps=attack.max_iter, step_size=size", "steps=attack.max_iter", ART_TRAINERS),
    ("kernels/rows.py", "reaching >= k, candidate, cut", "reaching > k, candidate, cut", INTERPRETED),
    ("kernels/rows.py", "(reaching != k)", "(reaching < k)", INTERPRETED),
    ("kernels/row_math.py", "(grad > 0) & (x_adv >= 1)", "(grad > 0) & (x_adv > 1)", INTERPRETED),
    ("kernels/row_math.py", "low = tl.where(excess > 0, level, low)", "low = low", INTERPRETED),
    ("kernels/row_math.py", "tl.maximum(eps * eps - clipped, 0.0)", "tl.maximum(eps * eps, 0.0)", INTERPRETED),
    ("kernels/rows.py", "square = (grad[0] / largest) * (grad[0] / largest)", "square = grad[0] * grad[0]", INTERPRETED),
    ("kernels/rows.py", "signs |= (z[p] < 0).to(tl.int32) << p", "signs |= (z[p] < 0).to(tl.int32)", INTERPRETED),
    ("kernels/rows.py", "(signs >> p) & 1 == 1, x, 1 - x", "(signs >> p) & 1 == 1, 1 - x, x", INTERPRETED),
    ("kernels/rows.py", "at = c * rows + row\n", "at = row\n", INTERPRETED),
    ("kernels/rows.py", "least = tl.maximum(_find_cut(bits, keep, PARTS), TINY_BITS)", "least = _find_cut(bits, keep, PARTS)", INTERPRETED),
    ("kernels/long_rows.py", "tl.arange(0, bins) > digit", "tl.arange(0, bins) >= digit", INTERPRETED),
    ("kernels/long_rows.py", "_digit(grad, x_adv, d, cut, left, 0, 7, CHUNK)", "_digit(grad, x_adv, d, cut, left, 1, 7, CHUNK)", INTERPRETED),
    ("kernels/long_rows.py", "return tl.where(z > 0, 1 - x, x)", "return tl.where(z > 0, x, 1 - x)", INTERPRETED),
    ("kernels/long_rows.py", "* scale, z)\n", ", z)\n", INTERPRETED),
    ("kernels/winners.py", "larger = other > loss", "larger = other >= loss", INTERPRETED),
    ("kernels/winners.py", "reached & (unknown == 0)", "reached", INTERPRETED),
    ("kernels/winners.py", "        loss = -loss\n", "        loss = loss\n", INTERPRETED),
    ("kernels/winners.py", "(reached & (old_reached == 0)) | ((reached == old_reached) & better)", "reached & better", INTERPRETED),
    ("kernels/rows.cpp", "if (reaching >= k) bits |= bit;", "if (reaching > k) bits |= bit;", NATIVE),
    ("kernels/rows.cpp", "(z[i] > 0 ? 1 - x[i] : x[i]) + far", "x[i] + far", NATIVE),
    ("kernels/rows.cpp", "at = closed ? high : useful ? newton", "at = closed ? high : useful ? low", NATIVE),
    ("kernels/rows.cpp", "active > 0 ? std::min(std::max(exact, scale), 1.0f) : 1.0f", "scale", NATIVE),
    ("kernels/rows.cpp", "(g[i] < 0) & (from[i] <= 0)", "(g[i] < 0) & (from[i] < 0)", NATIVE),
    ("kernels/rows.cpp", "unit[i] = free[i] / high", "unit[i] = free[i]", NATIVE),
    ("kernels/rows.cpp", "rows * t / team, rows * (t + 1) / team", "rows * t / team, rows * t / team", NATIVE),
    ("kernels/ops.py", "x.is_contiguous(memory_format=torch.channels_last)", "False", NATIVE),
    ("threats/fused.py", "radii([b.eps for b in balls]), sizes(size)", "radii([b.eps for b in balls]), sizes(size[:1] * len(size))", FASTER),
    ("crafting/model_copy.py", "        low -= first\n", "", TWINS),
    ("crafting/model_copy.py", "    copies[key].refresh()\n", "", TWINS),
    ("crafting/model_copy.py", "or copies[key].made_of != _identity(model)", "", TWINS),
    ("crafting/model_copy.py", "            part.training = False\n", "", TWINS),
    ("crafting/model_copy.py", "part.training, part.track_running_stats = True, False", "pass", TWINS),
    ("crafting/recorded_steps.py", "        _load(self.task.goal.y, task.goal.y)\n", "        pass\n", FASTER),
    ("crafting/recorded_steps.py", "                _load(self.keep, keep)\n", "                pass\n", FASTER),
    ("crafting/recorded_steps.py", "and task.goal.loss in LOSSES.values()", "", FASTER),
    ("crafting/recorded_steps.py", "copied and plain and", "copied and", FASTER),
    ("crafting/recorded_steps.py", "key = (settings, keep is None,", "key = (keep is None,", FASTER),
    ("crafting/recorded_steps.py", "key = (settings, keep is None,", "key = (settings,", FASTER),
    ("crafting/recorded_steps.py", "keep is None, task.threat,", "keep is None,", FASTER),
    ("crafting/recorded_steps.py", "task.goal.loss, best.policy, form)", "best.policy, form)", FASTER),
    ("crafting/recorded_steps.py", "task.goal.loss, best.policy, form)", "task.goal.loss, form)", FASTER),
    ("crafting/recorded_steps.py", "task.x.stride(), ", "", FASTER),
    ("crafting/recorded_steps.py", '_fill_up(keep, size)', 'keep', FASTER),
    ("crafting/recorded_steps.py", "        task.f.check_labels(self.task.f.classes)", "        pass", FASTER),
    ("crafting/recorded_steps.py", "task.goal.target is None, task.goal.any_wrong)", "task.goal.any_wrong)", FASTER),
    ("crafting/recorded_steps.py", "to[: len(values)].copy_(values)", "to[:1].copy_(values[:1])", FASTER),
    ("crafting/recorded_steps.py", "        to[len(values) :].copy_(values[:1].expand_as(to[len(values) :]))\n", "        pass\n", FASTER),
    ("crafting/recorded_steps.py", "t[:rows].clone() for t in self.state", "t[:rows] for t in self.state", FASTER),
    ("crafting/recorded_steps.py", 'tuple(t[:rows].clone() for t in self.best.state)', 'tuple(t[:rows] for t in self.best.state)', FASTER),
    ("crafting/winner_gradient.py", "part.index_select(0, rows)", "parts[0].index_select(0, rows)", REUSE),
    ("crafting/winner_gradient.py", "torch.where((self.winner == number)", "torch.where((self.winner != number)", FASTER),
    ("crafting/winner_gradient.py", "    if not gap <= allowed:\n", "    if gap > 1e9:\n", REUSE),
    ("attacks/msd.py", "reuse = self.fast.reuse and not last", "reuse = self.fast.reuse", REUSE),
    ("attacks/msd.py", "        best.offer(x_adv, loss, task.goal.reached(logits))\n", "", ALGORITHMS),
    ("crafting/task.py", "    own = torch.autocast(x.device.type, enabled=False)", "    own = torch.autocast(x.device.type, enabled=True)", CRAFTING),
    ("crafting/task.py", "x.detach().contiguous(memory_format=kernels.memory_format(x)).clone()", "x.detach().clone()", FASTER),
    ("crafting/model_copy.py", '            copies[key].recordings.clear()', '            pass', TWINS),
    ("crafting/model_copy.py", "held is not None and held is other.value()", "True", TWINS),
    ("crafting/model_copy.py", 'return kind, *(_comparable(one, depth + 1) for one in value)', 'return kind', TWINS),
    ("crafting/model_copy.py", '_comparable(inside, depth + 1) if inside else None', 'None', TWINS),
    ("crafting/model_copy.py", "forward(x.float())", "forward(x)", TWINS),
    ("crafting/model_copy.py", "self.value = weakref.ref(value)", "self.value = lambda: value", TWINS),
    ("crafting/winner_gradient.py", "        if shared or first.ndim", "        if first.ndim", REUSE),
    ("crafting/winner_gradient.py", 'return finite_or_zero(torch.autograd.grad(first, self.inputs[0], torch.ones_like(first))[0])', 'return torch.autograd.grad(first, self.inputs[0], torch.ones_like(first))[0]', REUSE),
    ("crafting/winner_gradient.py", "winner = (rows + 1) % count", "winner = rows % count", REUSE),
    ("attacks/msd.py", '("msd", sizes, self.fast.reuse, self.bn)', '("msd", self.fast.reuse, self.bn)', FASTER),
    ("attacks/pgd.py", '("ascend", size)', '("ascend",)', FASTER),
    ("threats/noise.py", "torch.arange(first + 1, first + 1 + count", "torch.arange(first, first + count", NOISE),
    ("attacks/msd.py", "x_adv, winner = best.pick(points, logits, goal)", "x_adv, winner = points[0], best.pick(points, logits, goal)[1]", ALGORITHMS),
    ("attacks/apgd.py", "            walk = walk.back(stalled)\n", "", ALGORITHMS),
    ("attacks/apgd.py", "            walk = walk.back(tighter)\n", "", ALGORITHMS),
    ("training/feed.py", "slice(start + self.team.rank, start + size, self.team.count)", "slice(start, start + size)", SHARED),
    # APGD's steps, replayed
    ("attacks/apgd.py", "here + share * (ahead - here)", "here + MOMENTUM * (ahead - here)", ALGORITHMS),
    ("attacks/apgd.py", "[None] * (count - (not done))", "[None] * count", ALGORITHMS),
    ("attacks/apgd.py", "return *walk, here, rises + rose, size", "return *walk, previous, rises + rose, size", ALGORITHMS),
    ("attacks/apgd.py", "halved, top_then, rises = stalled, walk.top_loss, torch.zeros_like(size)", "halved, top_then = stalled, walk.top_loss", ALGORITHMS),
    # recordings
    ("threats/fused.py", "self.sent = _columns(tuple(float(v) for v in values), rows, device)", "self.sent = self.sent if self.sent.numel() else _columns(tuple(float(v) for v in values), rows, device)", FASTER),
    ("threats/fused.py", "propose(x + delta, torch.zeros_like(x), (0.0,), None)[0].sub_(x)", "propose(delta, torch.zeros_like(x), (0.0,), None)[0].sub_(x)", PRETENDED),
    ("crafting/recorded_steps.py", "            old.copy_(new)\n", "            pass\n", FASTER),
    ("crafting/recorded_steps.py", "new.clone() if new.data_ptr() in places else new", "new", FASTER),
    ("crafting/recorded_steps.py", 'size = rows if task.attacked.bn == "batch" else (rows - 1).bit_length()', 'size = (rows - 1).bit_length()', FASTER),
    ("crafting/recorded_steps.py", "    elif rows > recording.size:", "    elif False:", FASTER),
    ("crafting/recorded_steps.py", '    copy.recordings.move_to_end(key)\n', '', FASTER),
    ("crafting/recorded_steps.py", '        copy.recordings.popitem(last=False)\n', '        copy.recordings.popitem()\n', FASTER),
    ("crafting/recorded_steps.py", 'attacked=None, x=x, goal=goal', 'x=x, goal=goal', PRETENDED),
    ("crafting/recorded_steps.py", 'return Refused(CALLS_BEFORE_RETRY if short else -1)', 'return Refused(-1)', FASTER),
    ("crafting/recorded_steps.py", "        recording.calls_left -= 1\n", "", FASTER),
    ("crafting/recorded_steps.py", '            copy.warned = True\n', '', FASTER),
    ("crafting/recorded_steps.py", "        _load(self.task.x, task.x)\n", "        pass\n", FASTER),
    ("crafting/recorded_steps.py", "count * len(keeps) * rows // self.size", "count * rows // self.size", JUDGED_THERE),
    ("crafting/gradient.py", "            self.watcher.count(forward, backward)\n", "            pass\n", JUDGED_THERE),
    ("crafting/gradient.py", "        attacked.call = passes.around(self.bare)\n", "        attacked.call = passes.around(self.call)\n", JUDGED_THERE),
    # graphs
    ("crafting/cuda_graphs.py", "    gc.disable()\n", "", GRAPHS),
    ("crafting/cuda_graphs.py", "    gc.collect()\n", "", GRAPHS),
    ("crafting/cuda_graphs.py", 'with torch.cuda.stream(before), _pause_garbage_collection(), recording:', 'with _pause_garbage_collection(), recording:', GRAPHS),
    ("crafting/cuda_graphs.py", "            _release_generator()\n            raise\n", "            raise\n", GRAPHS),
    ("crafting/cuda_graphs.py", "if (device, stream.cuda_stream) not in _recorded_on:", "if stream:", GRAPHS),
    ("crafting/cuda_graphs.py", "        torch.cuda.set_sync_debug_mode(before)\n", "        pass\n", GRAPHS),
    ("crafting/cuda_graphs.py", 'set_sync_debug_mode("error")', 'set_sync_debug_mode("default")', GRAPHS),
    ("crafting/cuda_graphs.py", "            stream.wait_event(self.last)\n", "            pass\n", GRAPHS),
    ("crafting/cuda_graphs.py", "        with torch.cuda.stream(stream):\n", "        with torch.cuda.stream(before):\n", GRAPHS),
    ("crafting/cuda_graphs.py", "    stream.wait_stream(before)\n", "", GRAPHS),
    ("crafting/cuda_graphs.py", "        before.wait_stream(stream)", "        pass", GRAPHS),
    ("crafting/cuda_graphs.py", ', capture_error_mode="thread_local")\n            with', ")\n            with", GRAPHS),
    ("crafting/cuda_graphs.py", "            _close(here, pool)\n", "", GRAPHS),
    ("crafting/cuda_graphs.py", "    release(device, pool)\n", "", GRAPHS),
    ("crafting/cuda_graphs.py", "pool=pool, stream=stream", "stream=stream", GRAPHS),
    ("crafting/cuda_graphs.py", "                self.home.wait_event(self.last)\n", "                pass\n", GRAPHS),
    ("crafting/recorded_steps.py", "with self.turns.next():", "if True:", PRETENDED),
    ("crafting/recorded_steps.py", "1 << size, copy", "rows, copy", FASTER),
    ("crafting/recorded_steps.py", "(torch.cuda.OutOfMemoryError, cuda_graphs.NoStream)", "torch.cuda.OutOfMemoryError", FASTER),
    ("training/helpers.py", "                event.synchronize()\n", "                pass\n", TRAINED_THERE),
    ("training/optimizers.py", "return all(p.is_cuda for p in model.parameters()) or None", "return None", TRAINED_THERE),
    ("training/fit.py", '_fused_as_here(state, part) if name == "optimizer" else state', "state", RUNS),
    ("data/stream.py", "                checks.vouch(y, 0, highest)\n", "                checks.vouch(y, 0, -1)\n", TRAINED_THERE),
    # the first layer
    ("crafting/model_copy.py", "torch.float32 if len(layers) == 1 else torch.bfloat16", "torch.bfloat16", TWINS),
    ("crafting/model_copy.py", "torch.float32 if len(layers) == 1 else torch.bfloat16", "torch.float32", TWINS),
    ("crafting/model_copy.py", "with torch.autocast(x.device.type, enabled=False):", "with torch.autocast(x.device.type, torch.bfloat16):", TWINS),
    ("crafting/model_copy.py", 'if "forward" in vars(stem):', "if False:", TWINS),
    # what the loop vouches for, and what it reads late
    ("checks.py", "return known is not None and known[0] == tensor._version", "return known is not None", CHECKS),
    ("checks.py", "torch.aminmax(tensor.detach())", "torch.aminmax(tensor.detach()[:1])", CHECKS),
    ("crafting/task.py", "highest = max(highest, ", "highest = min(highest, ", "attacks/test_bad_input.py"),
    ("crafting/checked_model.py", '            if not no_sync(logits):\n                self.raise_if_no_numbers()\n', '', "attacks/test_bad_input.py"),
    ("training/loop.py", "self.late.all() if ended or saved else self.late.arrived()", "self.late.arrived()", TRAINED_THERE),
    ("training/loop.py", "                if not math.isfinite(value):\n                    raise", "                if False:\n                    raise", TRAINED_THERE),
    ("training/helpers.py", "self._take(len(self.waiting) - (latest_event is not None))", "self._take(len(self.waiting))", TRAINED_THERE),
    ("training/feed.py", "index % self.settings.per_epoch * self.settings.batch_size", "0", LOOP),
    ("training/visits.py", "(self.crops[0][part], self.crops[1][part])", "(self.crops[0][: len(self.index[part])], self.crops[1][: len(self.index[part])])", LOOP),
    # judged in float32
    ("evaluation/exact.py", "                holder.allow_tf32 = False\n", "                pass\n", EXACT),
    ("evaluation/exact.py", '                operation.fp32_precision = "ieee"\n', "                pass\n", EXACT),
    ("evaluation/exact.py", "                holder.allow_tf32 = True\n", "                pass\n", EXACT),
    ("evaluation/judge.py", "exact(), torch.autocast(x.device.type, enabled=False)", "torch.autocast(x.device.type, enabled=False)", EXACT),
    ("evaluation/judge.py", ", torch.autocast(x.device.type, enabled=False)", "", EXACT),
    ("evaluation/battery.py", 'usable if f.name == "fast" and old == Fast() else', 'usable if f.name == "fast" else', SPED),
    ("evaluation/battery.py", "replace(fast, reuse=False) if getattr", "fast if getattr", SPED),
    ("evaluation/loop.py", '            "fast": repr(self.fast),\n', "", SPED),
)  # fmt: skip


def tests_pass(mutant: Mutant | None, tests: tuple[str, ...]) -> bool:
    """Whether these tests pass in a copy of the tree with the mutant in it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in ("mrt", "adapters", "tests", "examples"):
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        shutil.copy(ROOT / "setup.cfg", tree)
        if mutant:
            path = tree / (mutant[0] if mutant[0].startswith("adapters/") else f"mrt/{mutant[0]}")
            text = path.read_text()
            if text.count(mutant[1]) != 1:
                raise SystemExit(
                    f"{mutant[0]} holds {mutant[1]!r} {text.count(mutant[1])} times; a mutant needs it once"
                )
            path.write_text(text.replace(mutant[1], mutant[2]))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{t}" for t in tests)]
        paths = os.pathsep.join([str(tree), str(tree / "adapters")])
        environment = {**os.environ, "PYTHONPATH": paths, "HYPOTHESIS_PROFILE": "first", "OMP_NUM_THREADS": "1"}
        environment["TRITON_INTERPRET"] = "1"  # for in_interpreter.py
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=900)
        if run.returncode not in (0, 1):
            raise SystemExit(
                f"pytest ended with {run.returncode} on {mutant}:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
            )
        return run.returncode == 0


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(w in m[0] or w in m[1] for w in words)]
    if not tests_pass(None, tuple(sorted({m[3] for m in chosen}))):
        print("the unbroken tree fails these tests; mend that first")
        return 1
    survivors = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutant, survived in zip(chosen, pool.map(lambda m: tests_pass(m, (m[3],)), chosen), strict=True):
            survivors += survived
            print(
                f"{'SURVIVED' if survived else 'killed  '}  {mutant[0]}: {mutant[1].strip()} -> {mutant[2].strip()}",
                flush=True,
            )
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
