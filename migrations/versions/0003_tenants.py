"""Tenants, their keys and secrets, and the answers to idempotent requests."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

FIRST = 'default'
"""Whose everything is that was there before."""


def upgrade() -> None:
    for table in ('jobs', 'datasets'):
        # Not as a batch: on SQLite it would make the table anew, and lose the trigger.
        op.add_column(table, sa.Column('tenant', sa.String(), nullable=False, server_default=FIRST))
        op.create_index(f'ix_{table}_tenant_created', table, ['tenant', 'created_at'])
    op.add_column('aliases', sa.Column('tenant', sa.String(), nullable=False, server_default=FIRST))
    _identify_aliases_by('tenant', 'name')
    op.create_table('keys',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('scopes', sa.String(), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('expires_at', sa.Double(), nullable=True),
    sa.Column('revoked_at', sa.Double(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('answers',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('request', sa.String(), nullable=False),
    sa.Column('body', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'key')
    )
    op.create_table('secrets',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('sealed', sa.String(), nullable=False),
    sa.Column('updated_at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'name')
    )


def downgrade() -> None:
    for table in ('secrets', 'answers', 'keys'):
        op.drop_table(table)
    op.execute(sa.text("DELETE FROM aliases WHERE tenant <> :first").bindparams(first=FIRST))
    _identify_aliases_by('name')
    op.drop_column('aliases', 'tenant')
    for table in ('jobs', 'datasets'):
        op.drop_index(f'ix_{table}_tenant_created', table)
        op.drop_column(table, 'tenant')


def _identify_aliases_by(*columns: str) -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.drop_constraint('aliases_pkey', 'aliases')
        op.create_primary_key('aliases_pkey', 'aliases', list(columns))
        return
    # SQLite knows no other way than to make the table anew.
    op.rename_table('aliases', 'old_aliases')
    op.create_table('aliases',
    sa.Column('tenant', sa.String(), nullable=False, server_default=FIRST),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('checkpoint_id', sa.String(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['checkpoint_id'], ['checkpoints.id'], ),
    sa.PrimaryKeyConstraint(*columns)
    )
    kept = 'tenant, name, checkpoint_id, version, updated_at'
    op.execute(f'INSERT INTO aliases ({kept}) SELECT {kept} FROM old_aliases')  # noqa: S608 - constants
    op.drop_table('old_aliases')
