"""Which vLLM a worker can start, and how fast it measured itself."""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('workers', sa.Column('vllm', sa.String(), nullable=True))
    op.add_column('workers', sa.Column('speed', sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column('workers', 'speed')
    op.drop_column('workers', 'vllm')
