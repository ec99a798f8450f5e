"""Time series: from the text of a file to windows. The modules, in the order of the data flow:

config.py     the `data` section
reading.py    text of a CSV or TSV file -> series on a regular grid, and the lines that are refused
timeline.py   texts of times, the step between them, the grid
plan.py       the layout of a window
parts.py      a series -> training, validation and test part; statistics of a part
windows.py    a part -> the features of all its windows (Beam)
features.py   raw windows -> model inputs, as a graph (Beam and the SavedModel)
calendars.py  calendar features, as a graph
recent.py     the last steps of a file -> the inputs of the SavedModel (`predict`)
"""
