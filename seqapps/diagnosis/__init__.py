"""Diagnosis of gradient flow through a recurrent model: measurements, and verdicts in words.

results.py     the record, and its file
capture.py     one pass of the whole model: inputs of each recurrent layer, and gradient w.r.t. its output
unrolling.py   one layer step by step: the gradient over time, Jacobians, activity of its units
gates.py       gates of a cell, recomputed from its weights
matrices.py    singular values and spectral radius of recurrent matrices
updates.py     gradient and update of each variable
examining.py   all of it for one model and one batch
verdicts.py    interpretation of the measurements, and remedies

The model is not changed: calls of its recurrent layers are recorded, and their cells are rerun one step at a time.
"""
