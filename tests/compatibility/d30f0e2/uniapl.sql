BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE aliases (
	tenant VARCHAR DEFAULT 'default' NOT NULL, 
	name VARCHAR NOT NULL, 
	checkpoint_id VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	PRIMARY KEY (tenant, name), 
	FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id)
);
INSERT INTO "aliases" VALUES('default','best','ckpt_fcb1582a9970319b58f6364c',1,1.79591048479700541497e+09);
CREATE TABLE answers (
	tenant VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	request VARCHAR NOT NULL, 
	body JSON NOT NULL, 
	created_at DOUBLE NOT NULL, 
	PRIMARY KEY (tenant, "key")
);
INSERT INTO "answers" VALUES('default','upload-1','9ca8f566228191e53c9d3b17b8d26c2791231bc644887e385a176851561cd28c','{"id": "ds_b9a5042840b000f9037a8c56", "object": "dataset", "name": "rows", "rows": 8, "references": 8, "rewards": 8, "ignored_fields": {}, "bytes": 1604, "sha256": "a4656fface980e96f75f294a6e95187b70cc37603d8fca277cc05d2255374773", "created_at": 1795910475.9420142}',1.7959104759400024414e+09);
INSERT INTO "answers" VALUES('default','job-1','005223cad974793dced45d5f034cffb6e5bdd6716229732a6600479faa7825cb','{"id": "job_3af211c5acf6e07a6118036e", "object": "job", "state": "queued", "phase": null, "name": "succeeded", "spec": {"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 4, "prompts_per_step": 2, "checkpoint_every": 2, "keep_checkpoints": 2, "eval_every": 4, "term_norms_every": 10, "stages": []}, "evaluation": {"dataset": "ds_b9a5042840b000f9037a8c56", "rows": 3, "samples": 2, "profile_completions": 1, "at_start": true, "score": false}, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "succeeded", "tags": {"purpose": "fixture"}}, "step": 0, "steps": 4, "attempt": 0, "cancel_requested": false, "pause_requested": false, "error": null, "queue_position": null, "queue_reason": null, "eta_s": null, "created_at": 1795910475.9729936, "started_at": null, "finished_at": null}',1.7959104759669990539e+09);
CREATE TABLE "attempts" (
	job_id VARCHAR NOT NULL, 
	fence BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	owner VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	boot_id VARCHAR NOT NULL, 
	pgid BIGINT, 
	pid_starttime BIGINT, 
	resumed_from VARCHAR, 
	relayed_seq BIGINT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	exit_kind VARCHAR, 
	relay_closed BOOLEAN DEFAULT 0 NOT NULL, 
	dropped_points BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (job_id, fence), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "attempts" VALUES('job_3af211c5acf6e07a6118036e',1,1,'worker_d7490b467fe2042f3abdac27','host','boot',31363,1252022,NULL,24,1.79591047613300085067e+09,1.79591048475898504253e+09,'done',1,0);
INSERT INTO "attempts" VALUES('job_82728046b37e6c432f466de0',1,1,'worker_d7490b467fe2042f3abdac27','host','boot',31683,1252921,NULL,3,1.79591048511001920694e+09,1.7959104897649929523e+09,'invalid_dataset',0,0);
INSERT INTO "attempts" VALUES('job_d38789437e26fce9d7c39bf3',1,1,'worker_d7490b467fe2042f3abdac27','host','boot',31995,1253419,NULL,19,1.7959104901050031185e+09,1.795910495583991766e+09,'cancelled',0,0);
INSERT INTO "attempts" VALUES('job_faf92623cc04ecb07a8bfe60',1,1,'worker_d7490b467fe2042f3abdac27','host','boot',32197,1254019,NULL,17,1.79591049610400485992e+09,1.79591050373699522013e+09,'preempted',1,0);
INSERT INTO "attempts" VALUES('job_c7308cdaa1522d0c64040ee6',1,1,'worker_d7490b467fe2042f3abdac27','host','boot',32597,1254821,NULL,6,1.79591050412098026277e+09,NULL,NULL,0,0);
CREATE TABLE checkpoints (
	id VARCHAR NOT NULL, 
	job_id VARCHAR NOT NULL, 
	step BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	path VARCHAR NOT NULL, 
	manifest_sha256 VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	deleted_at DOUBLE, 
	PRIMARY KEY (id), 
	FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT uq_checkpoints_job_step_fence UNIQUE (job_id, step, fence)
);
INSERT INTO "checkpoints" VALUES('ckpt_0a91c9530bb47ba3cb50d9a8','job_3af211c5acf6e07a6118036e',2,1,'jobs/job_3af211c5acf6e07a6118036e/fence-1/checkpoints/step-00000002','7f9b27aaa6b835f3bbba4f341a4ea1d25606e3d2e499ca7e0eb64f97ae622f2e',96615,1.79591048317601227764e+09,NULL);
INSERT INTO "checkpoints" VALUES('ckpt_fcb1582a9970319b58f6364c','job_3af211c5acf6e07a6118036e',4,1,'jobs/job_3af211c5acf6e07a6118036e/fence-1/checkpoints/step-00000004','98b688279bf1f4c707d1af4882e8e7850627bd0d92882848a78154d689f6abb4',100744,1.7959104843179895878e+09,NULL);
INSERT INTO "checkpoints" VALUES('ckpt_36efb5adab9b4ee7cdf7d95e','job_d38789437e26fce9d7c39bf3',4,1,'jobs/job_d38789437e26fce9d7c39bf3/fence-1/checkpoints/step-00000004','6d1225b3acd183f94e309a2fe62dc2cb0780bd0d27843fbc5bc5ad8606f3bb8d',94014,1.79591049500101351734e+09,NULL);
INSERT INTO "checkpoints" VALUES('ckpt_15dc6fd60e318ad02e06da1d','job_d38789437e26fce9d7c39bf3',8,1,'jobs/job_d38789437e26fce9d7c39bf3/fence-1/checkpoints/step-00000008','8d3b8c1cb5985fc89bf0dfa4faa87e5090111869007b61cdd42c3d351826d3e4',95714,1.7959104952490105629e+09,NULL);
INSERT INTO "checkpoints" VALUES('ckpt_8668f995cf6cbcc89e900061','job_faf92623cc04ecb07a8bfe60',9,1,'jobs/job_faf92623cc04ecb07a8bfe60/fence-1/checkpoints/step-00000009','3e76f56f7a994870160a81d658b4b5eaf5b3761349641c6f0bc3abb982ccb0ce',96129,1.79591050351901197431e+09,NULL);
CREATE TABLE datasets (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	rows BIGINT NOT NULL, 
	"references" BIGINT NOT NULL, 
	rewards BIGINT NOT NULL, 
	bytes BIGINT NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, tenant VARCHAR DEFAULT 'default' NOT NULL, deleted_at DOUBLE, ignored_fields JSON DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "datasets" VALUES('ds_b9a5042840b000f9037a8c56','rows',8,8,8,1604,'a4656fface980e96f75f294a6e95187b70cc37603d8fca277cc05d2255374773',1.79591047594201421735e+09,'default',NULL,'{}');
CREATE TABLE events (
	job_id VARCHAR NOT NULL, 
	seq BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	level VARCHAR NOT NULL, 
	type VARCHAR NOT NULL, 
	message VARCHAR NOT NULL, 
	data JSON NOT NULL, 
	fence BIGINT NOT NULL, 
	PRIMARY KEY (job_id, seq), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',1,1.79591047597399950026e+09,'info','state','job is queued','{"state": "queued"}',0);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',2,1.79591047612398862836e+09,'info','state','job is starting','{"state": "starting"}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',3,1.79591048098901963228e+09,'info','message','the run trains on the CPU (1 threads), driver none, torch 2.13.0+cpu (built without CUDA)','{"device": "cpu", "torch": "2.13.0+cpu", "cuda": null, "driver": null}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',4,1.79591048290600776671e+09,'info','state','job is running','{"state": "running"}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',5,1.79591048317898964881e+09,'info','message','checkpoint after step 2','{"step": 2}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',6,1.795910484329013586e+09,'info','message','checkpoint after step 4','{"step": 4}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',7,1.79591048475600767141e+09,'info','state','job is finalizing','{"state": "finalizing"}',1);
INSERT INTO "events" VALUES('job_3af211c5acf6e07a6118036e',8,1.79591048475801944731e+09,'info','state','job is succeeded','{"state": "succeeded"}',1);
INSERT INTO "events" VALUES('job_82728046b37e6c432f466de0',1,1.79591048481201219551e+09,'info','state','job is queued','{"state": "queued"}',0);
INSERT INTO "events" VALUES('job_82728046b37e6c432f466de0',2,1.79591048510700178148e+09,'info','state','job is starting','{"state": "starting"}',1);
INSERT INTO "events" VALUES('job_82728046b37e6c432f466de0',3,1.79591048935501718521e+09,'info','message','the run trains on the CPU (1 threads), driver none, torch 2.13.0+cpu (built without CUDA)','{"device": "cpu", "torch": "2.13.0+cpu", "cuda": null, "driver": null}',1);
INSERT INTO "events" VALUES('job_82728046b37e6c432f466de0',4,1.7959104897639870643e+09,'error','state','job failed: ds_b9a5042840b000f9037a8c56.jsonl: none of 8 rows is within data.max_prompt_tokens=2 and data.max_reference_tokens=2048','{"error": {"code": "invalid_dataset", "message": "ds_b9a5042840b000f9037a8c56.jsonl: none of 8 rows is within data.max_prompt_tokens=2 and data.max_reference_tokens=2048", "category": "user", "hint": "raise the limits, or upload shorter rows", "param": "data", "log_tail": "trainer pid 31683, torch 2.13.0+cpu, 1 CPU threads\nerror: invalid_dataset: ds_b9a5042840b000f9037a8c56.jsonl: none of 8 rows is within data.max_prompt_tokens=2 and data.max_reference_tokens=2048"}, "state": "failed"}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',1,1.79591048978599452973e+09,'info','state','job is queued','{"state": "queued"}',0);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',2,1.79591049010399723051e+09,'info','state','job is starting','{"state": "starting"}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',3,1.79591049413801288597e+09,'info','message','the run trains on the CPU (1 threads), driver none, torch 2.13.0+cpu (built without CUDA)','{"device": "cpu", "torch": "2.13.0+cpu", "cuda": null, "driver": null}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',4,1.79591049434698367122e+09,'info','state','job is running','{"state": "running"}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',5,1.79591049461199951178e+09,'info','message','cancellation requested','{}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',6,1.79591049500201940533e+09,'info','message','checkpoint after step 4','{"step": 4}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',7,1.79591049525001645085e+09,'info','message','checkpoint after step 8','{"step": 8}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',8,1.79591049558101439474e+09,'warning','message','steps lost: 1 (step 9 was finished, the last checkpoint is of step 8)','{"lost_steps": 1, "finished_step": 9, "checkpoint_step": 8}',1);
INSERT INTO "events" VALUES('job_d38789437e26fce9d7c39bf3',9,1.795910495583991766e+09,'info','state','job is cancelled','{"state": "cancelled"}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',1,1.79591049562201213836e+09,'info','state','job is queued','{"state": "queued"}',0);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',2,1.79591049610199332241e+09,'info','state','job is starting','{"state": "starting"}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',3,1.79591050194501137735e+09,'info','message','the run trains on the CPU (1 threads), driver none, torch 2.13.0+cpu (built without CUDA)','{"device": "cpu", "torch": "2.13.0+cpu", "cuda": null, "driver": null}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',4,1.79591050235398101806e+09,'info','state','job is running','{"state": "running"}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',5,1.79591050266900658606e+09,'info','message','pause requested','{}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',6,1.79591050352400088312e+09,'info','message','checkpoint after step 9','{"step": 9}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',7,1.79591050352500677111e+09,'info','message','stopped on request after step 9, the last finished one','{}',1);
INSERT INTO "events" VALUES('job_faf92623cc04ecb07a8bfe60',8,1.79591050373699522013e+09,'info','state','job is paused','{"state": "paused"}',1);
INSERT INTO "events" VALUES('job_c7308cdaa1522d0c64040ee6',1,1.79591050377300381663e+09,'info','state','job is queued','{"state": "queued"}',0);
INSERT INTO "events" VALUES('job_c7308cdaa1522d0c64040ee6',2,1.79591050411699724195e+09,'info','state','job is starting','{"state": "starting"}',1);
INSERT INTO "events" VALUES('job_c7308cdaa1522d0c64040ee6',3,1.79591050816199636463e+09,'info','message','the run trains on the CPU (1 threads), driver none, torch 2.13.0+cpu (built without CUDA)','{"device": "cpu", "torch": "2.13.0+cpu", "cuda": null, "driver": null}',1);
INSERT INTO "events" VALUES('job_c7308cdaa1522d0c64040ee6',4,1.79591050837398481365e+09,'info','state','job is running','{"state": "running"}',1);
INSERT INTO "events" VALUES('job_c7d75fe81c5a3e6253072a7a',1,1.79591051092098355295e+09,'info','state','job is queued','{"state": "queued"}',0);
CREATE TABLE "jobs" (
	id VARCHAR NOT NULL, 
	name VARCHAR, 
	spec JSON NOT NULL, 
	spec_version BIGINT NOT NULL, 
	models JSON NOT NULL, 
	state VARCHAR NOT NULL, 
	phase VARCHAR, 
	step BIGINT NOT NULL, 
	steps BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	lease_owner VARCHAR, 
	lease_expires_at DOUBLE, 
	not_before DOUBLE, 
	fruitless_attempts BIGINT NOT NULL, 
	cancel_requested_at DOUBLE, 
	error JSON, 
	event_seq BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	finished_at DOUBLE, 
	pause_requested_at DOUBLE, 
	infra_failures BIGINT DEFAULT '0' NOT NULL, 
	user_failures BIGINT DEFAULT '0' NOT NULL, 
	preemptions BIGINT DEFAULT '0' NOT NULL, tenant VARCHAR DEFAULT 'default' NOT NULL, traceparent VARCHAR, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued', 'starting', 'running', 'finalizing', 'retry_wait', 'paused', 'succeeded', 'failed', 'cancelled'))
);
INSERT INTO "jobs" VALUES('job_3af211c5acf6e07a6118036e','succeeded','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 4, "prompts_per_step": 2, "checkpoint_every": 2, "keep_checkpoints": 2, "eval_every": 4, "term_norms_every": 10, "stages": []}, "evaluation": {"dataset": "ds_b9a5042840b000f9037a8c56", "rows": 3, "samples": 2, "profile_completions": 1, "at_start": true, "score": false}, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "succeeded", "tags": {"purpose": "fixture"}}',3,'{"micro": {"path": "@HERE@/student"}, "all-MiniLM-L6-v2": {"path": "@ROOT@/data/models/all-minilm-l6-v2"}}','succeeded',NULL,4,4,1,1,NULL,NULL,NULL,0,NULL,NULL,8,1.79591047597299361231e+09,1.79591047611501669883e+09,1.79591048475701355936e+09,NULL,0,0,0,'default',NULL);
INSERT INTO "jobs" VALUES('job_82728046b37e6c432f466de0','failed','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 2, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 30, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 2, "eval_every": 1000, "term_norms_every": 10, "stages": []}, "evaluation": null, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "failed", "tags": {}}',3,'{"micro": {"path": "@HERE@/student"}, "all-MiniLM-L6-v2": {"path": "@ROOT@/data/models/all-minilm-l6-v2"}}','failed',NULL,0,30,1,1,NULL,NULL,NULL,0,NULL,'{"code": "invalid_dataset", "message": "ds_b9a5042840b000f9037a8c56.jsonl: none of 8 rows is within data.max_prompt_tokens=2 and data.max_reference_tokens=2048", "category": "user", "hint": "raise the limits, or upload shorter rows", "param": "data", "log_tail": "trainer pid 31683, torch 2.13.0+cpu, 1 CPU threads\nerror: invalid_dataset: ds_b9a5042840b000f9037a8c56.jsonl: none of 8 rows is within data.max_prompt_tokens=2 and data.max_reference_tokens=2048"}',4,1.79591048481100654596e+09,1.79591048510599589349e+09,1.7959104897639870643e+09,NULL,0,0,0,'default',NULL);
INSERT INTO "jobs" VALUES('job_d38789437e26fce9d7c39bf3','cancelled','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 1000, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 2, "eval_every": 1000, "term_norms_every": 10, "stages": []}, "evaluation": null, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "cancelled", "tags": {}}',3,'{"micro": {"path": "@HERE@/student"}, "all-MiniLM-L6-v2": {"path": "@ROOT@/data/models/all-minilm-l6-v2"}}','cancelled',NULL,8,1000,1,1,NULL,NULL,NULL,0,1.79591049461199951178e+09,NULL,9,1.79591048978599452973e+09,1.79591049010399723051e+09,1.795910495583991766e+09,NULL,0,0,0,'default',NULL);
INSERT INTO "jobs" VALUES('job_faf92623cc04ecb07a8bfe60','paused','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 30, "prompts_per_step": 2, "checkpoint_every": 1000, "keep_checkpoints": 2, "eval_every": 1000, "term_norms_every": 10, "stages": []}, "evaluation": null, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "paused", "tags": {}}',3,'{"micro": {"path": "@HERE@/student"}, "all-MiniLM-L6-v2": {"path": "@ROOT@/data/models/all-minilm-l6-v2"}}','paused',NULL,9,30,1,1,NULL,NULL,NULL,0,NULL,NULL,8,1.79591049562100625036e+09,1.79591049610199332241e+09,NULL,1.79591050266900658606e+09,0,0,0,'default',NULL);
INSERT INTO "jobs" VALUES('job_c7308cdaa1522d0c64040ee6','killed','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "learned", "model": null, "learning_rate": 1e-05, "warmup_steps": 1, "batch_size": 2}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": {"rank": 2, "alpha": 32.0, "target_modules": "all-linear"}, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 30, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 2, "eval_every": 1000, "term_norms_every": 10, "stages": []}, "evaluation": null, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "killed", "tags": {}}',3,'{"micro": {"path": "@HERE@/student"}}','running','training',2,30,1,1,'worker_d7490b467fe2042f3abdac27',1.79591051216799116136e+09,NULL,0,NULL,NULL,4,1.79591050377300381663e+09,1.79591050411699724195e+09,NULL,NULL,0,0,0,'default',NULL);
INSERT INTO "jobs" VALUES('job_c7d75fe81c5a3e6253072a7a','queued','{"student": "micro", "teacher": {"type": "dataset"}, "dataset_mix": [{"dataset": "ds_b9a5042840b000f9037a8c56", "role": "both", "weight": 1.0}], "alpha": 0.3, "lambda_adv": 0.01, "sft": {"token_weight": "none"}, "grpo": {"loss": "dapo", "group_size": 4, "clip_low": 0.2, "clip_high": 0.2, "scale_rewards": true, "kl_coef": 0.0, "kl_estimator": "k3"}, "adversarial": {"target": "student_rollout", "coef": "loo", "score_center": null, "score_temperature": null, "single_baseline": "batch_loo", "surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "aggregate": "seq_sum", "score_scale": null, "coef_clip": 10.0, "rows": "rl", "think": "strip", "truncated": "score", "max_failed_fraction": 0.1}, "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2", "batch_size": 64, "backend": {"type": "transformers"}}, "reward": {"aggregate": "fraction", "loose": false, "discriminator_weight": 0.0, "processes": 1, "time_limit_s": 10.0, "max_failed_fraction": 0.1}, "rollout": {"temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "backend": {"type": "transformers"}, "sync_s": 300.0, "max_ratio": 2.0}, "data": {"max_prompt_tokens": 1024, "max_reference_tokens": 2048, "chat_template": null, "filter_teacher": false}, "lora": null, "optimizer": {"learning_rate": 0.001, "warmup_steps": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0.0, "max_grad_norm": 1.0}, "schedule": {"steps": 3, "prompts_per_step": 2, "checkpoint_every": 4, "keep_checkpoints": 2, "eval_every": 1000, "term_norms_every": 10, "stages": []}, "evaluation": null, "resources": {"micro_batch_tokens": 4096, "gradient_checkpointing": false, "compile_blocks": false}, "health": {"stop_on": [], "window": 10, "history": 40, "length_low": 0.3, "length_high": 3.0, "hacking_z": 3.0, "hacking_fall": 0.25, "spike_mads": 10.0, "entropy_low": 0.1, "no_variance_steps": 5}, "seed": 7, "name": "queued", "tags": {}}',3,'{"micro": {"path": "@HERE@/student"}, "all-MiniLM-L6-v2": {"path": "@ROOT@/data/models/all-minilm-l6-v2"}}','queued',NULL,0,3,0,0,NULL,NULL,NULL,0,NULL,NULL,1,1.79591051092001795772e+09,NULL,NULL,NULL,0,0,0,'default',NULL);
CREATE TABLE keys (
	id VARCHAR NOT NULL, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	scopes VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE, 
	revoked_at DOUBLE, 
	PRIMARY KEY (id)
);
INSERT INTO "keys" VALUES('3d135db3a2ecf7aa','default','first','0294611b87b9955357932aa8678ccd3de932c7219251cd6be021245098fb18c3','jobs:read jobs:write datasets:write checkpoints:read admin',1.79591047224100828173e+09,NULL,NULL);
CREATE TABLE metrics (
	job_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	step BIGINT NOT NULL, 
	value DOUBLE NOT NULL, 
	fence BIGINT NOT NULL, 
	PRIMARY KEY (job_id, name, step), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/completion_length',0,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/clipped_ratio',0,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reward',0,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/score',0,1.023446197311083522e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reward_sampled',0,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/score_sampled',0,9.6102048953374222262e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reference_length',0,33.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reference_logprob',0,-5.56712517112192450952e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/distinct_2',0,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/length_distance',0,21.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/length_ratio',0,3.63636363636363646456e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_length_p50',0,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_length_p95',0,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/logprob_distance',0,2.08890076839562573163e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_logprob_mean',0,-5.56835179858737561175e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/teacher_logprob_mean',0,-5.56712517112192450952e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/mean_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/std_length',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/min_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/max_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/clipped_ratio',1,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/generate',1,3.69404550001490861177e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/scoring_hidden',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_length',1,32.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_std_length',1,0.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/discriminator',1,4.79750989998137811198e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_student',1,0.072235606610775,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_group_std',1,3.97341847419738769531e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/timeouts',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/reward',1,5.42801899973710533231e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward',1,0.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward_std',1,0.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','frac_reward_zero_std',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/coef_abs_mean',1,4.0303471684455871582e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/sync_weights',1,4.02600016968790441751e-06,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','loss',1,1.66999225676059737111e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/alpha',1,0.3,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/lambda_adv',1,0.01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_sft',1,5.5666408538818359375e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_grpo',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_adv',1,5.9604644775390625e-08,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','entropy',1,5.55353291829427053727e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','clip_ratio/region_mean',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/mean',1,1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/max',1,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/mean',1,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/max',1,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/truncated',1,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/grad_norm_sft',1,3.40448498725891113281e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/grad_norm_grpo',1,3.5839900374412536621e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/grad_norm_adv',1,3.45507115125656127929e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/cos_sft_grpo',1,-9.99883293646264444121e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/cos_sft_adv',1,4.17082570573036170297e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/cos_grpo_adv',1,1.62502548537138309658e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/forward_backward',1,4.99828089996299240738e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','grad_norm',1,4.93567854166030883789e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','learning_rate',1,0.001,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/optim',1,2.3844910010666353628e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','num_tokens',1,516.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','perf/forward_tokens',1,232.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','step_time',1,1.45376660000692936591e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/mean_length',2,11.25,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/std_length',2,1.98431348329844303712e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/min_length',2,6.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/max_length',2,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/clipped_ratio',2,0.875,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/generate',2,0.0993418420002854,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/scoring_hidden',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_length',2,34.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_std_length',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/discriminator',2,6.64398129993060138076e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_student',2,9.19603034853935241699e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_group_std',2,5.32887876033782958984e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/timeouts',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/reward',2,4.09591099924000445753e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward',2,0.375,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward_std',2,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','frac_reward_zero_std',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/coef_abs_mean',2,5.26819765567779541015e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/sync_weights',2,2.60399974649772047996e-06,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','loss',2,1.61596409544348684761e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/alpha',2,0.3,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/lambda_adv',2,0.01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_sft',2,5.55130910873413085937e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_grpo',2,-5.77250048518180847167e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_adv',2,-9.02113378047943115234e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','entropy',2,5.55348239474826410599e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','clip_ratio/region_mean',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/mean',2,1.430511474609374947e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/max',2,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/mean',2,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/max',2,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/truncated',2,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/forward_backward',2,2.14823549995344365015e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','grad_norm',2,5.007114410400390625e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','learning_rate',2,0.001,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/optim',2,7.99736999397282488644e-04,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','num_tokens',2,528.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','perf/forward_tokens',2,232.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','step_time',2,1.94884533999356790445e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/mean_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/std_length',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/min_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/max_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/clipped_ratio',3,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/generate',3,4.71685410011559724807e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/scoring_hidden',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_length',3,34.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_std_length',3,0.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/discriminator',3,7.35917109996080398559e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_student',3,5.50487339496612548828e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_group_std',3,0.0475398451089859,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/timeouts',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/reward',3,1.83380300040880683809e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward',3,0.25,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward_std',3,0.5,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','frac_reward_zero_std',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/coef_abs_mean',3,5.10523080825805664062e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/sync_weights',3,3.98600059270393103361e-06,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','loss',3,1.65787236869335163902e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/alpha',3,0.3,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/lambda_adv',3,0.01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_sft',3,5.526241302490234375e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_grpo',3,-2.98023223876953125e-08,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_adv',3,-1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','entropy',3,5.5535125732421875e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','clip_ratio/region_mean',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/mean',3,1.73846880594889314089e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/max',3,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/mean',3,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/max',3,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/truncated',3,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/forward_backward',3,3.47116770008142339065e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','grad_norm',3,5.00742673873901367187e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','learning_rate',3,0.001,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/optim',3,8.86937001268961466848e-04,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','num_tokens',3,540.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','perf/forward_tokens',3,240.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','step_time',3,1.60092116999294376e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/mean_length',4,11.625,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/std_length',4,9.92156741649221518564e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/min_length',4,9.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/max_length',4,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/clipped_ratio',4,0.875,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/generate',4,4.45747199992183595895e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/scoring_hidden',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_length',4,34.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','completions/reference_std_length',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/discriminator',4,1.18637519999538199044e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_student',4,9.37786623835563659667e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/score_group_std',4,3.15103307366371154785e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/timeouts',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/reward',4,6.48147299943957477807e-03,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward',4,0.625,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','reward_std',4,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','frac_reward_zero_std',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','disc/coef_abs_mean',4,3.342494964599609375e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/sync_weights',4,3.12399970425758510828e-06,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','loss',4,1.66133741829544323564e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/alpha',4,0.3,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/lambda_adv',4,0.01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_sft',4,5.50673580169677734375e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_grpo',4,1.61258336156606674194e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','uniapl/loss_adv',4,-1.97140574455261230468e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','entropy',4,5.55349567372311803126e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','clip_ratio/region_mean',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/mean',4,1.3843659431703629972e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/sampling_logp_difference/max',4,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/mean',4,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/max',4,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','sampling/importance_sampling_ratio/truncated',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/forward_backward',4,4.60234509992005769163e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','grad_norm',4,5.09875178337097167968e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','learning_rate',4,0.001,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','time/optim',4,5.97105999986524693667e-04,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','num_tokens',4,531.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','perf/forward_tokens',4,235.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','step_time',4,2.19477225000446196645e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/completion_length',4,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/clipped_ratio',4,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reward',4,0.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/score',4,1.023446197311083522e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reward_sampled',4,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/score_sampled',4,1.02713242173194885253e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reference_length',4,33.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/reference_logprob',4,-5.49767908423838,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','eval/distinct_2',4,1.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/length_distance',4,21.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/length_ratio',4,3.63636363636363646456e-01,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_length_p50',4,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_length_p95',4,12.0,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/logprob_distance',4,8.06916723347673309207e-02,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/student_logprob_mean',4,-5.57837075657314684917e+00,1);
INSERT INTO "metrics" VALUES('job_3af211c5acf6e07a6118036e','profile/teacher_logprob_mean',4,-5.49767908423838,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',1,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',1,3.30777599992870818823e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',1,32.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',1,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',1,5.65237500013608951121e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',1,0.072235606610775,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',1,3.97341847419738769531e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',1,2.00205200053460430353e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',1,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',1,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',1,4.0303471684455871582e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',1,2.05299875233322381973e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',1,1.66999225676059737111e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',1,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',1,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',1,5.5666408538818359375e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',1,5.9604644775390625e-08,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',1,5.55353291829427053727e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',1,1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',1,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',1,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',1,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',1,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/grad_norm_sft',1,3.40448498725891113281e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/grad_norm_grpo',1,3.5839900374412536621e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/grad_norm_adv',1,3.45507115125656127929e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/cos_sft_grpo',1,-9.99883293646264444121e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/cos_sft_adv',1,4.17082570573036170297e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/cos_grpo_adv',1,1.62502548537138309658e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',1,2.89494110002124216407e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',1,4.93567854166030883789e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',1,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',1,1.8013640001299791038e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',1,516.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',1,232.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',1,1.24897293999310932122e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',2,11.25,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',2,1.98431348329844303712e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',2,6.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',2,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',2,0.875,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',2,3.07866589992045192047e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',2,34.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',2,5.13862330008123535662e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',2,9.19603034853935241699e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',2,5.32887876033782958984e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',2,2.03920800049672834575e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',2,0.375,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',2,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',2,5.26819765567779541015e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',2,2.62399953498970717191e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',2,1.61596409544348684761e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',2,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',2,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',2,5.55130910873413085937e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',2,-5.77250048518180847167e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',2,-9.02113378047943115234e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',2,5.55348239474826410599e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',2,1.430511474609374947e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',2,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',2,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',2,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',2,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',2,9.21345000097062438726e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',2,5.007114410400390625e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',2,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',2,5.45729999430477619171e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',2,528.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',2,232.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',2,9.55857750013819895684e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',3,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',3,3.14522660009970422834e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',3,34.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',3,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',3,6.71067330004007089883e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',3,5.50487339496612548828e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',3,0.0475398451089859,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',3,1.98972499856608919799e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',3,0.25,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',3,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',3,5.10523080825805664062e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',3,1.71300052898004651069e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',3,1.65787236869335163902e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',3,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',3,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',3,5.526241302490234375e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',3,-2.98023223876953125e-08,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',3,-1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',3,5.5535125732421875e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',3,1.73846880594889314089e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',3,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',3,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',3,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',3,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',3,1.70003000002907356247e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',3,5.00742673873901367187e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',3,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',3,5.30176999745890498161e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',3,540.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',3,240.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',3,1.19926803999987896531e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',4,11.625,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',4,9.92156741649221518564e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',4,9.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',4,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',4,0.875,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',4,0.0213889160004328,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',4,34.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',4,5.51217189986346056684e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',4,9.37786623835563659667e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',4,3.15103307366371154785e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',4,2.31088100008491892367e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',4,0.625,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',4,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',4,3.342494964599609375e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',4,1.88299964065663516521e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',4,1.66133741829544323564e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',4,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',4,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',4,5.50673580169677734375e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',4,1.61258336156606674194e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',4,-1.97140574455261230468e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',4,5.55349567372311803126e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',4,1.3843659431703629972e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',4,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',4,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',4,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',4,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',4,1.23662300011346815153e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',4,5.09875178337097167968e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',4,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',4,5.42746000064653344452e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',4,531.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',4,235.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',4,9.35477700004412326961e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',5,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',5,2.34395009993022540584e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',5,33.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',5,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',5,2.58780809999734628945e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',5,1.00777707993984222412e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',5,4.82810512185096740722e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',5,1.98683999951754231005e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',5,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',5,5.77350269189625731058e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',5,5.159130096435546875e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',5,3.37499841407407075166e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',5,1.64826979398727413439e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',5,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',5,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',5,5.49423265457153320312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',5,-2.384185791015625e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',5,5.553501129150390625e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',5,1.6887982686360677966e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',5,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',5,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',5,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',5,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',5,2.16236050000588875263e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',5,5.42192220687866210937e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',5,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',5,5.50627999473363161087e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',5,522.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',5,234.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',5,7.51826630003051832318e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',6,11.875,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',6,3.30718913883073839521e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',6,11.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',6,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',6,0.875,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',6,1.9757244001084472984e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',6,34.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',6,3.05713490015477873384e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',6,8.55692699551582336425e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',6,2.59494371712207794189e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',6,3.18666100065456703305e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',6,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',6,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',6,2.54828095436096191406e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',6,2.16299849853385239839e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',6,1.62960851050913335669e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',6,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',6,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',6,5.47111272811889648437e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',6,-1.57863311469554901123e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',6,-6.74876123666763305664e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',6,5.55342375102796,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',6,1.4054147820723682901e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',6,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',6,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',6,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',6,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',6,1.45790050009964033961e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',6,0.51633620262146,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',6,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',6,5.22174999787239357829e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',6,533.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',6,237.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',6,7.04594300004828255623e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',7,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',7,2.30606280001666164025e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',7,33.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',7,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',7,2.51546469989989418536e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',7,7.9057127237319946289e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',7,2.51521915197372436523e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',7,1.95792699923913460224e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',7,0.625,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',7,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',7,2.53019988536834716796e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',7,2.11399856198113411664e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',7,1.63740689774354208907e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',7,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',7,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',7,5.4580230712890625e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',7,-3.97364310344983096001e-08,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',7,4.17232513427734375e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',7,5.55342992146809866227e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',7,1.58945719401041657839e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',7,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',7,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',7,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',7,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',7,2.87247929991281125694e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',7,5.34114062786102294921e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',7,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',7,7.58947000576881691813e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',7,528.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',7,236.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',7,0.081247682999674,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',8,11.375,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',8,1.65359456941536908658e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',8,7.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',8,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',8,0.875,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',8,2.97957080001651775091e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',8,34.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',8,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',8,3.14311450001696357503e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',8,4.40191626548767089843e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',8,6.68847560882568359375e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',8,1.31668399990303441882e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',8,0.625,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',8,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',8,6.44149422645568847656e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',8,3.92599940823856741189e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',8,1.57761154487729071682e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',8,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',8,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',8,5.44554758071899414062e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',8,-8.24010744690895080566e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',8,1.62802278995513916015e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',8,5.5533266172304260877e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',8,1.30999219286572813247e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',8,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',8,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',8,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',8,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',8,1.17880119996698340401e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',8,5.03722965717315673828e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',8,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',8,6.97736000802251510322e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',8,535.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',8,235.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',8,0.0768893559998105,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/mean_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/std_length',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/min_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/max_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/clipped_ratio',9,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/generate',9,2.33830069992109201848e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/scoring_hidden',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_length',9,33.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','completions/reference_std_length',9,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/failed',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/discriminator',9,3.27029529998981161043e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_student',9,8.75483602285385131835e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/score_group_std',9,2.75081153959035873413e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/timeouts',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward/failed',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/reward',9,5.03472499985946342349e-03,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward',9,0.5,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','reward_std',9,5.77350269189625731058e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','frac_reward_zero_std',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','disc/coef_abs_mean',9,2.82828927040100097656e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/sync_weights',9,1.42200042319018393754e-06,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','loss',9,1.62421560893456162766e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/alpha',9,0.3,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/lambda_adv',9,0.01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_sft',9,5.41405200958251953125e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_grpo',9,9.93410775862457740004e-09,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','uniapl/loss_adv',9,-8.94069671630859375e-08,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','entropy',9,5.55334218343098928727e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','clip_ratio/region_mean',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/mean',9,1.39077504475911467151e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/sampling_logp_difference/max',9,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/mean',9,1.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/max',9,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','sampling/importance_sampling_ratio/truncated',9,0.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/forward_backward',9,1.12899119994835928082e-02,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','grad_norm',9,5.088653564453125e-01,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','learning_rate',9,0.001,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','time/optim',9,6.46058999336673878133e-04,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','num_tokens',9,528.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','perf/forward_tokens',9,236.0,1);
INSERT INTO "metrics" VALUES('job_d38789437e26fce9d7c39bf3','step_time',9,7.51700340006209444254e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',1,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',1,3.38151649993960745632e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',1,32.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',1,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',1,6.77768370005651377141e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',1,0.072235606610775,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',1,3.97341847419738769531e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',1,1.81728799907432403415e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',1,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',1,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',1,4.0303471684455871582e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',1,1.4920005924068391323e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',1,1.66999225676059737111e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',1,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',1,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',1,5.5666408538818359375e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',1,5.9604644775390625e-08,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',1,5.55353291829427053727e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',1,1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',1,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',1,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',1,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',1,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/grad_norm_sft',1,3.40448498725891113281e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/grad_norm_grpo',1,3.5839900374412536621e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/grad_norm_adv',1,3.45507115125656127929e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/cos_sft_grpo',1,-9.99883293646264444121e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/cos_sft_adv',1,4.17082570573036170297e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/cos_grpo_adv',1,1.62502548537138309658e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',1,3.40664079994894564151e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',1,4.93567854166030883789e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',1,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',1,1.94183300118311308324e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',1,516.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',1,232.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',1,1.41594294000242371112e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',2,11.25,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',2,1.98431348329844303712e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',2,6.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',2,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',2,0.875,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',2,4.99208070013992255553e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',2,34.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',2,6.71506779999617720022e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',2,9.19603034853935241699e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',2,5.32887876033782958984e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',2,1.79941200076427776366e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',2,0.375,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',2,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',2,5.26819765567779541015e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',2,3.07400114252232e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',2,1.61596409544348684761e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',2,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',2,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',2,5.55130910873413085937e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',2,-5.77250048518180847167e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',2,-9.02113378047943115234e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',2,5.55348239474826410599e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',2,1.430511474609374947e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',2,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',2,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',2,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',2,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',2,9.97696300146344583481e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',2,5.007114410400390625e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',2,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',2,5.40923001608462072908e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',2,528.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',2,232.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',2,1.31226901999980327673e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',3,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',3,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',3,3.85827129994140705093e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',3,34.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',3,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',3,8.85205359991232398897e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',3,5.50487339496612548828e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',3,0.0475398451089859,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',3,6.97860100081015843898e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',3,0.25,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',3,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',3,5.10523080825805664062e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',3,1.88199919648468494415e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',3,1.65787236869335163902e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',3,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',3,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',3,5.526241302490234375e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',3,-2.98023223876953125e-08,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',3,-1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',3,5.5535125732421875e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',3,1.73846880594889314089e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',3,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',3,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',3,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',3,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',3,2.76759400003356859087e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',3,5.00742673873901367187e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',3,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',3,5.75654999920516274869e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',3,540.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',3,240.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',3,1.72148306999588385224e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',4,11.625,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',4,9.92156741649221518564e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',4,9.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',4,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',4,0.875,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',4,3.56431489999522455036e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',4,34.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',4,0.0897984830007772,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',4,9.37786623835563659667e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',4,3.15103307366371154785e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',4,1.75795999894035048782e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',4,0.625,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',4,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',4,3.342494964599609375e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',4,2.74400008493103086948e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',4,1.66133741829544323564e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',4,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',4,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',4,5.50673580169677734375e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',4,1.61258336156606674194e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',4,-1.97140574455261230468e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',4,5.55349567372311803126e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',4,1.3843659431703629972e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',4,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',4,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',4,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',4,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',4,1.82841759997245389968e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',4,5.09875178337097167968e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',4,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',4,5.93071001276257447898e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',4,531.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',4,235.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',4,1.53686657000434934161e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',5,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',5,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',5,3.55803359998390078544e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',5,33.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',5,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',5,4.8049328999695717357e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',5,1.00777707993984222412e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',5,4.82810512185096740722e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',5,1.99425100072403438389e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',5,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',5,5.77350269189625731058e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',5,5.159130096435546875e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',5,2.81400025414768606424e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',5,1.64826979398727413439e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',5,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',5,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',5,5.49423265457153320312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',5,-2.384185791015625e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',5,5.553501129150390625e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',5,1.6887982686360677966e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',5,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',5,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',5,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',5,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',5,2.52472239990311209112e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',5,5.42192220687866210937e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',5,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',5,6.34841999271884560585e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',5,522.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',5,234.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',5,1.13316410001061740331e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',6,11.875,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',6,3.30718913883073839521e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',6,11.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',6,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',6,0.875,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',6,2.33243689999653724953e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',6,34.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',6,3.7697979998483788222e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',6,8.55692699551582336425e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',6,2.59494371712207794189e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',6,1.77873099892167374491e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',6,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',6,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',6,2.54828095436096191406e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',6,2.19299909076653420925e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',6,1.62960851050913335669e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',6,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',6,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',6,5.47111272811889648437e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',6,-1.57863311469554901123e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',6,-6.74876123666763305664e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',6,5.55342375102796,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',6,1.4054147820723682901e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',6,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',6,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',6,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',6,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',6,2.11973120003676740452e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',6,0.51633620262146,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',6,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',6,0.000517628001034609,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',6,533.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',6,237.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',6,8.64368120001017814502e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',7,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',7,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',7,2.66512790003616828471e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',7,33.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',7,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',7,2.56799669987231027334e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',7,7.9057127237319946289e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',7,2.51521915197372436523e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',7,3.07990300098026636987e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',7,0.625,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',7,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',7,2.53019988536834716796e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',7,2.68399890046566724777e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',7,1.63740689774354208907e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',7,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',7,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',7,5.4580230712890625e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',7,-3.97364310344983096001e-08,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',7,4.17232513427734375e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',7,5.55342992146809866227e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',7,1.58945719401041657839e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',7,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',7,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',7,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',7,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',7,3.18166679990099510177e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',7,5.34114062786102294921e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',7,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',7,5.83766001000185497105e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',7,528.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',7,236.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',7,8.96668879995559109374e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',8,11.375,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',8,1.65359456941536908658e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',8,7.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',8,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',8,0.875,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',8,2.52162079996196553111e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',8,34.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',8,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',8,3.32820740004535764455e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',8,4.40191626548767089843e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',8,6.68847560882568359375e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',8,3.94299399886222090572e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',8,0.625,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',8,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',8,6.44149422645568847656e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',8,2.1830001060152426362e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',8,1.57761154487729071682e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',8,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',8,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',8,5.44554758071899414062e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',8,-8.24010744690895080566e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',8,1.62802278995513916015e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',8,5.5533266172304260877e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',8,1.30999219286572813247e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',8,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',8,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',8,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',8,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',8,1.01533050001307856291e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',8,5.03722965717315673828e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',8,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',8,5.33120999534730799496e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',8,535.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',8,235.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',8,7.51017929997033206745e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/mean_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/std_length',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/min_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/max_length',9,12.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/clipped_ratio',9,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/generate',9,3.26899350002349819988e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/scoring_hidden',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_length',9,33.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','completions/reference_std_length',9,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/failed',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/discriminator',9,4.12437840004713507369e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_student',9,8.75483602285385131835e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/score_group_std',9,2.75081153959035873413e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/timeouts',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward/failed',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/reward',9,3.20366699997975956648e-03,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward',9,0.5,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','reward_std',9,5.77350269189625731058e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','frac_reward_zero_std',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','disc/coef_abs_mean',9,2.82828927040100097656e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/sync_weights',9,1.04100035969167947769e-06,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','loss',9,1.62421560893456162766e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/alpha',9,0.3,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/lambda_adv',9,0.01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_sft',9,5.41405200958251953125e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_grpo',9,9.93410775862457740004e-09,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','uniapl/loss_adv',9,-8.94069671630859375e-08,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','entropy',9,5.55334218343098928727e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','clip_ratio/region_mean',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/mean',9,1.39077504475911467151e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/sampling_logp_difference/max',9,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/mean',9,1.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/max',9,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','sampling/importance_sampling_ratio/truncated',9,0.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/forward_backward',9,1.71493319994624471291e-02,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','grad_norm',9,5.088653564453125e-01,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','learning_rate',9,0.001,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','time/optim',9,5.36405999810085631906e-04,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','num_tokens',9,528.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','perf/forward_tokens',9,236.0,1);
INSERT INTO "metrics" VALUES('job_faf92623cc04ecb07a8bfe60','step_time',9,9.66421440007252385839e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/mean_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/std_length',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/min_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/max_length',1,12.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/clipped_ratio',1,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/generate',1,5.98335289996612118557e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/scoring_hidden',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/reference_length',1,32.5,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/reference_std_length',1,0.5,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/version',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/discriminator',1,7.7741602000969578512e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/score_student',1,-4.13637459278106689453e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/score_group_std',1,1.45008191466331481933e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward/timeouts',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward/failed',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/reward',1,2.42585100022552069276e-03,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward',1,0.5,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward_std',1,0.5,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','frac_reward_zero_std',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/sync_weights',1,1.61199932335875928401e-06,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','loss',1,1.66999225616455082565e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/alpha',1,0.3,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/lambda_adv',1,0.01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/loss_sft',1,5.5666408538818359375e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/loss_grpo',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','entropy',1,5.55353291829427053727e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','clip_ratio/region_mean',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/sampling_logp_difference/mean',1,1.1920928955078125e-07,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/sampling_logp_difference/max',1,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/mean',1,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/max',1,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/truncated',1,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/grad_norm_sft',1,8.76881256699562072753e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/grad_norm_grpo',1,1.14951454102993011474e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/cos_sft_grpo',1,-3.43228296937158394719e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/forward_backward',1,3.94450039984803879633e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','grad_norm',1,1.18252471089363098144e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','learning_rate',1,0.001,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/optim',1,0.00470333299927006,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','num_tokens',1,516.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','perf/forward_tokens',1,232.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/loss',1,6.68935969471931457519e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/accuracy',1,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','step_time',1,1.87149584999133367091e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/mean_length',2,11.25,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/std_length',2,1.98431348329844303712e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/min_length',2,6.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/max_length',2,12.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/clipped_ratio',2,0.875,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/generate',2,5.89038039997831219807e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/scoring_hidden',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/reference_length',2,34.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','completions/reference_std_length',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/version',2,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/discriminator',2,4.10957889980636537075e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/score_student',2,-2.42994613945484161376e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/score_group_std',2,0.0160837322473526,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward/timeouts',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward/failed',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/reward',2,1.82714199945621658116e-03,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward',2,0.375,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','reward_std',2,5.38675134594812865529e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','frac_reward_zero_std',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/coef_abs_mean',2,1.57894734293222427368e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/sync_weights',2,3.31499904859811067581e-06,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','loss',2,1.62960647853091367132e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/alpha',2,0.3,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/lambda_adv',2,0.01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/loss_sft',2,5.56588268280029296875e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/loss_grpo',2,-5.77250570058822631835e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','uniapl/loss_adv',2,0.0249213594943285,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','entropy',2,5.55347222222222214327e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','clip_ratio/region_mean',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/sampling_logp_difference/mean',2,1.27156575520833331569e-07,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/sampling_logp_difference/max',2,4.76837158203125e-07,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/mean',2,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/max',2,1.00000047683715820312e+00,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','sampling/importance_sampling_ratio/truncated',2,0.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/forward_backward',2,1.20206070005224319174e-02,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','grad_norm',2,2.00080990791320800781e-01,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','learning_rate',2,0.001,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','time/optim',2,5.73200999497203156352e-04,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','num_tokens',2,528.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','perf/forward_tokens',2,232.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/loss',2,0.671659916639328,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','disc/accuracy',2,1.0,1);
INSERT INTO "metrics" VALUES('job_c7308cdaa1522d0c64040ee6','step_time',2,1.16377318001468665897e-01,1);
CREATE TABLE samples (
	job_id VARCHAR NOT NULL, 
	step BIGINT NOT NULL, 
	"row" VARCHAR NOT NULL, 
	prompt VARCHAR NOT NULL, 
	completion VARCHAR NOT NULL, 
	reference VARCHAR, 
	reward DOUBLE, 
	score DOUBLE, 
	fence BIGINT NOT NULL, 
	PRIMARY KEY (job_id, step, "row"), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "samples" VALUES('job_3af211c5acf6e07a6118036e',0,'row-0','Write about tea.','











','Here is a short line about tea.',0.0,1.10144786536693572998e-01,1);
INSERT INTO "samples" VALUES('job_3af211c5acf6e07a6118036e',0,'row-1','Write about rain.','











','Here is a short line about rain.',0.0,1.0942770540714263916e-01,1);
INSERT INTO "samples" VALUES('job_3af211c5acf6e07a6118036e',4,'row-0','Write about tea.','











','Here is a short line about tea.',0.0,1.10144786536693572998e-01,1);
INSERT INTO "samples" VALUES('job_3af211c5acf6e07a6118036e',4,'row-1','Write about rain.','











','Here is a short line about rain.',0.0,1.0942770540714263916e-01,1);
CREATE TABLE secrets (
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	sealed VARCHAR NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	PRIMARY KEY (tenant, name)
);
INSERT INTO "secrets" VALUES('default','teacher-key','gAAAAABrC2tLLCovBc7c2dD164uCxYvp6ZkS8BklPfxnF9MjVHpB0FzFqA4z6AONPmEl0WtLf3ozbt4_77BZEPTlfNdPhbFNFnc1VGnPgPDQKHfLX99G0yED4VINLDjvO13QhmlWHLAgRH9gA-ruKPnRUPyTXcoAtg==',1.79591047595299768452e+09);
CREATE TABLE uploads (
	id VARCHAR NOT NULL, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	sha256 VARCHAR, 
	"offset" BIGINT NOT NULL, 
	dataset_id VARCHAR, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (id)
);
CREATE TABLE workers (
	id VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	cpus BIGINT NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	gpus JSON NOT NULL, 
	slots BIGINT NOT NULL, 
	version VARCHAR NOT NULL, 
	started_at DOUBLE NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('worker_d7490b467fe2042f3abdac27','host',2,25276502016,'[]',1,'0.1.0',1795824075.03701,1.79582410830401921269e+09);
CREATE INDEX ix_jobs_state_created ON jobs (state, created_at);
CREATE TRIGGER jobs_terminal_is_final BEFORE UPDATE ON jobs
WHEN OLD.state IN ('succeeded', 'failed', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'a job that is over cannot change'); END;
CREATE INDEX ix_jobs_tenant_created ON jobs (tenant, created_at);
CREATE INDEX ix_datasets_tenant_created ON datasets (tenant, created_at);
COMMIT;
