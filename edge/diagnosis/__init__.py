"""Diagnosis: where a written model file departs from its source, and which tool is to blame."""
