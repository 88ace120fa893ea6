"""The trace in which a job was created."""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('jobs', sa.Column('traceparent', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('jobs', 'traceparent')
