"""Read the files of a dbt project into plain values.

Goes in: dbt_project.yml, schema.yml, selectors, models, macros, seeds. Comes out: ``project.Project`` with its
``Node`` values, properties, sources, exposures and unit tests; also the options and results that every later
package speaks of. Nothing here renders a template or parses SQL.
"""
