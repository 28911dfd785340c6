"""Reads and stores drawings, reviews corrections, and keeps the model registry."""

from django.apps import AppConfig


class RecognizerConfig(AppConfig):
    name = "recognizer"
    verbose_name = "Digits"
