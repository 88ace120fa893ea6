"""Formats that an upload's rows were recognised as, and where their fields went."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('datasets', sa.Column('recognised', sa.JSON(), server_default='{}', nullable=False))
    op.add_column('datasets', sa.Column('mapping', sa.JSON(), server_default='{}', nullable=False))


def downgrade() -> None:
    op.drop_column('datasets', 'mapping')
    op.drop_column('datasets', 'recognised')
