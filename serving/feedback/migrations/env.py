"""Runs the migrations on the connection that serving.feedback.store opened, within its transaction."""

from alembic import context

from recommenders.storage.feedback_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
