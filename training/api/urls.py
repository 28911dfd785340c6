"""The training's addresses, under `/api/v1/`."""

from django.urls import path

from training.api import views

urlpatterns = [
    path("training-runs", views.RunsView.as_view(), name="training-runs"),
    path("training-runs/<int:pk>", views.RunView.as_view(), name="training-run"),
    path("training-runs/<int:pk>/cancel", views.CancelView.as_view(), name="cancel-training-run"),
]
