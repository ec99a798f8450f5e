# %% [markdown]
# # Time series: a forecast with a band
#
# The daily electric load of a town, for two weeks ahead. Cold days raise it (heating), and so do hot ones (cooling):
# it depends on the temperature, but not linearly. The series is made here, so that the truth is known.

# %%
import math
import os
from datetime import date, timedelta
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow's own messages off the screen

import matplotlib
import numpy as np

import seqapps

matplotlib.use("Agg")  # draws into files; leave this line out in a notebook
from matplotlib import pyplot as plt

folder = Path(os.environ.get("SEQAPPS_EXAMPLES", "seqapps-workspace/examples"))
folder.mkdir(parents=True, exist_ok=True)
AHEAD = 7

# %% [markdown]
# ## Data
#
# Three years. The last two weeks are kept back: no model sees them, and they are what the forecast is compared with.

# %%
random = np.random.default_rng(1)
WEEK = (1.0, 1.03, 1.04, 1.03, 1.0, 0.84, 0.78)
days, temperatures, loads = [], [], []
weather = noise = 0.0
for number in range(3 * 365):
    day = date(2022, 8, 1) + timedelta(days=number)
    weather = 0.8 * weather + 2.4 * random.standard_normal()
    noise = 0.6 * noise + 2.0 * random.standard_normal()
    temperature = 13 - 12 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365.25) + weather
    comfort = 2.2 * max(0.0, 15 - temperature) + 4.0 * max(0.0, temperature - 22)
    days.append(day.isoformat())
    temperatures.append(round(temperature, 1))
    loads.append(round(120 * WEEK[day.weekday()] + comfort + noise, 1))


def table(first: int, last: int, told: int) -> str:
    """Returns the days from `first` to `last` as CSV; the load is empty from `told` on."""
    rows = (f"{days[i]},{loads[i] if i < told else ''},{temperatures[i]}\n" for i in range(first, last))
    return "day,load,temperature\n" + "".join(rows)


known = len(days) - AHEAD
(folder / "load.csv").write_text(table(0, known, known), encoding="utf-8")

# %%
config = folder / "example_time_series.toml"
config.write_text(f"""
application = "time_series"

[source]
files = ["{folder}/load.csv"]

[data]
time = "day"
targets = ["load"]
known = ["temperature"]             # of the days to come, too: a weather forecast
calendar = ["weekday"]
history = 14
horizon = {AHEAD}
season = 7
split = {{ validation = 0.15, test = 0.2 }}

[model]
architecture = "forecast_decoder"   # one day after the other
units = [32]
anchor = "none"                     # the temperature decides more than the last value
quantiles = [0.1, 0.5, 0.9]         # the median is the forecast, the others are the band

[training]
batch_size = 32
epochs = 30
learning_rate = 8e-3

[training.schedule]
name = "cosine"

[baselines]
names = ["persistence", "seasonal_naive", "linear_autoregression", "ets"]
""")
print("Preparing, training, evaluating and exporting ...", flush=True)
run = seqapps.run(config, workspace=folder, quiet=True)

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"GRU": run.evaluation.metrics}
for name, metrics in systems.items():
    print(f"{name:22} {metrics['rmse']:8.2f} {metrics['mae']:8.2f}", metrics.get("coverage"))
(forecast,) = run.model.predict([table(known - 60, len(days), known)])
print(forecast)
