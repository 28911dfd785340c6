"""All that shapes a run beside the labels themselves, in one place."""

from dataclasses import dataclass, field, replace

from training.augment import Distortion
from training.dataset import DatasetRules
from training.eval_suite import StrangersMix
from training.gates import GateLimits
from training.replay import ReplayMix


@dataclass(frozen=True, slots=True)
class FineTuneConfig:
    """How a trained network learns some more without forgetting."""

    epochs: int = 6
    batches: int = 50  # in an epoch
    batch_size: int = 128
    learning_rate: float = 4e-4  # at its peak; linear warm-up, then half a cosine down to zero
    warmup_share: float = 0.1
    label_smoothing: float = 0.05
    not_a_digit_weight: float = 0.1  # of the last logit's loss, on labels …
    taught_not_a_digit_weight: float = 3.0  # … and on replay: what is no digit is forgotten first
    temperature: float = 2.0  # of the champion's answers on the replay (Hinton, Vinyals and Dean 2015)
    interfered: float = 0.6  # of the replay: what is being forgotten most, as seen …
    look_before: tuple[int, ...] = (1, 3)  # … before these epochs, the first being 0
    mixed_precision: bool = True
    new_shares: tuple[float, ...] = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)  # of new weights in the average
    most_divergence: float = 0.0015  # from the champion's answers on unseen replay, nats
    most_forgotten: float = 0.0008  # of MNIST's digits that were kept back, more wrong than the champion has
    caution: float = 0.5  # times both, for each candidate of the same champion's that the gates rejected

    def after(self, rejections: int) -> "FineTuneConfig":
        """Return the same, more careful by so many rejections."""
        less = self.caution**rejections
        return replace(self, most_divergence=self.most_divergence * less, most_forgotten=self.most_forgotten * less)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run's recipe; part of the fingerprint that tells whether there is anything new."""

    seed: int = 1
    rules: DatasetRules = field(default_factory=DatasetRules)
    tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    distortion: Distortion = field(default_factory=Distortion)  # of people's drawings
    replay: ReplayMix = field(default_factory=ReplayMix)
    unseen: ReplayMix = field(
        default_factory=lambda: ReplayMix(mnist=1000, contrasts=0, pens=800, negatives=300, scribbles=100)
    )
    strangers: StrangersMix = field(default_factory=StrangersMix)
    limits: GateLimits = field(default_factory=GateLimits)
