"""A trained model as a SavedModel that takes raw text and needs only TensorFlow, and its predictions.

saved_model.pb, variables/     the graph with its named signatures, and the weights
assets/<vocabulary>.<file>     the vocabularies, in readable form
assets/facts.json              facts of the model, not of an example: its conditions, the columns of its series
model.json                     application, configuration, signatures with the defaults and bounds of their settings,
                               provenance
golden.json                    example calls with the outputs of the trained model
check.py                       runs the golden calls with TensorFlow alone
"""

from seqapps.applications.answers import BATCH
from seqapps.serving.exporting import TOLERANCE, ExportReport, Verification, export, verify
from seqapps.serving.served import Served, load, read_record

__all__ = [
    "BATCH",
    "TOLERANCE",
    "ExportReport",
    "Served",
    "Verification",
    "export",
    "load",
    "read_record",
    "verify",
]
