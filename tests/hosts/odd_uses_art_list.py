"""The odd uses of attacks: what they are given, and their settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import art.attacks.evasion as evasion
import numpy as np
import torch

from tests.hosts.odd_uses_art import DIFFERS, HOT, REFUSED, USES, X, Y, attacked, host

AIM = (Y + 1) % 10
SOFT = (HOT * 0.8 + 0.02).astype(np.float32)

LABELS: dict[str, Any] = {
    "int32": Y.astype(np.int32),
    "uint8": Y.astype(np.uint8),
    "floats": Y.astype(np.float32),
    "one-hot": HOT,
    "one-hot ints": HOT.astype(int),
    "one-hot doubles": HOT.astype(np.float64),
    "column": Y[:, None],
    "list": Y.tolist(),
    "none": None,
    "soft": SOFT,
    "too few": Y[:5],
    "too high": Y + 7,
    "negative": -Y - 1,
    "strings": Y.astype(str),
    "two-hot": np.minimum(HOT + np.roll(HOT, 1, 1), 1),
    "NaN": np.full(8, np.nan),
    "scalar": 3,
    "three axes": HOT[:, None],
    "wrong classes": HOT[:, :7],
    "tensor": torch.from_numpy(Y),
}
for _name, _value in LABELS.items():
    USES[f"labels: {_name}"] = partial(lambda v, k: attacked(k.pgd(), y=v), _value)
USES["labels: to reach"] = lambda k: attacked(k.pgd(targeted=True), y=AIM)
USES["labels: to reach, one-hot"] = lambda k: attacked(k.pgd(targeted=True), y=np.eye(10)[AIM])
USES["labels: to reach, none"] = lambda k: attacked(k.pgd(targeted=True), y=None)

HALF = np.zeros((1, 8, 8), dtype=bool)
HALF[:, 4:] = True
MASKS: dict[str, Any] = {
    "bool": HALF,
    "floats": HALF.astype(np.float32),
    "for each image": np.repeat(HALF[None], 8, 0),
    "nothing": HALF & False,
    "everything": HALF | True,
    "ints": HALF.astype(int),
    "negative": -HALF.astype(float),
    "wrong shape": np.ones((1, 5, 8), bool),
    "a row": HALF[0, :, :1],
    "none": None,
}
for _name, _value in MASKS.items():
    USES[f"mask: {_name}"] = partial(lambda v, k: attacked(k.pgd(), mask=v), _value)
USES["mask: APGD"] = lambda k: attacked(k.apgd(), mask=np.repeat(HALF[None], 8, 0))

IMAGES: dict[str, Any] = {
    "doubles": X.astype(np.float64),
    "half": X.astype(np.float16),
    "ints": X.round().astype(int),
    "uint8": X.round().astype(np.uint8),
    "bool": X > 0.5,
    "objects": X.astype(object),
    "list": X.tolist(),
    "big-endian": X.astype(">f4"),
    "Fortran order": np.asfortranarray(X),
    "every second": np.repeat(X, 2, 0)[::2],
    "tensor": torch.from_numpy(X),
    "none": X[:0],
    "one": X[:1],
    "no batch axis": X[0],
    "five axes": X[None],
    "wider": np.repeat(X, 2, 3),
    "flat": X.reshape(8, 64),
    "NaN": np.where(X > 0.9, np.nan, X).astype(np.float32),
    "infinite": np.where(X > 0.9, np.inf, X).astype(np.float32),
    "just outside": X * 1.005,
    "far outside": X * 255,
    "complex": X.astype(complex),
    "strings": X.astype(str),
}
for _name, _value in IMAGES.items():
    USES[f"images: {_name}"] = partial(lambda v, k: attacked(k.pgd(), v, Y[: len(v)]), _value)


def frozen() -> Any:
    x = X.copy()
    x.setflags(write=False)
    return x


USES["images: read-only"] = lambda k: attacked(k.pgd(), frozen())

EACH = np.linspace(0.1, 0.3, 8).astype(np.float32).reshape(8, 1, 1, 1)
PIXELS = np.linspace(0.1, 0.3, 64).astype(np.float32).reshape(1, 8, 8)
SETTINGS: dict[str, dict[str, Any]] = {
    "eps 0": {"eps": 0},
    "eps int": {"eps": 1},
    "eps numpy": {"eps": np.float64(0.3)},
    "eps float32": {"eps": np.float32(0.3)},
    "eps for each image": {"eps": EACH, "eps_step": EACH / 3},
    "eps for each pixel": {"eps": PIXELS, "eps_step": PIXELS / 3},
    "eps for both": {"eps": EACH * PIXELS / 0.3, "eps_step": EACH * PIXELS},
    "eps negative": {"eps": -0.1},
    "eps for each pixel, l2": {"eps": PIXELS, "eps_step": PIXELS, "norm": 2},
    "eps one array": {"eps": EACH},
    "eps infinite": {"eps": np.inf},
    "eps NaN": {"eps": np.nan},
    "eps string": {"eps": "0.3"},
    "eps none": {"eps": None},
    "eps True": {"eps": True},
    "eps for too few": {"eps": EACH[:5], "eps_step": EACH[:5]},
    "step 0": {"eps_step": 0},
    "step beyond": {"eps_step": 5.0},
    "step negative": {"eps_step": -0.1},
    "norm inf": {"norm": "inf"},
    "norm 2": {"norm": 2},
    "norm 1": {"norm": 1},
    "norm 2.0": {"norm": 2.0},
    "norm '2'": {"norm": "2"},
    "norm 3": {"norm": 3},
    "norm 1.5": {"norm": 1.5},
    "norm 0": {"norm": 0},
    "norm l2": {"norm": "l2"},
    "norm none": {"norm": None},
    "max_iter 0": {"max_iter": 0},
    "max_iter negative": {"max_iter": -1},
    "max_iter 2.5": {"max_iter": 2.5},
    "batch_size 1": {"batch_size": 1},
    "batch_size 1000": {"batch_size": 1000},
    "batch_size 0": {"batch_size": 0},
    "restarts": {"num_random_init": 3},
    "restarts negative": {"num_random_init": -1},
    "restarts 1.0": {"num_random_init": 1.0},
    "decay": {"decay": 0.9},
    "random_eps": {"random_eps": True},
    "targeted 'yes'": {"targeted": "yes"},
    "verbose 1": {"verbose": 1},
    "unknown": {"epsilon": 0.1},
    "summary_writer": {"summary_writer": "no/such\0folder"},
}
for _name, _value in SETTINGS.items():
    USES[f"settings: {_name}"] = partial(lambda v, k: attacked(k.pgd(**v), eps=5.0), _value)

for _name, _value in {
    "defaults": {},
    "dlr": {"loss_type": "difference_logits_ratio"},
    "ce": {"loss_type": "cross_entropy"},
    "norm 2": {"norm": 2, "eps": 1.0},
    "norm 1": {"norm": 1, "eps": 3.0},
    "norm 3": {"norm": 3},
    "eps 0": {"eps": 0},
    "eps in an array": {"eps": EACH},
    "no restarts": {"nb_random_init": 0},
    "targeted": {"targeted": True},
    "max_iter 0": {"max_iter": 0},
    "loss 'mse'": {"loss_type": "mse"},
    "step 0": {"eps_step": 0},
}.items():
    USES[f"APGD: {_name}"] = partial(
        lambda v, k: attacked(k.apgd(**v), y=AIM if "targeted" in v else Y, eps=5.0), _value
    )
USES["APGD: no labels"] = lambda k: attacked(k.apgd(), y=None)

CLIPS: dict[str, Any] = {
    "none": None,
    "ints": (0, 1),
    "numpy": (np.float32(0), np.float32(1)),
    "arrays": (np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)),
    "arrays by pixel": (np.zeros((1, 8, 8), np.float32), np.ones((1, 8, 8), np.float32)),
    "unequal": (np.zeros((1, 8, 8), np.float32), np.linspace(1, 2, 64, dtype=np.float32).reshape(1, 8, 8)),
    "wide": (-5, 5),
    "reversed": (1, 0),
    "equal": (0, 0),
    "three": (0, 1, 2),
    "array that fits nothing": (np.zeros(3), np.ones(3)),
}
for _name, _value in CLIPS.items():
    USES[f"clip values: {_name}"] = partial(lambda v, k: attacked(k.pgd(host(clip_values=v))), _value)
USES["clip values: far"] = lambda k: attacked(
    k.pgd(host(clip_values=(0, 255), preprocessing=(0.0, 255.0)), eps=76), X * 255, eps=76.5
)


def set_params(k: Any, **how: Any) -> Any:
    attack = k.pgd()
    attack.set_params(**how)
    return attacked(attack)


USES["set_params"] = lambda k: set_params(k, eps=0.1, eps_step=0.05)
USES["set_params: unknown"] = lambda k: set_params(k, epsilon=0.1)
USES["set_params: wrong"] = lambda k: set_params(k, eps=-1)
USES["generate: unknown keyword"] = lambda k: attacked(k.pgd(), steps=3)
USES["generate: by keyword"] = lambda k: k.pgd().generate(x=X, y=Y).shape
USES["repr is one line"] = lambda k: "\n" in repr(k.pgd())
USES["isinstance of ART's"] = lambda k: isinstance(k.pgd(), evasion.ProjectedGradientDescent)

NUMBER = "a radius is a finite number, and neither True nor infinity is one"
NORM = "our balls are linf, l2 and l1"
REFUSED |= {
    "labels: negative": "no class; ART counts from the end",
    "labels: strings": "no class numbers; ART reads them as some",
    "labels: wrong classes": "one row of the wrong length for each image",
    "images: NaN": "NaN is no pixel, and an attack on it finds nothing",
    "images: infinite": "infinity is no pixel",
    "images: far outside": "forgotten units, whose radius would be another one",
    "settings: eps infinite": NUMBER,
    "settings: eps True": NUMBER,
    "settings: norm 3": NORM,
    "settings: norm 1.5": NORM,
    "generate: unknown keyword": "a misspelt keyword would be ignored",
}
DIFFERS |= {
    "images: just outside": "clipped first, and said: ART's result is within eps, ours within the clip values",
    "settings: random_eps": "each class draws a radius of its own",
}
