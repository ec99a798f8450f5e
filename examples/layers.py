# %% [markdown]
# # Layers in plain Keras: a gradient that vanishes
#
# `seqapps.layers` has SimpleRNN, LSTM and GRU with the arguments, weights and results of Keras' layers of these names;
# on a CPU they are faster. They need nothing else of seqapps.
#
# The task is the *adding problem* (Hochreiter & Schmidhuber 1997, section 5.4). Each of 50 steps brings a number and a
# mark. Two steps are marked, one in each half; after the last step the network tells the sum of the two marked
# numbers. To be right, it has to keep the first number for 25 steps and more.

# %%
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import keras
import matplotlib
import numpy as np
import tensorflow as tf

import seqapps

matplotlib.use("Agg")  # draws into files; leave this line out in a notebook
from matplotlib import pyplot as plt

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)
STEPS = 50


def adding_problem(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps `<float32>[rows, STEPS, 2]`, number and mark, and the sums `<float32>[rows]`."""
    random = np.random.default_rng(seed)
    numbers, marks = random.random((rows, STEPS)), np.zeros((rows, STEPS))
    for low, high in ((0, STEPS // 2), (STEPS // 2, STEPS)):
        marks[np.arange(rows), random.integers(low, high, rows)] = 1.0
    sums = (numbers * marks).sum(axis=1)
    return np.stack([numbers, marks], axis=-1).astype(np.float32), sums.astype(np.float32)


x, y = adding_problem(20_000, seed=1)
test_x, test_y = adding_problem(1_000, seed=2)
nothing = float(np.mean((test_y - 1.0) ** 2))
print(f"Adding problem, {STEPS} steps. Always to answer 1 has a mean square error of {nothing:.3f}.")

# %% [markdown]
# ## Does the answer feel the first step?
#
# A network learns that a step mattered through the gradient of the loss with respect to that step. On its way back the
# gradient passes the recurrence once a step; if each passage shrinks it a little, next to nothing arrives. A tape and
# three lines make it visible.


# %%
def gradient_by_step(network: keras.Model) -> np.ndarray:
    """Returns the mean size of d loss / d x_t for every step t, `<float32>[STEPS]`."""
    steps = tf.constant(test_x)
    with tf.GradientTape() as tape:
        tape.watch(steps)
        loss = tf.reduce_sum(tf.square(network(steps)[:, 0] - test_y))
    return np.asarray(tf.reduce_mean(tf.norm(tape.gradient(loss, steps), axis=-1), axis=0))


# %% [markdown]
# ## Three cells, the same training
#
# The gradient at the first step, as a share of that at the last step, before and after training, and the error on new
# rows after each epoch. What to look for:
#
# - The untrained SimpleRNN has the *largest* gradient: its recurrent matrix begins orthogonal, which keeps lengths. It
#   has no means to hold on to that: training has to use the same matrix to compute with, and then the gradient vanishes
#   and stays so. The network answers from the last few steps.
# - The untrained GRU has the smallest. Its update gates begin near 1/2, so that a unit forgets about half at each step,
#   and 1/2 to the power of 49 is 2e-15. But a gate is learned: opened, it passes state and gradient on unchanged. Marks
#   that lie near each other teach it first, distant ones follow. The LSTM does so, too, from 0.73 on.

# %%
CELLS = {"SimpleRNN": seqapps.layers.SimpleRNN, "LSTM": seqapps.layers.LSTM, "GRU": seqapps.layers.GRU}
before, after, losses = {}, {}, {}
print(f"\n{'':10} {'gradient, first step / last step':^34}")
print(f"{'cell':10} {'untrained':>16} {'trained':>16}   error after each epoch")
for name, layer in CELLS.items():
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((STEPS, 2)), layer(32), keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(1e-2, clipnorm=1.0), "mse")
    before[name] = gradient_by_step(network)
    told = network.fit(x, y, batch_size=100, epochs=4, validation_data=(test_x, test_y), verbose=0)
    after[name], losses[name] = gradient_by_step(network), told.history["val_loss"]
    shares = [curve[0] / curve[-1] for curve in (before[name], after[name])]
    told_losses = "  ".join(f"{loss:.4f}" for loss in losses[name])
    print(f"{name:10} {shares[0]:16.0e} {shares[1]:16.0e}   {told_losses}", flush=True)

# %% [markdown]
# ## The picture
#
# A straight line on these logarithmic axes is a gradient that shrinks by the same factor at each step back in time; a
# level one reaches the first step as well as the last. For a model that seqapps trained, `seqapps diagnose` draws the
# same for every layer, with its gates.

# %%
figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for name in CELLS:
    panels[0].plot(before[name], label=name)
    panels[1].plot(after[name], label=name)
    panels[2].plot(range(1, len(losses[name]) + 1), losses[name], marker="o", label=name)
for panel, title in zip(panels, ("before training", "after training"), strict=False):
    panel.set(title=f"Gradient of the loss, {title}", xlabel="step t", ylabel="mean |d loss / d x_t|", yscale="log")
panels[2].axhline(nothing, color="grey", linestyle="--", label="always answers 1")
panels[2].set(title="Error on new rows", xlabel="epoch", ylabel="mean square error", yscale="log")
panels[2].set_xticks(range(1, 5))
for panel in panels:
    panel.legend()
    panel.grid(alpha=0.3)
picture = folder / "layers.png"
figure.savefig(picture, dpi=110)
print(f"\n{picture}: the gradient before and after training, and the error")
