"""Datasets can be deleted; uploads can be resumed."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('datasets') as batch_op:
        batch_op.add_column(sa.Column('deleted_at', sa.Double(), nullable=True))
    op.create_table('uploads',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=True),
    sa.Column('offset', sa.BigInteger(), nullable=False),
    sa.Column('dataset_id', sa.String(), nullable=True),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('expires_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['dataset_id'], ['datasets.id'], ),
    sa.PrimaryKeyConstraint('id')
    )


def downgrade() -> None:
    op.drop_table('uploads')
    op.execute('DELETE FROM datasets WHERE deleted_at IS NOT NULL')
    with op.batch_alter_table('datasets') as batch_op:
        batch_op.drop_column('deleted_at')
