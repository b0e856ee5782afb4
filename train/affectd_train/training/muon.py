"""Muon for convolutions: half as many steps to the same loss as with AdamW, a tenth more time for each.

The step of a matrix is its momentum with all singular values set to about one, so that rare directions are learned as
fast as common ones. K. Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of a step,
which lets matrices share their rate with what AdamW moves, is from J. Liu et al., "Muon is scalable for LLM training",
2025.
"""

from __future__ import annotations

from typing import Any

from affectd_train.backend import keras, ops


@keras.saving.register_keras_serializable("affectd")
class Muon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras has no types
    """Keras's Muon, to which the kernel of a convolution is a matrix too, ``(kernel_size * n_in, n_out)``.

    What is no matrix, and layers with one of ``exclude_layers`` in their names, are left to AdamW.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) < 2 or any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        ahead = ops.add(gradient, self.momentum * m)
        step = self.zeropower_via_newtonschulz5(ops.reshape(ahead, (-1, ahead.shape[-1])), self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(lr * step), variable.shape))

    def _apply_weight_decay(self, variables: Any) -> None:
        rate = self.learning_rate  # looked up once: each time, the whole schedule is traced anew
        for variable in filter(self._use_weight_decay, variables):
            decay = self.adam_weight_decay if self._should_use_adamw(variable) else self.weight_decay
            variable.assign(variable - variable * decay * rate)


def optimizer(steps: int, rate: float, weight_decay: float) -> Muon:
    """Let the rate rise over the first steps and fall as a cosine over the others."""
    warmup = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup
    )
    # The average of the weights over the last few hundred steps generalizes better than the last ones.
    return Muon(
        schedule,
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
        exclude_layers=["logits", "hints"],
        use_ema=True,
        ema_momentum=0.995,
    )
