"""URLs of the API, under `/api/v1/`."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularSwaggerSplitView

from web.api import description, errors, run_views, views

urlpatterns = [
    path("submissions", views.SubmissionsView.as_view(), name="submissions"),
    path("submissions/<int:pk>", views.SubmissionView.as_view(), name="submission"),
    path("submissions/<int:pk>/correction", views.CorrectionView.as_view(), name="correction"),
    path("submissions/<int:pk>/explanation", views.ExplanationView.as_view(), name="explanation"),
    path("previews", views.PreviewsView.as_view(), name="previews"),
    path("corrections", views.CorrectionsView.as_view(), name="corrections"),
    path("corrections/<int:pk>/accept", views.AcceptView.as_view(), name="accept"),
    path("corrections/<int:pk>/reject", views.RejectView.as_view(), name="reject"),
    path("models", views.ModelsView.as_view(), name="models"),
    path("models/active", views.ModelView.as_view(), name="active-model"),
    path("models/active/artifact", views.ArtifactView.as_view(), name="active-artifact"),
    path("models/active/checkpoint", views.CheckpointView.as_view(), name="active-checkpoint"),
    path("models/<int:version>", views.ModelView.as_view(), name="model"),
    path("models/<int:version>/artifact", views.ArtifactView.as_view(), name="artifact"),
    path("models/<int:version>/checkpoint", views.CheckpointView.as_view(), name="checkpoint"),
    path("models/<int:version>/activate", views.ActivateView.as_view(), name="activate"),
    path("training-runs", run_views.RunsView.as_view(), name="training-runs"),
    path("training-runs/<int:pk>", run_views.RunView.as_view(), name="training-run"),
    path("training-runs/<int:pk>/cancel", run_views.CancelView.as_view(), name="cancel-training-run"),
    path("schema", description.SchemaView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema", template_name="api_docs.html"), name="docs"),
    re_path("", errors.not_found),
]
