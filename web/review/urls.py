"""URLs of the review, under `/review/`."""

from django.urls import path

from web.review import pages

urlpatterns = [
    path("decisions", pages.decide, name="review-decide"),
    path("undo", pages.undo, name="review-undo"),
]
