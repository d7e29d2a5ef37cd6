"""Tests by room: see README.md beside this file."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
