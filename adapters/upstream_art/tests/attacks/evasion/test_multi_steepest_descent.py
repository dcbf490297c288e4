# MIT License
#
# Copyright (C) The Adversarial Robustness Toolbox (ART) Authors 2026
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
# documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
# rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
# persons to whom the Software is furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
# Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
# WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
# AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
# TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
# SOFTWARE.
import logging

import numpy as np
import pytest

from art.attacks.evasion import MultiSteepestDescent, SparseL1Descent
from art.attacks.evasion.sparse_l1_descent import project_l1_box, sparse_step
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin

from tests.attacks.utils import backend_test_classifier_type_check_fail
from tests.utils import ARTTestException

logger = logging.getLogger(__name__)

EPS = {"inf": 0.1, 2: 1.0, 1: 6.0}


@pytest.fixture()
def fix_get_mnist_subset(get_mnist_dataset):
    (x_train_mnist, y_train_mnist), (x_test_mnist, y_test_mnist) = get_mnist_dataset
    yield x_train_mnist[:100], y_train_mnist[:100], x_test_mnist[:10], y_test_mnist[:10]


@pytest.mark.framework_agnostic
def test_projection_is_the_nearest_point(art_warning):
    try:
        rng = np.random.default_rng(0)
        for eps in (0.1, 1.0, 5.0):
            delta = rng.normal(size=(20, 12))
            below, above = rng.uniform(size=(2, 20, 12))
            found = project_l1_box(delta, below, above, eps)
            assert np.all(np.abs(found).sum(axis=1) <= eps * (1 + 1e-9))
            assert np.all(found >= -below) and np.all(found <= above)
            # No point of the set makes an acute angle with what is left.
            for _ in range(50):
                other = np.clip(rng.normal(size=delta.shape), -below, above)
                other *= np.minimum(1, eps / np.abs(other).sum(axis=1, keepdims=True))
                assert np.all(((delta - found) * (other - found)).sum(axis=1) <= 1e-8)
    except ARTTestException as e:
        art_warning(e)


@pytest.mark.framework_agnostic
def test_step_moves_the_largest_features(art_warning):
    try:
        grad = np.array([[3.0, -2.0, 1.0, 5.0]])
        step = sparse_step(grad, np.array([[True, True, True, False]]), quantile=0.5, length=1.0)
        np.testing.assert_allclose(step, [[0.5, -0.5, 0.0, 0.0]])
    except ARTTestException as e:
        art_warning(e)


@pytest.mark.skip_framework("keras", "non_dl_frameworks", "kerastf", "huggingface")
@pytest.mark.parametrize("targeted", [False, True])
def test_generate_sparse_l1_descent(art_warning, fix_get_mnist_subset, image_dl_estimator_for_attack, targeted):
    try:
        classifier = image_dl_estimator_for_attack(SparseL1Descent, from_logits=True)
        (_, _, x_test, y_test) = fix_get_mnist_subset
        original = x_test.copy()
        y = np.roll(y_test, 1, axis=1) if targeted else y_test
        attack = SparseL1Descent(classifier, eps=20.0, max_iter=20, targeted=targeted, batch_size=4, verbose=False)
        x_adv = attack.generate(x_test, y=y)

        assert x_adv.dtype == np.float32 and x_adv.min() >= 0 and x_adv.max() <= 1
        assert np.abs(x_adv - x_test).reshape(len(x_test), -1).sum(axis=1).max() <= 20.0 + 1e-3
        np.testing.assert_array_equal(x_test, original)
        loss = [classifier.compute_loss(images, y, reduction="none") for images in (x_test, x_adv)]
        assert np.all(loss[1] < loss[0]) if targeted else np.all(loss[1] > loss[0])
    except ARTTestException as e:
        art_warning(e)


@pytest.mark.skip_framework("keras", "non_dl_frameworks", "kerastf", "huggingface")
def test_generate_multi_steepest_descent(art_warning, fix_get_mnist_subset, image_dl_estimator_for_attack):
    try:
        classifier = image_dl_estimator_for_attack(MultiSteepestDescent, from_logits=True)
        (_, _, x_test, y_test) = fix_get_mnist_subset
        x_adv = MultiSteepestDescent(classifier, eps=EPS, max_iter=20, batch_size=4, verbose=False).generate(x_test, y_test)

        assert x_adv.min() >= 0 and x_adv.max() <= 1
        delta = (x_adv - x_test).reshape(len(x_test), -1).astype(np.float64)
        sizes = np.stack([np.abs(delta).max(axis=1) / 0.1, np.linalg.norm(delta, axis=1), np.abs(delta).sum(axis=1) / 6])
        assert sizes.min(axis=0).max() <= 1 + 1e-5
        loss = [classifier.compute_loss(images, y_test, reduction="none") for images in (x_test, x_adv)]
        assert np.all(loss[1] > loss[0])

        # One ball alone is plain descent in it.
        alone = MultiSteepestDescent(classifier, eps={1: 6.0}, eps_step={1: 1.2}, max_iter=10, verbose=False)
        sparse = SparseL1Descent(classifier, eps=6.0, eps_step=1.2, max_iter=10, verbose=False)
        np.testing.assert_array_equal(alone.generate(x_test, y_test), sparse.generate(x_test, y_test))
    except ARTTestException as e:
        art_warning(e)


@pytest.mark.framework_agnostic
@pytest.mark.parametrize("attack", [SparseL1Descent, MultiSteepestDescent])
def test_check_params(art_warning, image_dl_estimator_for_attack, attack):
    try:
        classifier = image_dl_estimator_for_attack(attack, from_logits=True)
        wrong = [("max_iter", 1.0), ("max_iter", -1), ("targeted", "true"), ("batch_size", 1.0), ("batch_size", -1)]
        wrong += [("verbose", "true"), ("quantile", 2), ("quantile", "0.9"), ("eps", "1"), ("eps", -1.0), ("eps_step", "1")]
        if attack is MultiSteepestDescent:
            wrong += [("eps", {}), ("eps", {3: 1.0}), ("eps", {1: -1.0}), ("eps_step", {1: 1.0}), ("eps", 1.0)]
        for name, value in wrong:
            with pytest.raises(ValueError):
                _ = attack(classifier, **{name: value})
    except ARTTestException as e:
        art_warning(e)


@pytest.mark.framework_agnostic
@pytest.mark.parametrize("attack", [SparseL1Descent, MultiSteepestDescent])
def test_classifier_type_check_fail(art_warning, attack):
    try:
        backend_test_classifier_type_check_fail(attack, [BaseEstimator, LossGradientsMixin, ClassifierMixin])
    except ARTTestException as e:
        art_warning(e)
