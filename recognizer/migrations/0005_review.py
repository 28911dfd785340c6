import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def copy_confidence(apps, schema_editor):
    correction, submission = (apps.get_model("recognizer", name) for name in ("Correction", "Submission"))
    of_it = submission.objects.filter(pk=OuterRef("submission"))
    correction.objects.update(confidence=Subquery(of_it.values("confidence")[:1]))


class Migration(migrations.Migration):

    dependencies = [
        ('recognizer', '0004_counts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='correction',
            name='claimed_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='claims', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='correction',
            name='claimed_until',
            field=models.DateTimeField(blank=True, help_text='Hidden from other reviewers until then.', null=True),
        ),
        migrations.AddField(
            model_name='correction',
            name='confidence',
            field=models.FloatField(default=0, help_text="The drawing's, copied to order the review queue."),
        ),
        migrations.RunPython(copy_confidence, migrations.RunPython.noop),
        migrations.AddField(
            model_name='correction',
            name='replaces',
            field=models.OneToOneField(blank=True, help_text='What its author said, if a reviewer relabelled it.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='replaced_by', to='recognizer.correction'),
        ),
        migrations.AlterField(
            model_name='correction',
            name='decided_by',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='decisions', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(condition=models.Q(('superseded__isnull', True)), fields=['state', 'confidence', 'id'], name='review_queue'),
        ),
        migrations.AddIndex(
            model_name="correction",
            index=models.Index(
                condition=models.Q(("superseded__isnull", True)), fields=["confidence", "id"], name="said_by_doubt"
            ),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(fields=['decided_by', 'decided'], name='decisions_of_reviewer'),
        ),
    ]
