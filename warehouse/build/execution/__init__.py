"""Run a plan: nodes side by side in threads, their changes in commits, under the lock of the lake's builds.

Goes in: a plan. Comes out: a result for each node. Main names: ``execution.Execution``, ``node_work.WorkMaker``,
``committer.Committer``.
"""
