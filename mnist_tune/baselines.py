"""Published accuracies on the 10,000 test images of MNIST, each with its source and its limits.

What a comparison with any of them cannot know: the networks' predictions are not available, so
nothing can be paired; most numbers are of one training, chosen in a way that is not described.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from mnist_tune.errors import DefinitionError

NetworkClass = Literal[
    "dense", "dense + regularisers", "convolutional", "convolutional + distortions", "unknown"
]

_TABLE = "LeCun, Cortes and Burges, The MNIST database of handwritten digits, table of results"
_SRIVASTAVA = (
    "Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout: a simple way to "
    "prevent neural networks from overfitting, JMLR 15, 2014"
)
_PEREYRA = (
    "Pereyra, Tucker, Chorowski, Kaiser and Hinton, Regularizing neural networks by penalizing "
    "confident output distributions, arXiv:1701.06548, 2017"
)


_UNCOUNTED = "a mean over seeds whose number is not known here, and therefore compared as one run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A published number.

    Attributes:
        key: what `--baseline` and study files call it.
        authors: short, such as `Hinton`.
        name: what was trained.
        accuracy: on the test set, above 0 and below 1.
        test_size: number of test images.
        runs: training runs whose mean it is; 1 where their number is unknown, which errs on the
            careful side.
        network_class: networks of other classes are no fair match.
        source: where the number was published.
        year: of the publication, if known.
        caveats: what a reader of the comparison must know.
    """

    key: str
    authors: str
    name: str
    accuracy: float
    test_size: int = 10_000
    runs: int = 1
    network_class: NetworkClass
    source: str
    year: int | None
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1 or self.test_size < 1 or self.runs < 1:
            raise DefinitionError(
                f"baseline {self.key!r}: accuracy {self.accuracy!r} on {self.test_size!r} images, "
                f"mean of {self.runs!r} runs: give a share between 0 and 1, and at least one of both"
            )

    @property
    def cited(self) -> str:
        """Whose number it is and the number, such as `Hinton's 98.47 %`."""
        owner = f"{self.authors}'" if self.authors.endswith("s") else f"{self.authors}'s"
        return f"{owner} {100 * self.accuracy:.2f} %"


_ALL = (
    Baseline(
        key="hinton-500-300",
        authors="Hinton",
        name="500-300, softmax, cross-entropy, weight decay",
        accuracy=0.9847,
        network_class="dense",
        source=f"{_TABLE}: 1.53 % error, “Hinton, unpublished, 2005”",
        year=2005,
        caveats=(
            "unpublished: weight decay, epochs and number of seeds are unknown",
            "Hinton, Osindero and Teh (2006) give 98.49 % for what seems to be the same network",
        ),
    ),
    Baseline(
        key="hinton-2006",
        authors="Hinton et al.",
        name="500-300, backpropagation with weight decay",
        accuracy=0.9849,
        network_class="dense",
        source=(
            "Hinton, Osindero and Teh, A fast learning algorithm for deep belief nets, "
            "Neural Computation 18(7), 2006, Table 1 and its footnote: 1.51 % error"
        ),
        year=2006,
        caveats=("weight decay, epochs and number of seeds are unknown",),
    ),
    Baseline(
        key="simard-800",
        authors="Simard et al.",
        name="800, cross-entropy, no distortions",
        accuracy=0.9840,
        network_class="dense",
        source=(
            "Simard, Steinkraus and Platt, Best practices for convolutional neural networks "
            "applied to visual document analysis, ICDAR 2003: 1.60 % error"
        ),
        year=2003,
        caveats=("number of seeds unknown",),
    ),
    Baseline(
        key="srivastava-dropout",
        authors="Srivastava et al.",
        name="3 × 1024 ReLU, dropout",
        accuracy=0.9875,
        network_class="dense + regularisers",
        source=f"{_SRIVASTAVA}: 1.25 % error",
        year=2014,
        caveats=("number of seeds unknown",),
    ),
    Baseline(
        key="srivastava-max-norm",
        authors="Srivastava et al.",
        name="3 × 1024 ReLU, dropout and max-norm",
        accuracy=0.9894,
        network_class="dense + regularisers",
        source=f"{_SRIVASTAVA}: 1.06 % error",
        year=2014,
        caveats=("number of seeds unknown",),
    ),
    Baseline(
        key="pereyra-dropout",
        authors="Pereyra et al.",
        name="2 × 1024 ReLU, dropout",
        accuracy=0.9872,
        network_class="dense + regularisers",
        source=f"{_PEREYRA}: 1.28 ± 0.06 % error",
        year=2017,
        caveats=(_UNCOUNTED,),
    ),
    Baseline(
        key="pereyra-confidence",
        authors="Pereyra et al.",
        name="2 × 1024 ReLU, confidence penalty",
        accuracy=0.9883,
        network_class="dense + regularisers",
        source=f"{_PEREYRA}: 1.17 ± 0.06 % error",
        year=2017,
        caveats=(_UNCOUNTED,),
    ),
    Baseline(
        key="maxout",
        authors="Goodfellow et al.",
        name="dense maxout, dropout",
        accuracy=0.9906,
        network_class="dense + regularisers",
        source="Goodfellow, Warde-Farley, Mirza, Courville and Bengio, Maxout networks, ICML 2013: 0.94 % error",
        year=2013,
        caveats=("number of seeds unknown",),
    ),
    Baseline(
        key="ladder",
        authors="Rasmus et al.",
        name="ladder network",
        accuracy=0.9943,
        network_class="dense + regularisers",
        source=(
            "Rasmus, Valpola, Honkala, Berglund and Raiko, Semi-supervised learning with ladder "
            "networks, NeurIPS 2015: 0.57 % error"
        ),
        year=2015,
        caveats=("learns to denoise beside learning to classify: a much stronger method",),
    ),
    Baseline(
        key="lenet-5",
        authors="LeCun et al.",
        name="LeNet-5, no distortions",
        accuracy=0.9905,
        network_class="convolutional",
        source=(
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document "
            "recognition, Proceedings of the IEEE 86(11), 1998: 0.95 % error"
        ),
        year=1998,
        caveats=("number of seeds unknown",),
    ),
    Baseline(
        key="simard-elastic",
        authors="Simard et al.",
        name="convolutional, elastic distortions",
        accuracy=0.9960,
        network_class="convolutional + distortions",
        source=(
            "Simard, Steinkraus and Platt, Best practices for convolutional neural networks "
            "applied to visual document analysis, ICDAR 2003: 0.4 % error"
        ),
        year=2003,
        caveats=(
            "trained on distorted copies of the images, which nothing here is",
            "published with one digit only",
        ),
    ),
    Baseline(
        key="ciresan-committee",
        authors="Ciresan et al.",
        name="committee of 35 convolutional networks, elastic distortions",
        accuracy=0.9977,
        network_class="convolutional + distortions",
        source=(
            "Ciresan, Meier and Schmidhuber, Multi-column deep neural networks for image "
            "classification, CVPR 2012: 0.23 % error"
        ),
        year=2012,
        caveats=("trained on distorted copies of the images, and 35 networks vote",),
    ),
)

MOST_CHARACTERS = 64  # of a key, as the storage keeps it
_OWN = re.compile(r"(?P<name>[^=/]+)=(?P<percent>\d+(\.\d+)?) ?%?(/(?P<size>\d+))?")

BASELINES: Mapping[str, Baseline] = MappingProxyType({baseline.key: baseline for baseline in _ALL})


def find_baseline(key: str) -> Baseline:
    """Return the baseline of that key, or make one of `NAME=PERCENT` or `NAME=PERCENT/IMAGES`.

    Raises:
        DefinitionError: there is none; the message lists those there are.
    """
    if key in BASELINES:
        return BASELINES[key]
    own = _OWN.fullmatch(key.strip())
    if own is None:
        hint = "or your own as 'NAME=98.60' (accuracy in %) or 'NAME=98.60/10000' (test images)"
        raise DefinitionError(f"no baseline {key!r}: give one of {', '.join(BASELINES)}, {hint}")
    if len(key) > MOST_CHARACTERS:
        raise DefinitionError(
            f"baseline {key!r} is too long: use at most {MOST_CHARACTERS} characters"
        )
    if not 0 < float(own["percent"]) < 100 or int(own["size"] or 1) < 1:
        raise DefinitionError(
            f"baseline {key!r}: give an accuracy between 0 and 100 %, and at least one image"
        )
    if float(own["percent"]) <= 1:
        raise DefinitionError(
            f"baseline {key!r} says {own['percent']} %: give the accuracy in percent, such as "
            f"'{own['name'].strip()}={100 * float(own['percent']):g}'"
        )
    name = own["name"].strip()
    return Baseline(
        key=key,
        authors=name,
        name="given on the command line",
        accuracy=round(float(own["percent"]) / 100, 10),
        test_size=int(own["size"] or 10_000),
        network_class="unknown",
        source="given on the command line",
        year=None,
        caveats=("its source and number of seeds are not known here",),
    )
