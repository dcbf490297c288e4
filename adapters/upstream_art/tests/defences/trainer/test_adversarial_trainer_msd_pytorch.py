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
import numpy as np
import pytest

from art.attacks.evasion import MultiSteepestDescent
from art.defences.trainer import AdversarialTrainerMSDPyTorch


@pytest.fixture()
def get_adv_trainer(image_dl_estimator):
    def _get_adv_trainer():
        classifier, _ = image_dl_estimator(from_logits=True)
        attack = MultiSteepestDescent(classifier, eps={"inf": 0.03, 2: 0.3, 1: 2.0}, max_iter=2, verbose=False)
        return AdversarialTrainerMSDPyTorch(classifier, attack)

    return _get_adv_trainer


@pytest.fixture()
def fix_get_mnist_subset(get_mnist_dataset):
    (x_train_mnist, y_train_mnist), (x_test_mnist, y_test_mnist) = get_mnist_dataset
    yield x_train_mnist[:100], y_train_mnist[:100], x_test_mnist[:100], y_test_mnist[:100]


@pytest.mark.only_with_platform("pytorch")
@pytest.mark.parametrize("label_format", ["one_hot", "numerical"])
def test_fit_and_predict(get_adv_trainer, fix_get_mnist_subset, label_format):
    (x_train, y_train, x_test, y_test) = fix_get_mnist_subset
    original = x_train.copy()
    labels = y_train if label_format == "one_hot" else np.argmax(y_train, axis=1)
    trainer = get_adv_trainer()
    before = np.mean(trainer.predict(x_test).argmax(axis=1) == y_test.argmax(axis=1))
    trainer.fit(x_train, labels, nb_epochs=5)
    after = np.mean(trainer.predict(x_test).argmax(axis=1) == y_test.argmax(axis=1))

    assert after > before
    np.testing.assert_array_equal(x_train, original)
    trainer.fit(x_train, labels, nb_epochs=1, validation_data=(x_test, y_test))


@pytest.mark.only_with_platform("pytorch")
def test_fit_generator_and_predict(get_adv_trainer, fix_get_mnist_subset, image_data_generator):
    (_, _, x_test, y_test) = fix_get_mnist_subset
    trainer = get_adv_trainer()
    before = np.mean(trainer.predict(x_test).argmax(axis=1) == y_test.argmax(axis=1))
    trainer.fit_generator(generator=image_data_generator(), nb_epochs=5)
    after = np.mean(trainer.predict(x_test).argmax(axis=1) == y_test.argmax(axis=1))

    assert after > before


@pytest.mark.only_with_platform("pytorch")
def test_wrong_scheduler(get_adv_trainer, fix_get_mnist_subset):
    (x_train, y_train, _, _) = fix_get_mnist_subset
    with pytest.raises(ValueError, match="scheduler"):
        get_adv_trainer().fit(x_train, y_train, nb_epochs=1, scheduler="constant")
