import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Case, F, OuterRef, Q, Subquery, Value, When

# As recognizer/urgency.py had it when this was written.
HELD = {
    "other_label": 2.0,
    "sure_of_another": 2.0,
    "rejected_before": 1.0,
    "contradicts_sure_answers": 1.0,
    "contradicts_doubtful_answers": 1.0,
    "no_owner": 1.0,
    "same_drawing_again": 0.5,
    "burst": 0.5,
}


def order_what_waits(apps, schema_editor):
    correction, submission = (apps.get_model("recognizer", name) for name in ("Correction", "Submission"))
    confidence = Subquery(submission.objects.filter(pk=OuterRef("submission")).values("confidence")[:1])
    held = Case(*(When(triage=rule, then=Value(more)) for rule, more in HELD.items()), default=Value(0.0))
    waiting = correction.objects.filter(state="pending", superseded__isnull=True)
    waiting.update(urgency=Value(1.0) - confidence + held)


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("recognizer", "0004_counts"),
    ]

    operations = [
        migrations.AddField(
            model_name="correction",
            name="urgency",
            field=models.FloatField(
                default=0, editable=False, help_text="Orders the queue; see `recognizer.urgency`."
            ),
        ),
        migrations.RunPython(order_what_waits, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="correction",
            index=models.Index(
                "state",
                F("urgency").desc(),
                "id",
                condition=Q(("state", "pending"), ("superseded__isnull", True)),
                name="review_queue",
            ),
        ),
        migrations.CreateModel(
            name="Claim",
            fields=[
                (
                    "correction",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="claim",
                        serialize=False,
                        to="recognizer.correction",
                    ),
                ),
                ("until", models.DateTimeField(db_index=True)),
                (
                    "reviewer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="claims",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
    ]
