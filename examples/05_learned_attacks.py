"""Attacks that are learned: train against one, fit one to a fixed network, and judge with both.

    python examples/05_learned_attacks.py [--images 60] [--updates 300] [--out runs/learned]

A network learns against L2L-DA's generator. It is judged by PGD, by that generator, and by the images that PGD and
another generator make on a plain network (black box). noise.png shows what MNG-AC's generator makes on each ball. About
a minute and a half on one core; benchmarks/l2l_da_digits.py has the whole table.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

import mrt
from mrt.evaluation import loss_path, transfer
from mrt.evaluation.analysis.pictures import sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--updates", type=int, default=300, help="of each generator")
    parser.add_argument("--out", type=Path, default=Path("runs/learned"))
    args = parser.parse_args()

    torch.manual_seed(0)
    train, test = mrt.data.digits("train"), mrt.data.digits("test").take(args.images)
    ball = mrt.Linf(0.15)
    how: dict[str, Any] = {"batch_size": 64, "optimizer": mrt.Adam(4e-3)}
    plain, robust = mrt.models.DigitsCNN(), mrt.models.DigitsCNN()
    mrt.fit(plain, mrt.Standard(), train, epochs=4, **how)
    robust.load_state_dict(plain.state_dict())  # L2L-DA begins with a trained classifier
    run = mrt.fit(robust, mrt.L2LDA(ball, steps=5, width=16), train, iterations=args.updates, clip=1.0, **how)
    own = mrt.GeneratorAttack(run.state.generator, ball, samples=10)  # the worst of ten latents
    generator = mrt.generators.L2LGenerator((1, 8, 8), 10, width=16, steps=5)
    fitted = mrt.fit_generator(generator, plain, train, ball, iterations=args.updates // 2, batch_size=64)

    pgd = mrt.PGD(ball, steps=10)
    for name, model in (("plain", plain), ("robust", robust)):
        white = (mrt.Entry("pgd", pgd, ball), mrt.Entry("l2l-da", fitted if model is plain else own, ball))
        black = transfer({"pgd": pgd, "l2l-da": fitted}, {"plain": plain}) if model is robust else ()
        out = args.out / name if model is plain else args.out
        # without a cascade every attack sees every image, so that columns compare
        report = mrt.evaluate(model, test, (*white, *black), cascade=False, out=out, progress=False)
        print(f"{name}\n{report}")
    path = loss_path(mrt.GeneratorAttack(run.state.generator, ball), robust, test.x, test.y, attempts=3)
    print(f"the loss over the generator's steps: {[round(v, 2) for v in path.mean.tolist()]}")

    union = (mrt.Linf(0.2), mrt.L2(0.7), mrt.L1(2.0))
    strategy = mrt.MNGAC(union, steps=5, generator_optimizer="adam", look_ahead=50.0)
    noisy = mrt.fit(mrt.models.DigitsCNN(), strategy, train, iterations=args.updates // 10, **how)
    x, y = test.x[:8], test.y[:8]
    rows = {"clean": x}
    for threat in union:
        made = mrt.GeneratorAttack(noisy.state.generator, threat)(noisy.model, x, y)
        rows |= {f"noise {threat.name}": made - x, f"noisy {threat.name}": made}
    (args.out / "noise.png").write_bytes(sheet(rows, noise=[name for name in rows if name.startswith("noise")]))
    print(f"pictures: {args.out / 'index.html'}, {args.out / 'noise.png'}")


if __name__ == "__main__":
    main()
