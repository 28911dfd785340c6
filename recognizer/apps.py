"""Reads drawings, stores them, judges corrections, and keeps the registry of models."""

from django.apps import AppConfig


class RecognizerConfig(AppConfig):
    name = "recognizer"
    verbose_name = "Digits"
