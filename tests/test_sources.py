"""Which files a source means, how they are divided and cut, and the real sets that its formats are for."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.inputs import read_input
from pipelines.plan import is_cuttable, make_plan
from pipelines.prepare import prepare
from pipelines.readers import RowReader
from pipelines.sources import resolve
from pipelines.tfrecord import read_rows
from seqapps.applications import config_from
from seqapps.config import RunConfig
from seqapps.errors import ConfigError, DataError
from seqapps.manifest import read_manifest
from seqapps.preprocessing.blocks import RawBlock
from seqapps.workspace import Workspace
