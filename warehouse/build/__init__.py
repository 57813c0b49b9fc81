"""Plan and run a build.

Goes in: a loaded project and a selection. Comes out: tables, views and test results, each commit with the state that
lets the next build skip what did not change. Main names: ``build.build``, ``plan.make``, ``execution.Execution``.
"""
