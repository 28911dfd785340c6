from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recognizer', '0008_turns_and_past_decisions'),
    ]

    operations = [
        migrations.AddField(
            model_name='promotion',
            name='doubt',
            field=models.CharField(blank=True, db_default='', help_text='Evidence against it, for staff to decide.', max_length=300),
        ),
    ]
