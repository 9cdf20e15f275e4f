"""Classification accuracy score: are generated images good enough to learn classes from?

Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models", section 3:
accuracy on real images of a classifier that was trained on generated ones alone. Here it is the
small network of `jaxgan.metrics.classifier`, where the paper has a ResNet-50.
"""

from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics import classifier
from jaxgan.metrics.base import Score, joined, warn


class CAS(Score):
    """Accuracy on real images of a classifier of generated ones; a share."""

    name = "cas"
    needs = needs_real = frozenset({"image", "label"})
    better = "higher"
    of = "pixels"
    summary = "accuracy on real images of a classifier of generated ones"
    published_as = (
        "top-1 accuracy, on ImageNet's validation set, of a ResNet-50 trained on as many generated "
        "images as the training set has (Ravuri & Vinyals 2019)"
    )
    published_with = "resnet-50"

    def result(self) -> dict[str, float]:
        """{"cas": share in [0, 1]}, over the classes that both sides have by name.

        Warns where there are fewer generated images than real ones: the paper has as many.
        """
        labels, real_labels = (joined(side, "label") for side in (self.generated, self.real))
        every = np.union1d(labels, real_labels)
        classes = every if self.common is None else np.array(sorted(self.common))
        self.over = f"{len(classes)} of {len(np.union1d(every, classes))}"
        images, labels = self._of(classes, self.generated, labels)
        real_images, real_labels = self._of(classes, self.real, real_labels)
        if len(images) < len(real_images):
            warn(
                f"{self.name} of a classifier that learns from {len(images):,} generated images, "
                f"where there are {len(real_images):,} real ones: it is lower for that alone"
            )
        network = classifier.train(images, labels, classes=len(classes), seed=self.seed)
        return {self.name: classifier.accuracy(network, real_images, real_labels)}

    def _of(
        self, classes: np.ndarray, side: Any, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images of these classes and the places of their labels among them."""
        kept = np.isin(labels, classes)
        if not kept.any():
            raise UserError(f"{self.name}: no image is of a class of both sides: leave it out")
        return joined(side, "image")[kept], np.searchsorted(classes, labels[kept])
