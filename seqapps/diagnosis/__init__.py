"""What gradients do on their way back through a recurrent model, in figures and in words.

results.py     the record, and its file
capture.py     one pass of the whole model: what each recurrent layer was given, and what the loss asks of its output
unrolling.py   one layer step by step: the gradient over time, Jacobians, how much its units move
gates.py       gates of a cell, computed again from its weights
matrices.py    singular values and spectral radius of recurrent matrices
updates.py     gradient and update of each variable
examining.py   all of it for one model and one batch
verdicts.py    what the figures mean, and what to change

Nothing of a model is changed: its recurrent layers are watched, and their cells are called again, one step at a time.
"""
