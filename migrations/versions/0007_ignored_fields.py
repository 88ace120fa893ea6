"""Which fields of uploaded rows are not read."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('datasets', sa.Column('ignored_fields', sa.JSON(), server_default='{}', nullable=False))


def downgrade() -> None:
    op.drop_column('datasets', 'ignored_fields')
