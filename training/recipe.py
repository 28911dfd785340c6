"""The configuration of a training run: everything that shapes it besides the labels."""

from dataclasses import dataclass, field, replace

from training.augment import Distortion
from training.dataset import DatasetRules
from training.eval_suite import StrangersMix
from training.gates import GateLimits
from training.replay import ReplayMix


@dataclass(frozen=True, slots=True)
class FineTuneConfig:
    """Hyperparameters of the fine-tune."""

    epochs: int = 6
    batches: int = 50  # per epoch
    batch_size: int = 128
    learning_rate: float = 4e-4  # peak; linear warm-up, then cosine decay to zero
    warmup_share: float = 0.1  # of all steps
    label_smoothing: float = 0.05
    not_a_digit_weight: float = 0.1  # weight of the last logit's loss on labels …
    taught_not_a_digit_weight: float = 3.0  # … and on replay; rejecting non-digits is forgotten first
    temperature: float = 2.0  # of distillation on the replay (Hinton, Vinyals and Dean 2015)
    interfered: float = 0.6  # share of the replay sampled by how much it is being forgotten …
    look_before: tuple[int, ...] = (1, 3)  # … as measured before these epochs, counted from 0
    mixed_precision: bool = True
    new_shares: tuple[float, ...] = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)  # of new weights in the average, in order
    most_divergence: float = 0.0015  # maximum, from the champion's answers on unseen replay, nats
    most_forgotten: float = 0.0008  # maximum drop in accuracy on MNIST's validation digits
    caution: float = 0.5  # factor on both limits for each earlier candidate of this champion that failed

    def after(self, rejections: int) -> "FineTuneConfig":
        """Return this configuration with the limits tightened for `rejections` failed candidates."""
        less = self.caution**rejections
        return replace(self, most_divergence=self.most_divergence * less, most_forgotten=self.most_forgotten * less)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The configuration of a run; part of the fingerprint that tells whether anything is new."""

    seed: int = 1
    rules: DatasetRules = field(default_factory=DatasetRules)
    tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    distortion: Distortion = field(default_factory=Distortion)  # augmentation of people's drawings
    replay: ReplayMix = field(default_factory=ReplayMix)
    unseen: ReplayMix = field(
        default_factory=lambda: ReplayMix(mnist=1000, contrasts=0, pens=800, negatives=300, scribbles=100)
    )
    strangers: StrangersMix = field(default_factory=StrangersMix)
    limits: GateLimits = field(default_factory=GateLimits)
