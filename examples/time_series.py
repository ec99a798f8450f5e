# %% [markdown]
# # Time series: a forecast with a band
#
# The daily electric load of a town, a week ahead. Cold days raise it (heating), and so do hot ones (cooling): it
# depends on the temperature, but not linearly. The series is made here: three years, with a rhythm of the week.

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
# The last week is kept back: no model sees it, and the forecast is compared with it at the end.

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
    """Returns the days from `first` up to `last` as CSV; from `told` on the load is empty."""
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

# %% [markdown]
# ## Against the baselines
#
# RMSE and MAE are in the unit of the load. `persistence` repeats the last day, `seasonal_naive` the last week, `ets` is
# exponential smoothing. `linear_autoregression` knows the temperature, too, but a line cannot rise at both ends. The
# band from 0.1 to 0.9 should hold 80 % of the days (its coverage).

# %%
systems = {name: score.metrics for name, score in run.evaluation.baselines.items()} | {"GRU": run.evaluation.metrics}
print(f"\n{'system':24} {'RMSE':>6} {'MAE':>6}")
for name, metrics in sorted(systems.items(), key=lambda item: -item[1]["rmse"]):
    print(f"{name:24} {metrics['rmse']:6.2f} {metrics['mae']:6.2f}")
print(f"Its band holds {run.evaluation.metrics['coverage']:.0%} of the days of the test split.")
print("Surely better than every baseline (bootstrap), so promoted:", run.promoted)

# %% [markdown]
# ## The week that was kept back
#
# A row of `predict` is a CSV file, its path or its content. The forecast follows the last line that has a load; the
# lines after it bring the temperatures to come.

# %%
(forecast,) = run.model.predict([table(known - 42, len(days), known)])
values = [step[0] for step in forecast.values]
low, _, high = np.array([step[0] for step in forecast.quantiles]).T
truth, last_week = loads[known:], loads[known - 7 : known]
print(f"\n{'day':12} {'temperature':>11} {'forecast':>9} {'band':>15} {'truth':>7} {'a week before':>14}")
for i, day in enumerate(forecast.times):
    band = f"{low[i]:.1f} to {high[i]:.1f}"
    print(f"{day:12} {temperatures[known + i]:11.1f} {values[i]:9.1f} {band:>15} {truth[i]:7.1f} {last_week[i]:14.1f}")

# %% [markdown]
# ## The picture

# %%
past = range(known - 21, known)
figure, panel = plt.subplots(figsize=(11, 4.5), layout="constrained")
panel.plot([days[i][5:] for i in past], [loads[i] for i in past], color="black", label="known")
coming = [day[5:] for day in forecast.times]
panel.fill_between(coming, low, high, alpha=0.25, label="band, 0.1 to 0.9")
panel.plot(coming, values, marker="o", label="forecast (median)")
panel.plot(coming, last_week, linestyle=":", color="grey", label="seasonal naive: the week before")
panel.plot(coming, truth, color="black", linestyle="--", label="truth")
panel.set(title="Daily load, and a forecast of the week that was kept back", xlabel="day", ylabel="load")
panel.tick_params("x", rotation=60)
panel.legend(loc="upper left", ncols=2)
panel.grid(alpha=0.3)
picture = folder / "time_series.png"
figure.savefig(picture, dpi=110)
print(f"\n{picture}: the last weeks, the forecast with its band, and the truth")
