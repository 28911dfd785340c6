from collections import Counter, defaultdict

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

LAST_TURN = 100
AT_ONCE = 500


def number_turns(apps, schema_editor):
    """Number what waits already, owner by owner, the most doubtful first; confirmations apart."""
    correction = apps.get_model("recognizer", "Correction")
    waiting = correction.objects.filter(state="pending", superseded=None).order_by("confidence", "id")
    seen, by_turn = Counter(), defaultdict(list)
    for pk, account, session, said, answered in waiting.values_list(
        "pk", "account", "session", "digit", "submission__digit"
    ):
        whose = account or session, said == answered
        seen[whose] += 1
        by_turn[min(seen[whose], LAST_TURN)].append(pk)
    for turn, pks in by_turn.items():
        for start in range(0, len(pks) if turn > 1 else 0, AT_ONCE):
            correction.objects.filter(pk__in=pks[start : start + AT_ONCE]).update(turn=turn)


class Migration(migrations.Migration):

    dependencies = [
        ('recognizer', '0007_audit'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PastDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('session', models.UUIDField(db_index=True, null=True)),
                ('rejected', models.BooleanField()),
                ('decided', models.DateTimeField()),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='past_decisions', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.RemoveIndex(
            model_name='correction',
            name='review_queue',
        ),
        migrations.RemoveIndex(
            model_name='correction',
            name='said_by_doubt',
        ),
        migrations.AddField(
            model_name='correction',
            name='turn',
            field=models.PositiveSmallIntegerField(db_default=1, default=1, help_text="Its author's turn in the review queue."),
        ),
        migrations.AlterField(
            model_name='correction',
            name='account',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='corrections', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='correction',
            name='session',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(condition=models.Q(('superseded__isnull', True)), fields=['state', 'turn', 'confidence', 'id'], name='review_in_turns'),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(condition=models.Q(('superseded__isnull', True)), fields=['turn', 'confidence', 'id'], name='said_in_turns'),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(fields=['account', 'state', 'superseded', 'turn'], name='corrections_of_account'),
        ),
        migrations.AddIndex(
            model_name='correction',
            index=models.Index(fields=['session', 'state', 'superseded', 'turn'], name='corrections_of_session'),
        ),
        migrations.RunPython(number_turns, migrations.RunPython.noop),
    ]
