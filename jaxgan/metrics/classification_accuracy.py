"""Classification accuracy score: are generated images good enough to learn classes from?

Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models", section 3:
accuracy on real images of a classifier that was trained on generated ones alone. Here it is the
small network of `jaxgan.metrics.classifier`, where the paper has a ResNet-50.
"""

from jaxgan.metrics import classifier
from jaxgan.metrics.base import Score, joined


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
        """{"cas": share in [0, 1]}."""
        labels, real_labels = (joined(side, "label") for side in (self.generated, self.real))
        network = classifier.train(
            joined(self.generated, "image"),
            labels,
            classes=int(max(labels.max(), real_labels.max())) + 1,
            seed=self.seed,
        )
        return {self.name: classifier.accuracy(network, joined(self.real, "image"), real_labels)}
