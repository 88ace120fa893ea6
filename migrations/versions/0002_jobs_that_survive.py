"""Pause, separate retry budgets, aliases of checkpoints; what is over stays as it is."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

OLD = "'queued', 'starting', 'running', 'finalizing', 'retry_wait', 'succeeded', 'failed', 'cancelled'"
NEW = OLD.replace("'retry_wait', ", "'retry_wait', 'paused', ")
COUNTERS = ('infra_failures', 'user_failures', 'preemptions')

SQLITE_TRIGGER = """
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs
WHEN OLD.state IN ('succeeded', 'failed', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'a job that is over cannot change'); END
"""
POSTGRES_FUNCTION = """
CREATE FUNCTION refuse_change_of_terminal_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a job that is over cannot change' USING ERRCODE = 'integrity_constraint_violation'; END $$
"""
POSTGRES_TRIGGER = """
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs FOR EACH ROW
WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled')) EXECUTE FUNCTION refuse_change_of_terminal_job()
"""


def upgrade() -> None:
    with op.batch_alter_table('jobs') as batch_op:
        batch_op.drop_constraint('ck_jobs_state', type_='check')
        batch_op.create_check_constraint('ck_jobs_state', f'state IN ({NEW})')
        batch_op.add_column(sa.Column('pause_requested_at', sa.Double(), nullable=True))
        for name in COUNTERS:
            batch_op.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default='0'))
    with op.batch_alter_table('attempts') as batch_op:
        batch_op.add_column(sa.Column('relay_closed', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column('dropped_points', sa.BigInteger(), nullable=False, server_default='0'))
    op.create_table('aliases',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('checkpoint_id', sa.String(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['checkpoint_id'], ['checkpoints.id'], ),
    sa.PrimaryKeyConstraint('name')
    )
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(POSTGRES_FUNCTION)
        op.execute(POSTGRES_TRIGGER)
    else:
        op.execute(SQLITE_TRIGGER)


def downgrade() -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.execute('DROP TRIGGER jobs_terminal_is_final ON jobs')
        op.execute('DROP FUNCTION refuse_change_of_terminal_job')
    else:
        op.execute('DROP TRIGGER jobs_terminal_is_final')
    op.drop_table('aliases')
    with op.batch_alter_table('attempts') as batch_op:
        batch_op.drop_column('dropped_points')
        batch_op.drop_column('relay_closed')
    op.execute("UPDATE jobs SET state = 'cancelled' WHERE state = 'paused'")
    with op.batch_alter_table('jobs') as batch_op:
        for name in COUNTERS:
            batch_op.drop_column(name)
        batch_op.drop_column('pause_requested_at')
        batch_op.drop_constraint('ck_jobs_state', type_='check')
        batch_op.create_check_constraint('ck_jobs_state', f'state IN ({OLD})')
