"""Which bitsandbytes the trainers of a worker can import."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('workers', sa.Column('bitsandbytes', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('workers', 'bitsandbytes')
