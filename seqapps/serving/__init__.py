"""A trained model as a SavedModel that answers raw text wherever TensorFlow is, and the answers it gives.

saved_model.pb, variables/     the graph with its named signatures, and the weights
assets/<vocabulary>.<file>     the vocabularies, for people and other programs
assets/facts.json              what belongs to the model and not to a row: its conditions, the columns of its series
model.json                     what it is: application, configuration, signatures with the defaults and bounds of their
                               settings, where it comes from
golden.json                    example calls with the outputs that the trained model gave
check.py                       answers the golden calls with TensorFlow alone
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
